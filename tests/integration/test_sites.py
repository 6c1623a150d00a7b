"""The register of sites: what is newer is taken, what is not is refused, and what cannot be read changes nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from stepway.notifications.v1.message_service_pb2 import ListMessagesRequest
from stepway_chassis.errors import NotFound
from stepway_chassis.sites import Sites
from stepway_cli.sites import SiteError, SiteRecord, apply
from tests.ledger import OTHER_SITE, SITE, Ledger
from tests.network import Network, a_referral
from tests.waiting import until

RECEIVE = "stepway.intake.v1.ReferralService/ReceiveReferral"
MESSAGES = "stepway.notifications.v1.MessageService/ListMessages"


def a_site(**changes: Any) -> SiteRecord:
    settings = {
        "short_name": "Hillside",
        "phone": "303-555-0100",
        "email": "office@hillside.example.org",
        "sending_window": ["00:00", "24:00"],
        "on_call": [{"clinician": "staff-2041", "email": "reyes@hillside.example.org"}],
    }
    name = f"hillside-{uuid4().hex[:8]}"
    return SiteRecord(**{"site": name, "zone": "America/Denver", "revision": 1, "settings": settings, **changes})


async def register(network: Network, *records: SiteRecord, service: str = "intake") -> list[str]:
    return list((await apply(network.platform.database_url(service, "registrar"), records)).values())


def registered(network: Network, record: SiteRecord) -> list[tuple[str, int]]:
    rows = network.rows("intake", f"SELECT zone, revision FROM site WHERE site = '{record.site}'")
    return [(row["zone"], row["revision"]) for row in rows]


async def durables(network: Network, site: str) -> set[str]:
    async with network.broker() as client:
        infos = await client.jetstream().consumers_info("EVENTS")
        return {"-".join(info.name.split("-")[:-1]) for info in infos if f"-{site}-" in (info.name or "")}


async def test_a_site_registered_while_services_run_is_served_soon_after(network: Network) -> None:
    hillside = a_site()
    with pytest.raises(NotFound):
        await network.call(RECEIVE, a_referral(), role="front_desk", site=hillside.site)
    for service in network.platform.services:
        assert await register(network, hillside, service=service) == ["applied"]
    await network.call(RECEIVE, a_referral(), role="front_desk", site=hillside.site)

    async def written_to() -> bool:
        asked = ListMessagesRequest()
        found = await network.call(MESSAGES, asked, role="front_desk", site=hillside.site)
        return [each.HasField("delivered_at") for each in found.messages] == [True, True]

    await until(written_to)
    listening = {
        "intake": ["urgent", "normal"],
        "scheduling": ["normal"],
        "care": ["normal"],
        "family": ["urgent", "normal"],
        "notifications": ["urgent", "normal"],
    }
    lanes = {f"{service}-{hillside.site}-{lane}" for service, lanes in listening.items() for lane in lanes}

    async def heard_everywhere() -> bool:
        return await durables(network, hillside.site) == lanes

    await until(heard_everywhere)


async def test_a_newer_revision_is_applied_and_the_same_again_is_unchanged(network: Network) -> None:
    hillside = a_site()
    newer = replace(hillside, revision=2, zone="America/Phoenix")
    assert [await register(network, each) for each in (hillside, hillside, newer, newer)] == [
        ["applied"],
        ["unchanged"],
        ["applied"],
        ["unchanged"],
    ]
    assert registered(network, hillside) == [("America/Phoenix", 2)]


@pytest.mark.parametrize(
    "changes",
    [{"revision": 1}, {"revision": 1, "zone": "America/Phoenix"}, {"zone": "America/Phoenix"}, {"settings": {}}],
    ids=["older", "older and other", "same revision, other zone", "same revision, other settings"],
)
async def test_an_older_revision_or_another_content_of_the_same_is_refused(
    network: Network, changes: dict[str, Any]
) -> None:
    hillside = a_site(revision=2)
    await register(network, hillside)
    with pytest.raises(SiteError, match=f"{hillside.site}: revision"):
        await register(network, replace(hillside, **changes))
    assert registered(network, hillside) == [("America/Denver", 2)]


async def test_records_are_taken_all_or_none(network: Network) -> None:
    known, new = a_site(revision=2), a_site()
    await register(network, known)
    with pytest.raises(SiteError):
        await register(network, new, replace(known, revision=1))
    assert registered(network, new) == []


@asynccontextmanager
async def reading(ledger: Ledger) -> AsyncIterator[list[frozenset[str]]]:
    """What a process is told of its sites, each time it changes."""
    told: list[frozenset[str]] = []
    task = asyncio.create_task(
        Sites(ledger.database(pool_size=1), "shared", 0.02, lambda _, sites: told.append(sites)).run()
    )
    try:
        yield told
    finally:
        task.cancel()


async def test_a_failed_reading_removes_no_site(ledger: Ledger) -> None:
    new = f"ridge-{uuid4().hex[:8]}"

    async def times(told: list[frozenset[str]], count: int) -> bool:
        return len(told) >= count

    async with reading(ledger) as told:
        await until(lambda: times(told, 1))
        with capture_logs() as logged:
            ledger.sql("ALTER ROLE ledger_app CONNECTION LIMIT 0")
            ledger.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ledger_app'")

            async def failed() -> bool:
                return [line["event"] for line in logged].count("sites.unread") >= 3

            await until(failed)
        assert len(told) == 1
        ledger.sql(f"INSERT INTO site (site, zone, settings, revision) VALUES ('{new}', 'UTC', '{{}}', 1)")
        ledger.sql("ALTER ROLE ledger_app CONNECTION LIMIT -1")
        await until(lambda: times(told, 2))
    assert told[0] >= {SITE, OTHER_SITE}
    assert told[1:] == [told[0] | {new}]


async def test_only_active_sites_of_the_own_cell_are_served(ledger: Ledger) -> None:
    away, moving = (f"{name}-{uuid4().hex[:8]}" for name in ("away", "moving"))
    ledger.sql(
        "INSERT INTO site (site, zone, settings, revision, cell, state) VALUES"
        f" ('{away}', 'UTC', '{{}}', 1, 'elsewhere', 'active'), ('{moving}', 'UTC', '{{}}', 1, 'shared', 'draining')"
    )

    async with reading(ledger) as told:
        await until(lambda: asyncio.sleep(0, result=bool(told)))
    assert told[0] >= {SITE, OTHER_SITE}
    assert not told[0] & {away, moving}
