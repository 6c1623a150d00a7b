"""A service that listens to other events than before: another generation of its durable, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest

from stepway_chassis import outbox
from stepway_chassis.consumers import FORGOTTEN_SECONDS
from stepway_chassis.deliveries import Handler
from stepway_chassis.events import Event
from stepway_chassis.testing import running
from stepway_chassis.transaction import Tx
from tests.ledger import Ledger, an_app, counted, message, noted, said
from tests.waiting import until


@dataclass
class Listener:
    """Writes down what it is told of one site, and waits there where the test wants it to."""

    site: str
    heard: list[tuple[str, UUID]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def handlers(self, *events: str) -> list[Handler[Any]]:
        return [Handler(f"{event} heard", message(event), self._apply, "only a test") for event in events]

    async def _apply(self, _: Tx, event: Event, __: None) -> None:
        if event.site == self.site:  # the others have what other tests have left there
            await self.open.wait()
            self.heard.append((event.type.rpartition(".")[2], event.aggregate))


@pytest.fixture
def site(ledger: Ledger) -> str:
    name = f"quay-{uuid4().hex[:8]}"
    ledger.sql(f"INSERT INTO site (site, zone, settings, revision) VALUES ('{name}', 'UTC', '{{}}', 1)")
    return name


async def silent(tx: Tx, _: object) -> Any:
    tx.concerns()
    return said()


@asynccontextmanager
async def listening(ledger: Ledger, handlers: Sequence[Handler[Any]]) -> AsyncIterator[None]:
    """A version of the service that handles these."""
    told = ledger.environment(ack_wait_seconds="2", fetch_seconds="2", sites_seconds="0.2")
    async with running(an_app(silent, handlers=handlers), told):
        yield


async def announce(ledger: Ledger, site: str, count: int) -> tuple[set[UUID], set[UUID]]:
    """The accounts that were noted, and those that were counted."""
    accounts = [uuid4() for _ in range(2 * count)]
    async with ledger.database().transaction(site, "test") as tx:
        for number, account in enumerate(accounts):
            outbox.append(tx, noted(account) if number % 2 else counted(account), label="general")
    return set(accounts[1::2]), set(accounts[::2])


async def durables(ledger: Ledger, site: str) -> list[Any]:
    async with ledger.network.broker() as client:
        infos = await client.jetstream().consumers_info("EVENTS")
        return [info for info in infos if (info.name or "").startswith(f"ledger-{site}-")]


async def test_with_a_backlog_a_newer_version_the_older_one_and_the_newer_again_hear_everything_once(
    ledger: Ledger, site: str
) -> None:
    listener = Listener(site)
    older, newer = listener.handlers("Noted"), listener.handlers("Noted", "Counted")
    notes, counts = await announce(ledger, site, 40)

    def heard(event: str) -> list[UUID]:
        return [account for type, account in listener.heard if type == event]

    async def all_heard() -> bool:
        return set(heard("Noted")) == notes

    async with listening(ledger, older):  # it holds some and has finished none when it is stopped
        await until(lambda: _held(ledger, site))
    assert listener.heard == []
    listener.open.set()
    async with listening(ledger, newer):
        await until(all_heard)
        assert set(heard("Counted")) <= counts

        async def history_heard() -> bool:
            return set(heard("Counted")) == counts

        await until(history_heard)
    more_notes, more_counts = await announce(ledger, site, 40)
    notes |= more_notes
    async with listening(ledger, older):
        await until(all_heard)
    counts |= more_counts  # the older one has heard none of these
    async with listening(ledger, newer):
        await until(history_heard)
    assert sorted(heard("Noted")) == sorted(notes)
    assert sorted(heard("Counted")) == sorted(counts)
    generations = await durables(ledger, site)
    assert len({each.name for each in generations}) == 2
    assert all(each.config.inactive_threshold == FORGOTTEN_SECONDS for each in generations)


async def _held(ledger: Ledger, site: str) -> bool:
    return any(each.num_ack_pending for each in await durables(ledger, site))


async def test_a_durable_that_nobody_pulls_from_is_forgotten_by_the_server_and_made_again(
    ledger: Ledger, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepway_chassis.consumers.FORGOTTEN_SECONDS", 1.0)
    listener = Listener(site)
    listener.open.set()
    notes, _ = await announce(ledger, site, 3)

    async def all_heard() -> bool:
        return {account for _, account in listener.heard} == notes

    async def forgotten() -> bool:
        return not await durables(ledger, site)

    async with listening(ledger, listener.handlers("Noted")):
        await until(all_heard)
    await until(forgotten)
    notes |= (await announce(ledger, site, 3))[0]
    async with listening(ledger, listener.handlers("Noted")):
        await until(all_heard)
    assert len(listener.heard) == len(notes)
