"""From the commit of a referral to the commit of what heard of it, when there is little to do."""

from tests.bench import pipelines
from tests.bench.figures import Aim, Figure, Findings, percentile, ratio
from tests.bench.pipelines import Pipeline
from tests.bench.stand import Stand

PAUSE_SECONDS = 0.02


def measure(stand: Stand) -> Findings:
    seen: dict[tuple[str, int], list[float]] = {}
    with pipelines.floor(stand) as floor, pipelines.real(stand) as real:
        for _ in range(stand.rounds):
            for pipeline in (floor, real):
                waits = _waits(pipeline, stand.seconds)
                for percent in (50, 99):
                    seen.setdefault((pipeline.name, percent), []).append(percentile(waits, percent))
        figures = {key: Figure(f"{key[0]}, commit to handled, p{key[1]}", "ms", rounds) for key, rounds in seen.items()}
        aims = {50: Aim(most=2.0)}
        ratios = [
            ratio(figures[real.name, percent], figures[floor.name, percent], aim=aims.get(percent))
            for percent in (50, 99)
        ]
        return Findings(ratios, [*figures.values()])


def _waits(pipeline: Pipeline, seconds: float) -> list[float]:
    pipeline.drain()
    since = pipelines.now()
    pipeline.load(1, seconds, pause=PAUSE_SECONDS)
    pipeline.drain()
    return pipeline.milliseconds(since)
