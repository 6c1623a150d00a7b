"""How long CheckConsents takes of one question and of a hundred, beside one indexed read without anything around it."""

from collections.abc import Sequence
from datetime import UTC, datetime

from stepway_chassis.identity import ServiceIdentity
from stepway_cli.tokens import AUDIENCE, ISSUER
from tests.bench import people
from tests.bench.asked import CONSENTS
from tests.bench.figures import Figure, Findings, percentile, ratio
from tests.bench.stand import FEW_SITES, Stand, sites

CHECK = "/stepway.intake.v1.ConsentService/CheckConsents"
MANY = 100
READ, ONE, HUNDRED = "one indexed read", "CheckConsents of one", f"CheckConsents of {MANY}"
ASKS_AS = "family"


def measure(stand: Stand) -> Findings:
    """One caller each, without a pause."""
    few = sites(FEW_SITES)
    people.settle(stand, few)
    taken: dict[str, list[list[float]]] = {READ: [], ONE: [], HUNDRED: []}
    keys = people.some(stand, "consent", "id", few, MANY)
    patients = people.some(stand, "consent", "patient_id", few, MANY)
    with stand.service("intake"):
        for _ in range(stand.rounds):
            taken[READ].append(_read(stand, keys))
            taken[ONE].append(_check(stand, [(site, [id]) for site, id in patients]))
            taken[HUNDRED].append(
                _check(stand, [(each, [id for site, id in patients if site == each]) for each in few])
            )
    read, *checks = (_figure(name, rounds, 99) for name, rounds in taken.items())
    middle = [_figure(name, rounds, 50) for name, rounds in taken.items()]
    return Findings([ratio(check, read) for check in checks], [read, *checks, *middle])


def _read(stand: Stand, keys: Sequence[tuple[str, str]]) -> list[float]:
    url = f"{stand.superuser}stepway_intake"
    return list(stand.worker.do("read", url=url, keys=keys, seconds=stand.seconds))


def _check(stand: Stand, asked: Sequence[tuple[str, Sequence[str]]]) -> list[float]:
    token = _token(stand)
    crowd = {"at": [(site, token, *ids) for site, ids in asked], "callers": 1, "asked": CONSENTS}
    address = stand.platform.address("intake")
    done = stand.worker.do("call", address=address, method=CHECK, crowds={"all": crowd}, seconds=stand.seconds)
    return list(done["all"]["taken"])


def _token(stand: Stand) -> str:
    """It lasts for minutes, so each round has its own."""
    key = stand.platform.keys.service_key_file(ASKS_AS)
    return ServiceIdentity(ASKS_AS, key, issuer=ISSUER, audience=AUDIENCE).token(datetime.now(UTC))


def _figure(name: str, rounds: Sequence[Sequence[float]], percent: int) -> Figure:
    return Figure(f"{name}, p{percent}", "ms", [1000 * percentile(each, percent) for each in rounds])
