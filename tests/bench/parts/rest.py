"""What five services take that have 200 sites and nothing to do."""

import time
from contextlib import ExitStack

from tests.bench.figures import Aim, Figure, Findings
from tests.bench.machine import Taken, taken
from tests.bench.stand import FEW_SITES, MOST_SITES, Stand

SETTLE_SECONDS, REST_SECONDS = 60.0, 60.0  # each site is looked at once when it is first served
MEMORY, IDLE = Aim(most=150), Aim(most=3)


def measure(stand: Stand) -> Findings:
    """One long round: each service by itself, and all of them together."""
    stand.open_sites(MOST_SITES)
    with ExitStack() as running:
        pids = {name: running.enter_context(stand.service(name)).pid for name in stand.platform.services}
        stand.say(f"Letting five services rest for {SETTLE_SECONDS + REST_SECONDS:.0f} s")
        time.sleep(SETTLE_SECONDS)
        before = {name: taken(pid) for name, pid in pids.items()}
        time.sleep(REST_SECONDS)
        after = {name: taken(pid) for name, pid in pids.items()}
    stand.open_sites(FEW_SITES)
    return _findings(before, after)


def _findings(before: dict[str, Taken], after: dict[str, Taken]) -> Findings:
    percent = {name: 100 * (after[name].cpu_seconds - before[name].cpu_seconds) / REST_SECONDS for name in after}
    memory = [Figure(f"memory of {name}", "MB", [each.megabytes], MEMORY) for name, each in after.items()]
    idle = [Figure(f"idle {name}", "% of a core", [percent[name]]) for name in after]
    return Findings(figures=[*memory, *idle, Figure("idle, all five", "% of a core", [sum(percent.values())], IDLE)])
