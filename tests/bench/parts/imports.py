"""Rows a second of an import, from a file to the last answer, beside the bare calls that it comes to."""

from datetime import UTC, datetime, timedelta

from stepway_cli.tokens import mint
from tests.bench.figures import Aim, Figure, Findings, ratio
from tests.bench.stand import Stand, sites

PEOPLE_A_SECOND = 60  # about as many as intake takes
AIM = Aim(least=0.7)


def measure(stand: Stand) -> Findings:
    """Each round takes a new file, imports it twice, and sends as many people by bare calls."""
    site = sites(1)[0]
    told = {"site": site, "token": _token(stand, site), "people": int(PEOPLE_A_SECOND * stand.seconds)}
    bare, rounds = [], []
    with stand.service("intake"):
        told["address"] = stand.platform.address("intake")
        stand.worker.do("bare", **told)  # to warm up
        for _ in range(stand.rounds):
            bare.append(stand.worker.do("bare", **told))
            rounds.append(stand.worker.do("imported", **told))
    stand.sql("stepway_intake", "DELETE FROM outbox WHERE published_at IS NULL")
    calls = Figure("bare calls, 8 in flight", "rows/s", bare)
    new = Figure("import, rows that are new", "rows/s", [each["new"] for each in rounds])
    others = [
        Figure("import, rows that are known", "rows/s", [each["known"] for each in rounds]),
        Figure("reading alone", "rows/s", [each["read"] for each in rounds]),
    ]
    return Findings([ratio(new, calls, name="import ÷ bare calls, 8 in flight", aim=AIM)], [calls, new, *others])


def _token(stand: Stand, site: str) -> str:
    key, now = stand.platform.keys.people_key(), datetime.now(UTC)
    roles = {site: ["front_desk", "clinician"]}
    return mint(key, "importer", grants=roles, now=now, lifetime=timedelta(hours=2))
