"""Calls a second: the real ReceiveReferral beside the pipeline floor, an echo, and the bare transaction."""

from tests.bench import pipelines
from tests.bench.figures import Aim, Figure, Findings, ratio
from tests.bench.floor import places
from tests.bench.floor.service import ECHO
from tests.bench.pipelines import Pipeline
from tests.bench.stand import Stand

CALLERS = (1, 8, 32)
AIMS = {8: Aim(least=0.5)}


def measure(stand: Stand) -> Findings:
    with pipelines.floor(stand) as floor, pipelines.real(stand) as real:
        ratios, figures = [], []
        for callers in CALLERS:
            low, high = _side_by_side(stand, floor, real, callers)
            ratios.append(ratio(high, low, aim=AIMS.get(callers)))
            figures += [high, low]
        return Findings(ratios, figures + _single_steps(stand, floor))


def _side_by_side(stand: Stand, floor: Pipeline, real: Pipeline, callers: int) -> tuple[Figure, Figure]:
    rates: dict[str, list[float]] = {floor.name: [], real.name: []}
    for _ in range(stand.rounds):
        for pipeline in (floor, real):
            rates[pipeline.name].append(pipeline.load(callers, stand.seconds)["rate"])
            pipeline.drain()
    names = (floor.name, real.name)
    low, high = (Figure(f"{name}, {callers} callers", "calls/s", rates[name]) for name in names)
    return low, high


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
