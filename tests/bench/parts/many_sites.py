"""The same load over 10, 50 and 200 sites."""

import time

from tests.bench import pipelines
from tests.bench.figures import Aim, Figure, Findings, ratio
from tests.bench.pipelines import RECEIVE_REFERRAL
from tests.bench.stand import FEW_SITES, MOST_SITES, Stand

COUNTS = (FEW_SITES, 50, MOST_SITES)
CALLERS = 8
SOON = {"STEPWAY_SITES_SECONDS": "1"}  # how often a service looks which sites have come and gone
SEEN_SECONDS = 2.5
FIRST_TIME_SECONDS = 15.0  # a site that is new gets its consumers and its place in the loops


def measure(stand: Stand) -> Findings:
    rates: dict[int, list[float]] = {count: [] for count in COUNTS}
    with stand.service("intake", **SOON), pipelines.listener(stand, **SOON):
        _open(stand, MOST_SITES, FIRST_TIME_SECONDS)
        for _ in range(stand.rounds):
            for count in COUNTS:
                _open(stand, count, SEEN_SECONDS)
                rates[count].append(_rate(stand, count))
        _open(stand, FEW_SITES, SEEN_SECONDS)
    figures = {count: Figure(f"{count} sites, {CALLERS} callers", "calls/s", rates[count]) for count in COUNTS}
    few = figures[FEW_SITES]
    return Findings([ratio(few, figures[count], aim=Aim(most=1.1)) for count in COUNTS[1:]], [*figures.values()])


def _open(stand: Stand, count: int, seconds: float) -> None:
    stand.open_sites(count)
    time.sleep(seconds)


def _rate(stand: Stand, count: int) -> float:
    crowds = {"all": {"at": stand.staff[:count], "callers": CALLERS}}
    address = stand.platform.address("intake")
    done = stand.worker.do("call", address=address, method=RECEIVE_REFERRAL, crowds=crowds, seconds=stand.seconds)
    pipelines.drain(stand, pipelines.ANNOUNCED, pipelines.HANDLED)
    return float(done["all"]["rate"])
