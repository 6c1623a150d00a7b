"""What five services take that have 200 sites and nothing to do."""

import time
from contextlib import ExitStack
from itertools import pairwise

from tests.bench.figures import Aim, Figure, Findings
from tests.bench.machine import Taken, taken
from tests.bench.stand import FEW_SITES, MOST_SITES, Stand

SETTLE_SECONDS, REST_SECONDS = 60.0, 60.0  # each site is looked at once when it is first served; of all rounds
MEMORY, IDLE = Aim(most=150), Aim(most=3)


def measure(stand: Stand) -> Findings:
    """Each service by itself, and all of them together, in rounds that follow each other."""
    stand.open_sites(MOST_SITES)
    with ExitStack() as running:
        pids = {name: running.enter_context(stand.service(name)).pid for name in stand.platform.services}
        stand.say(f"Letting five services rest for {SETTLE_SECONDS + REST_SECONDS:.0f} s")
        time.sleep(SETTLE_SECONDS)
        seen = {name: [taken(pid)] for name, pid in pids.items()}
        for _ in range(stand.rounds):
            time.sleep(REST_SECONDS / stand.rounds)
            for name, pid in pids.items():
                seen[name].append(taken(pid))
    stand.open_sites(FEW_SITES)
    return _findings(seen, REST_SECONDS / stand.rounds)


def _findings(seen: dict[str, list[Taken]], seconds: float) -> Findings:
    percent = {
        name: [100 * (after.cpu_seconds - before.cpu_seconds) / seconds for before, after in pairwise(each)]
        for name, each in seen.items()
    }
    memory = [
        Figure(f"memory of {name}", "MB", [now.megabytes for now in each[1:]], MEMORY) for name, each in seen.items()
    ]
    idle = [Figure(f"idle {name}", "% of a core", each) for name, each in percent.items()]
    together = [sum(each) for each in zip(*percent.values(), strict=True)]
    return Findings(figures=[*memory, *idle, Figure("idle, all five", "% of a core", together, IDLE)])
