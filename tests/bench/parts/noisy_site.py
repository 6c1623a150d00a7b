"""How long a quiet site waits alone, and beside a site with a hundred times its callers."""

from typing import Any

from tests.bench import pipelines
from tests.bench.figures import Aim, Figure, Findings, percentile, ratio
from tests.bench.pipelines import RECEIVE_REFERRAL
from tests.bench.stand import Stand
from tests.bench.worker import Worker

NOISE = 100
PAUSE_SECONDS = 0.03
ALONE, BESIDE = "quiet site alone", f"quiet site beside one with {NOISE} times its callers"


def measure(stand: Stand) -> Findings:
    taken: dict[str, list[list[float]]] = {ALONE: [], BESIDE: []}
    noise: list[float] = []
    with stand.service("intake", STEPWAY_SITE_PACE=None), pipelines.listener(stand), Worker() as crowd:
        for _ in range(stand.rounds):
            taken[ALONE].append(_quiet(stand))
            crowd.begin("call", **_load(stand, 1, NOISE, stand.seconds * 3.5))
            taken[BESIDE].append(_quiet(stand))
            noise.append(crowd.result()["all"]["rate"])
            pipelines.drain(stand, pipelines.ANNOUNCED, pipelines.HANDLED)
    alone, beside = _figures(taken, 99)
    aim = Aim(most=1.2)
    more = [*_figures(taken, 50), Figure("the noisy site", "calls/s", noise)]
    return Findings([ratio(beside, alone, name="p99 beside a noisy site ÷ alone", aim=aim)], [alone, beside, *more])


def _quiet(stand: Stand) -> list[float]:
    """How long each call of the quiet site took; its client is a process of its own, as it would be."""
    done = stand.worker.do("call", **_load(stand, 0, 1, stand.seconds * 3))["all"]
    assert not done["refused"], "the quiet site was refused"
    return list(done["taken"])


def _load(stand: Stand, site: int, callers: int, seconds: float) -> dict[str, Any]:
    crowd = {"at": [stand.staff[site]], "callers": callers, "pause": PAUSE_SECONDS}
    address = stand.platform.address("intake")
    return {"address": address, "method": RECEIVE_REFERRAL, "crowds": {"all": crowd}, "seconds": seconds}


def _figures(taken: dict[str, list[list[float]]], percent: int) -> tuple[Figure, Figure]:
    alone, beside = (
        Figure(f"{name}, p{percent}", "ms", [1000 * percentile(each, percent) for each in rounds])
        for name, rounds in taken.items()
    )
    return alone, beside
