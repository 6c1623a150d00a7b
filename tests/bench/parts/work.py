"""How long a site waits for its work queue, where 10 sites have one and where 200 have."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.bench import people
from tests.bench.asked import WORK
from tests.bench.figures import Aim, Figure, Findings, percentile, ratio
from tests.bench.stand import FEW_SITES, MOST_SITES, Stand, sites

LIST_WORK = "/stepway.intake.v1.ReferralService/ListWork"
FEW_DATABASE, FEW_LABEL = "stepway_intake_few", "intake-few"
AIM = Aim(most=1.2)


def measure(stand: Stand) -> Findings:
    """Two intakes take turns, each with a database of its own: one of 10 sites at work, one of 200."""
    people.settle(stand, sites(FEW_SITES))
    stand.sql("stepway_intake", "DELETE FROM outbox WHERE published_at IS NULL")
    stand.sql("postgres", f"CREATE DATABASE {FEW_DATABASE} TEMPLATE stepway_intake")
    people.settle(stand, sites(MOST_SITES)[FEW_SITES:])
    stand.open_sites(MOST_SITES)
    taken: dict[int, list[list[float]]] = {FEW_SITES: [], MOST_SITES: []}
    with _few(stand) as address, stand.service("intake"):
        addresses = {FEW_SITES: address, MOST_SITES: stand.platform.address("intake")}
        for _ in range(stand.rounds):
            for count, address in addresses.items():
                taken[count].append(_work(stand, address, count))
    stand.open_sites(FEW_SITES)
    few, many = (_figure(count, rounds, 99) for count, rounds in taken.items())
    middle = [_figure(count, rounds, 50) for count, rounds in taken.items()]
    return Findings([ratio(many, few, aim=AIM)], [few, many, *middle])


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


def _figure(count: int, rounds: Sequence[Sequence[float]], percent: int) -> Figure:
    return Figure(f"work queue, {count} sites, p{percent}", "ms", [1000 * percentile(each, percent) for each in rounds])
