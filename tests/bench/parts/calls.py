"""Calls a second: the real ReceiveReferral beside the pipeline floor, an echo, and the bare transaction."""

from dataclasses import dataclass, field

from tests.bench import pipelines
from tests.bench.figures import Aim, Figure, Findings, ratio
from tests.bench.floor import places
from tests.bench.floor.service import ECHO
from tests.bench.machine import taken
from tests.bench.parts.rest import MEMORY
from tests.bench.pipelines import Pipeline
from tests.bench.stand import Stand

CALLERS = (1, 8, 32)
AIMS = {8: Aim(least=0.5)}


@dataclass
class Seen:
    """The rounds of one pipeline with so many callers."""

    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)


def measure(stand: Stand) -> Findings:
    with pipelines.floor(stand) as floor, pipelines.real(stand) as real:
        found = [side_by_side(stand, floor, real, callers, aim=AIMS.get(callers)) for callers in CALLERS]
        ratios = [each for one in found for each in one.ratios]
        figures = [each for one in found for each in one.figures]
        memory = Figure("memory of intake, after these calls", "MB", [taken(real.processes[0].pid).megabytes], MEMORY)
        return Findings(ratios, [*figures, memory, *_single_steps(stand, floor)])


def side_by_side(
    stand: Stand, floor: Pipeline, real: Pipeline, callers: int, *, calls: str = "calls", aim: Aim | None = None
) -> Findings:
    """So many calls a second of both in turn, and the CPU that each takes until its event was handled."""
    seen = {floor.name: Seen(), real.name: Seen()}
    for _ in range(stand.rounds):
        for pipeline in (floor, real):
            _round(pipeline, callers, stand.seconds, seen[pipeline.name])
    rates = [Figure(f"{name}, {callers} callers", f"{calls}/s", each.rates) for name, each in seen.items()]
    costs = [
        Figure(f"CPU of a {real.asked}, {name}, {callers} callers", "ms", each.costs) for name, each in seen.items()
    ]
    ratios = [
        ratio(rates[1], rates[0], name=f"{calls}, Stepway ÷ pipeline floor, {callers} callers", aim=aim),
        ratio(costs[1], costs[0], name=f"CPU from call to handled, Stepway ÷ pipeline floor, {callers} callers"),
    ]
    return Findings(ratios, [*rates, *costs])


def _round(pipeline: Pipeline, callers: int, seconds: float, seen: Seen) -> None:
    before = pipeline.cpu_seconds()
    done = pipeline.load(callers, seconds)
    pipeline.drain()
    seen.rates.append(done["rate"])
    seen.costs.append(1000 * (pipeline.cpu_seconds() - before) / done["count"])


def _single_steps(stand: Stand, floor: Pipeline) -> list[Figure]:
    crowds = {"all": {"at": floor.at, "callers": 8}}
    echo = {"address": floor.address, "method": ECHO, "crowds": crowds, "seconds": stand.seconds / 2}
    database = f"{stand.superuser}{places.DATABASE}"
    echoes, commits = [], []
    for _ in range(stand.rounds):
        echoes.append(stand.worker.do("call", **echo)["all"]["rate"])
        commits.append(stand.worker.do("transact", url=database, workers=8, seconds=stand.seconds / 2))
        floor.drain()
    return [
        Figure("gRPC echo, 8 callers", "calls/s", echoes),
        Figure("transaction of a row and an outbox row, 8 workers", "commits/s", commits),
    ]
