"""How long a quiet site waits alone, and beside a site with a hundred times its callers."""

from typing import Any

from tests.bench import pipelines
from tests.bench.figures import Aim, Figure, Findings, percentile, ratio
from tests.bench.pipelines import RECEIVE_REFERRAL
from tests.bench.stand import Stand

NOISE = 100
PAUSE_SECONDS = 0.01
ALONE, BESIDE = "quiet site alone", f"quiet site beside one with {NOISE} times its callers"


def measure(stand: Stand) -> Findings:
    taken: dict[str, list[list[float]]] = {ALONE: [], BESIDE: []}
    noise: list[float] = []
    with stand.service("intake"), pipelines.listener(stand):
        for _ in range(stand.rounds):
            taken[ALONE].append(_load(stand, quiet=_crowd(stand, 0, 1))["quiet"]["taken"])
            both = _load(stand, quiet=_crowd(stand, 0, 1), noisy=_crowd(stand, 1, NOISE))
            taken[BESIDE].append(both["quiet"]["taken"])
            noise.append(both["noisy"]["rate"])
    alone, beside = _figures(taken, 99)
    aim = Aim(most=1.2)
    more = [*_figures(taken, 50), Figure("the noisy site", "calls/s", noise)]
    return Findings([ratio(beside, alone, name="p99 beside a noisy site ÷ alone", aim=aim)], [alone, beside, *more])


def _crowd(stand: Stand, site: int, callers: int) -> dict[str, Any]:
    return {"at": [stand.staff[site]], "callers": callers, "pause": PAUSE_SECONDS}


def _load(stand: Stand, **crowds: dict[str, Any]) -> dict[str, Any]:
    address = stand.platform.address("intake")
    done = stand.worker.do("call", address=address, method=RECEIVE_REFERRAL, crowds=crowds, seconds=stand.seconds * 1.5)
    pipelines.drain(stand, pipelines.ANNOUNCED, pipelines.HANDLED)
    assert not done["quiet"]["refused"], "the quiet site was refused"
    return dict(done)


def _figures(taken: dict[str, list[list[float]]], percent: int) -> tuple[Figure, Figure]:
    alone, beside = (
        Figure(f"{name}, p{percent}", "ms", [1000 * percentile(each, percent) for each in rounds])
        for name, rounds in taken.items()
    )
    return alone, beside
