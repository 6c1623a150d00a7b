"""Cells: each site is run by one of them, a move waits for whoever is inside, and callers follow."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from stepway_chassis import loops, outbox, telemetry
from stepway_chassis.app import Service, utc_now
from stepway_chassis.broker import SITES
from stepway_chassis.database import Database
from stepway_chassis.deliveries import Handler
from stepway_chassis.errors import Denied, Unavailable
from stepway_chassis.events import Event
from stepway_chassis.identity import Bearer
from stepway_chassis.loops import Rounds
from stepway_chassis.rpc.client import Peers
from stepway_chassis.testing import running
from stepway_chassis.transaction import Tx
from stepway_cli import moves
from stepway_cli.moves import Moved, move
from stepway_cli.sites import SiteError, listed
from stepway_cli.spreading import spread
from tests.integration.test_loops import Visits, turning
from tests.ledger import NOTE, SITE, Decide, Ledger, a_note, an_app, message, noted, said
from tests.waiting import LONGEST, until

NEVER = "3600"  # seconds: a reading that comes by itself would come too late for any test


@pytest.fixture
def site(ledger: Ledger) -> str:
    """One that no other test knows, in the cell `shared`."""
    name = f"harbour-{uuid4().hex[:8]}"
    ledger.sql(f"INSERT INTO site (site, zone, settings, revision) VALUES ('{name}', 'UTC', '{{}}', 1)")
    return name


def state_of(ledger: Ledger, site: str) -> tuple[str, str, int]:
    (row,) = ledger.rows(f"SELECT cell, state, epoch FROM site WHERE site = '{site}'")
    return row["cell"], row["state"], row["epoch"]


async def moved(ledger: Ledger, site: str, cell: str) -> Moved:
    return await move(ledger.url("registrar"), site, cell)


async def entered(database: Database, site: str) -> None:
    async with database.transaction(site, "test"):
        pass


async def refusal(database: Database, site: str) -> Unavailable:
    with pytest.raises(Unavailable) as refused:
        await entered(database, site)
    return refused.value


async def test_a_refused_entry_names_the_cell_that_runs_the_site(ledger: Ledger, site: str) -> None:
    await moved(ledger, site, "west")
    refused = await refusal(ledger.database(), site)
    assert (refused.reason, refused.metadata) == ("WRONG_CELL", {"cell": "west"})
    await entered(ledger.database(cell="west"), site)


async def test_each_move_is_another_epoch_and_a_move_to_where_it_is_changes_nothing(ledger: Ledger, site: str) -> None:
    assert await moved(ledger, site, "west") == Moved(site, "shared", "west", 2)
    assert await moved(ledger, site, "west") == Moved(site, "west", "west", 2)
    assert await moved(ledger, site, "shared") == Moved(site, "west", "shared", 3)


async def test_a_site_that_there_is_not_cannot_be_moved(ledger: Ledger) -> None:
    with pytest.raises(SiteError, match="no such site"):
        await moved(ledger, "nowhere", "west")


async def test_a_move_waits_for_whoever_is_inside_and_who_comes_meanwhile_finds_the_other_cell(
    ledger: Ledger, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "PATIENCE_SECONDS", 9.0)  # it gives up while these looks go on, otherwise
    database = ledger.database()
    async with database.transaction(site, "test"):
        moving = asyncio.create_task(moved(ledger, site, "west"))
        await until(lambda: waits(ledger))
        newcomer = asyncio.create_task(refusal(database, site))
        await until(lambda: waits(ledger, others=2))
        assert not moving.done()
    assert (await moving).epoch == 2
    assert (await newcomer).reason == "WRONG_CELL"


async def waits(ledger: Ledger, others: int = 1) -> bool:
    """So many wait for a site's lock."""
    waiting = (
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return len(ledger.rows(waiting)) >= others


async def test_where_somebody_stays_inside_the_site_is_drained_and_then_handed_over(ledger: Ledger, site: str) -> None:
    database = ledger.database()

    async def draining() -> bool:
        return state_of(ledger, site)[1] == "draining"

    async with database.transaction(site, "test"):
        moving = asyncio.create_task(moved(ledger, site, "west"))
        await until(draining)
        assert (await refusal(database, site)).reason == "SITE_DRAINING"
    await moving
    assert state_of(ledger, site) == ("west", "active", 2)


async def test_a_move_that_cannot_be_leaves_the_site_open_where_it_was(
    ledger: Ledger, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "TRIES", 2)
    database = ledger.database()
    async with database.transaction(site, "test"):
        with pytest.raises(SiteError, match="nothing was moved"):
            await moved(ledger, site, "west")
    await entered(database, site)
    assert state_of(ledger, site) == ("shared", "active", 1)


@pytest.mark.parametrize("cell", ["west", "shared"])
async def test_a_move_that_was_cut_off_is_finished_by_the_next(ledger: Ledger, site: str, cell: str) -> None:
    ledger.sql(f"UPDATE site SET state = 'draining' WHERE site = '{site}'")
    await moved(ledger, site, cell)
    await entered(ledger.database(cell=cell), site)


def saying(cell: str) -> Decide:
    async def decide(tx: Tx, _: object) -> Any:
        tx.concerns()
        return said(cell)

    return decide


@asynccontextmanager
async def cells(ledger: Ledger, *names: str) -> AsyncIterator[Mapping[str, Service]]:
    """One process of the ledger for each cell, in this process; they read the register when they are told to."""
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(
                running(an_app(saying(name)), ledger.environment(cell=name, sites_seconds=NEVER))
            )
            for name in names
        }


@asynccontextmanager
async def caller(ledger: Ledger, site: str, **ports: int) -> AsyncIterator[Peers]:
    names = {cell: "ledger" if cell == "shared" else f"ledger@{cell}" for cell in ports}
    addresses = {names[cell]: f"127.0.0.1:{port}" for cell, port in ports.items()}
    token = ledger.network.token("tester", **{site: ["clinician"]})
    peers = Peers(addresses, Bearer(token), telemetry.start("test", ratio=0.0), utc_now)
    try:
        yield peers
    finally:
        await peers.close()


async def answers(peers: Peers, site: str) -> str:
    return str((await peers.call(NOTE, a_note(), site=site)).said)


async def test_a_caller_follows_a_site_from_cell_to_cell(ledger: Ledger, site: str) -> None:
    async with (
        cells(ledger, "shared", "west") as run,
        caller(ledger, site, shared=run["shared"].port, west=run["west"].port) as peers,
    ):
        for cell in ("shared", "west", "shared"):
            await moved(ledger, site, cell)
            assert [await answers(peers, site) for _ in range(2)] == [cell] * 2


async def test_a_cell_that_is_gone_is_passed_by(ledger: Ledger, site: str) -> None:
    nobody = ledger.network.platform.folder.port("nobody")
    await moved(ledger, site, "west")
    async with cells(ledger, "west") as run, caller(ledger, site, shared=nobody, west=run["west"].port) as peers:
        assert await answers(peers, site) == "west"


async def test_who_knows_no_address_of_the_cell_hears_which_one_it_is(ledger: Ledger, site: str) -> None:
    await moved(ledger, site, "west")
    async with cells(ledger, "shared") as run, caller(ledger, site, shared=run["shared"].port) as peers:
        with pytest.raises(Unavailable) as refused:
            await answers(peers, site)
        assert (refused.value.reason, refused.value.metadata) == ("WRONG_CELL", {"cell": "west"})


async def test_who_may_not_call_is_sent_to_the_cell_that_can_write_that_down(ledger: Ledger, site: str) -> None:
    await moved(ledger, site, "west")
    async with (
        cells(ledger, "shared", "west") as run,
        caller(ledger, SITE, shared=run["shared"].port, west=run["west"].port) as stranger,
    ):
        with pytest.raises(Denied):
            await answers(stranger, site)
    written = ledger.rows(f"SELECT outcome, reason FROM audit WHERE site = '{site}'")
    assert written == [{"outcome": "REFUSED", "reason": "NO_ROLE_AT_SITE"}]


async def test_services_hear_of_a_change_of_the_register_at_once(ledger: Ledger, site: str) -> None:
    async def serves(service: Service, *, still: bool = True) -> bool:
        return (site in service.sites.known) is still

    admin = ledger.network.platform.nats_admin
    async with cells(ledger, "shared", "west") as run:
        await until(lambda: serves(run["shared"]))
        await moved(ledger, site, "west")
        began = time.monotonic()
        assert await spread(admin, {"ledger": await listed(ledger.url("registrar"))})
        await until(lambda: serves(run["west"]))
        print(f"\nheard after {time.monotonic() - began:.3f} s")
        await until(lambda: serves(run["shared"], still=False))


async def test_whoever_may_look_can_watch_where_sites_are_and_reads_no_setting(ledger: Ledger, site: str) -> None:
    settings = json.dumps({"phone": "212-555-0100"})
    ledger.sql(f"UPDATE site SET settings = '{settings}' WHERE site = '{site}'")
    async with ledger.network.broker() as client:
        watcher = await (await client.jetstream().key_value(SITES)).watch(f"ledger.{site}")
        assert await watcher.updates(timeout=LONGEST) is None  # all there was
        for cell in ("west", "shared"):
            await moved(ledger, site, cell)
            await spread(ledger.network.platform.nats_admin, {"ledger": await listed(ledger.url("registrar"))})
            entry = await watcher.updates(timeout=LONGEST)
            assert entry is not None
            assert json.loads(entry.value or b"")["cell"] == cell
            assert "212-555-0100" not in (entry.value or b"").decode()


async def test_without_nats_a_move_is_seen_with_the_next_reading(ledger: Ledger, site: str) -> None:
    nothing = f"nats://127.0.0.1:{ledger.network.platform.folder.port('nothing')}"
    assert not await spread((nothing, "admin", "secret"), {})
    await moved(ledger, site, "west")
    told = ledger.environment(cell="west", sites_seconds="0.2", nats_url=nothing)

    async def serves() -> bool:
        return site in service.sites.known

    async with running(an_app(saying("west")), told) as service:
        await until(serves)


async def test_what_a_loop_had_taken_is_done_by_the_other_cell_without_a_wait(
    ledger: Ledger, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wait in ("FAILED_PAUSE", "LEASE"):
        monkeypatch.setattr(loops, wait, timedelta(hours=1))
    here, there, began = ledger.database(), ledger.database(cell="west"), asyncio.Event()
    let_go = asyncio.Event()

    async def held(where: str) -> None:
        began.set()
        await let_go.wait()
        await entered(here, where)

    visits, later = Visits(ledger, held), Visits(ledger)
    later.loop = loops.Loop(visits.loop.name, later.loop.round)
    async with turning(Rounds(visits.loop, here)):
        await visits.wake(here, utc_now(), site)
        await began.wait()
        await moved(ledger, site, "west")
        async with turning(Rounds(later.loop, there)):
            let_go.set()
            await later.number(1)
    assert later.sites == [site]


async def test_a_site_that_holds_all_it_may_leaves_a_place_for_another(ledger: Ledger, site: str) -> None:
    database = ledger.database(pool_size=8)
    async with AsyncExitStack() as held:
        for _ in range(8 // 3):
            await held.enter_async_context(database.transaction(site, "test"))
        late = asyncio.create_task(entered(database, site))
        async with asyncio.timeout(LONGEST):
            await entered(database, SITE)
        assert not late.done()
    await late


async def test_who_waits_too_long_for_a_place_hears_that_others_are_at_work(
    ledger: Ledger, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepway_chassis.database.PLACE_SECONDS", 0.05)
    database = ledger.database(pool_size=1)
    async with database.transaction(site, "test"):
        assert (await refusal(database, SITE)).reason == "BUSY"


async def test_the_events_of_a_busy_site_hold_up_no_other(ledger: Ledger, site: str) -> None:
    """One site has more events to handle than there are workers, and each takes as long as the test likes."""
    let_go, heard = asyncio.Event(), []

    async def hear(_: Tx, event: Event, __: None) -> None:
        heard.append(event.site)
        if event.site == site:
            await let_go.wait()

    async def held() -> bool:
        return site in heard

    async def passed() -> bool:
        return SITE in heard

    handler: Handler[Any] = Handler(f"heard {site}", message("Noted"), hear, "only a test")
    told = ledger.environment(sites_seconds="0.2")
    async with running(an_app(saying("shared"), handlers=[handler]), told):
        await announced(ledger, site, 30)
        await until(held)
        await announced(ledger, SITE, 1)
        await until(passed)
        let_go.set()


async def announced(ledger: Ledger, site: str, count: int) -> None:
    async with ledger.database().transaction(site, "test") as tx:
        for _ in range(count):
            outbox.append(tx, noted(uuid4()), label="general")
