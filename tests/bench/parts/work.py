"""How long a site waits for its work queue, where 10 sites have one and where 200 have."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.bench import people
from tests.bench.asked import WORK
from tests.bench.figures import Aim, Figure, Findings, percentile, ratio
from tests.bench.stand import FEW_SITES, MOST_SITES, Stand, sites

LIST_WORK = "/stepway.intake.v1.ReferralService/ListWork"
FEW_DATABASE, FEW_LABEL = "stepway_intake_few", "intake-few"
FEW, SAME, MANY = f"{FEW_SITES} sites", f"{FEW_SITES} of {MOST_SITES} sites", f"{MOST_SITES} sites"
AIM = Aim(most=1.2)


def measure(stand: Stand) -> Findings:
    """Two intakes take turns, each with a database of its own: one of 10 sites at work, one of 200.

    Of the 200 once all are asked, and once the same 10: each site that is asked has its audit sealed after that.
    """
    people.settle(stand, sites(FEW_SITES))
    stand.sql("stepway_intake", "DELETE FROM outbox WHERE published_at IS NULL")
    stand.sql("postgres", f"CREATE DATABASE {FEW_DATABASE} TEMPLATE stepway_intake")
    people.settle(stand, sites(MOST_SITES)[FEW_SITES:])
    stand.open_sites(MOST_SITES)
    taken: dict[str, list[list[float]]] = {FEW: [], SAME: [], MANY: []}
    with _few(stand) as address, stand.service("intake"):
        whole = stand.platform.address("intake")
        for _ in range(stand.rounds):
            taken[FEW].append(_work(stand, address, FEW_SITES))
            taken[SAME].append(_work(stand, whole, FEW_SITES))
            taken[MANY].append(_work(stand, whole, MOST_SITES))
    stand.open_sites(FEW_SITES)
    few, same, many = (_figure(name, rounds, 99) for name, rounds in taken.items())
    middle = [_figure(name, rounds, 50) for name, rounds in taken.items()]
    return Findings([ratio(same, few), ratio(many, few, aim=AIM)], [few, same, many, *middle])


@contextmanager
def _few(stand: Stand) -> Iterator[str]:
    """The address of an intake that knows of 10 sites."""
    told = stand.platform.environment("intake")
    urls = {key: url.replace("/stepway_intake", f"/{FEW_DATABASE}") for key, url in told.items() if "DATABASE" in key}
    with stand.service("intake", label=FEW_LABEL, **urls):
        yield f"127.0.0.1:{stand.platform.folder.port(FEW_LABEL)}"


def _work(stand: Stand, address: str, count: int) -> list[float]:
    crowds = {"all": {"at": stand.staff[:count], "callers": 1, "asked": WORK}}
    done = stand.worker.do("call", address=address, method=LIST_WORK, crowds=crowds, seconds=stand.seconds)
    return list(done["all"]["taken"])


def _figure(name: str, rounds: Sequence[Sequence[float]], percent: int) -> Figure:
    return Figure(f"work queue, {name}, p{percent}", "ms", [1000 * percentile(each, percent) for each in rounds])
