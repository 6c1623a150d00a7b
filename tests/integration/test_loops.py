"""Background work: rounds visit the sites where something is due, once, and no wake is ever lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from stepway_chassis import loops
from stepway_chassis.database import Database
from stepway_chassis.errors import Unavailable
from stepway_chassis.loops import Loop, Rounds, Tasks
from tests.ledger import FAR_CELL, FAR_SITE, OTHER_SITE, SITE, Ledger
from tests.waiting import LONGEST, until

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
Round = Callable[[str], Awaitable[datetime | None]]


class Visits:
    """A loop of its own name that writes down where it was, then does what the test says."""

    def __init__(self, ledger: Ledger, then: Round | None = None) -> None:
        self.loop = Loop(f"loop-{uuid4()}", self._round)
        self.sites: list[str] = []
        self._ledger = ledger
        self._then = then
        self._visited = asyncio.Condition()

    async def _round(self, site: str) -> datetime | None:
        async with self._visited:
            self.sites.append(site)
            self._visited.notify_all()
        return await self._then(site) if self._then else None

    async def number(self, count: int) -> None:
        async with self._visited, asyncio.timeout(LONGEST):
            await self._visited.wait_for(lambda: len(self.sites) >= count)

    async def wake(self, database: Database, at: datetime, site: str = SITE) -> None:
        async with database.transaction(site, "test") as tx:
            await loops.wake(tx, self.loop.name, at)

    def due(self) -> list[dict[str, Any]]:
        return self._ledger.rows(f"SELECT site, due_at FROM work WHERE loop = '{self.loop.name}' ORDER BY site")

    async def settled(self) -> None:
        """Nothing is due any more."""

        async def nothing() -> bool:
            return not self.due()

        await until(nothing)


@asynccontextmanager
async def turning(*rounds: Rounds) -> AsyncIterator[None]:
    tasks = Tasks()
    for each in rounds:
        tasks.start("rounds", each.run)
    try:
        yield
    finally:
        await tasks.stop()


def now() -> datetime:
    return datetime.now(UTC)


async def test_only_the_sites_where_something_is_due_are_visited(ledger: Ledger) -> None:
    database, visits = ledger.database(), Visits(ledger)
    await visits.wake(database, now(), SITE)
    await visits.wake(database, now() + HOUR, OTHER_SITE)
    async with turning(Rounds(visits.loop, database)):
        await visits.number(1)
    assert visits.sites == [SITE]
    assert [row["site"] for row in visits.due()][-1] == OTHER_SITE


@pytest.mark.parametrize("hours", [(3, 1, 2), (1, 2, 3), (3, 2, 1)])
async def test_of_several_wakes_the_earliest_counts(ledger: Ledger, hours: tuple[int, ...]) -> None:
    database, visits, from_now = ledger.database(), Visits(ledger), now()
    for each in hours:
        await visits.wake(database, from_now + each * HOUR)
    (row,) = visits.due()
    assert datetime.fromisoformat(row["due_at"]) == from_now + HOUR


async def test_a_round_says_when_the_site_is_due_again(ledger: Ledger) -> None:
    at = now() + HOUR

    async def again(_: str) -> datetime | None:
        return at

    database, visits = ledger.database(), Visits(ledger, again)
    await visits.wake(database, now())

    async def put_off() -> bool:
        return [datetime.fromisoformat(row["due_at"]) for row in visits.due()] == [at]

    async with turning(Rounds(visits.loop, database)):
        await until(put_off)


async def test_a_site_where_nothing_is_left_is_forgotten(ledger: Ledger) -> None:
    database, visits = ledger.database(), Visits(ledger)
    await visits.wake(database, now())
    async with turning(Rounds(visits.loop, database)):
        await visits.settled()
    assert visits.sites == [SITE]


async def test_a_wake_that_comes_during_a_round_brings_another(ledger: Ledger) -> None:
    database = ledger.database()

    async def woken_once(_: str) -> datetime | None:
        if len(visits.sites) == 1:
            await visits.wake(database, now())
        return None

    visits = Visits(ledger, woken_once)
    await visits.wake(database, now())
    async with turning(Rounds(visits.loop, database)):
        await visits.number(2)
        await visits.settled()


async def test_a_wake_for_much_later_that_comes_during_a_round_is_not_lost_either(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "LEASE", SECOND)
    database, tomorrow = ledger.database(), now() + 24 * HOUR

    async def finds_it_the_second_time(_: str) -> datetime | None:
        if len(visits.sites) == 1:
            await visits.wake(database, tomorrow)
            return None
        return tomorrow

    visits = Visits(ledger, finds_it_the_second_time)
    await visits.wake(database, now())

    async def put_off() -> bool:
        return [datetime.fromisoformat(row["due_at"]) for row in visits.due()] == [tomorrow]

    async with turning(Rounds(visits.loop, database)):
        await until(put_off)


async def test_a_round_that_ends_while_the_next_is_under_way_leaves_the_lease_of_that_alone(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the site would be visited once more, and a round that fails be tried again, only when the lease ends."""
    monkeypatch.setattr(loops, "LEASE", HOUR)
    database, tomorrow = ledger.database(), now() + 24 * HOUR

    async def first_is_over() -> bool:
        return len(rounds._visits) == 1

    async def overlapping(_: str) -> datetime | None:
        if len(visits.sites) == 1:
            await visits.wake(database, now())
            await visits.number(2)
        else:
            await until(first_is_over)
        return tomorrow

    async def put_off() -> bool:
        return [datetime.fromisoformat(row["due_at"]) for row in visits.due()] == [tomorrow]

    visits = Visits(ledger, overlapping)
    rounds = Rounds(visits.loop, database)
    await visits.wake(database, now())
    async with turning(rounds):
        await until(put_off)
    assert visits.sites == [SITE, SITE]


@pytest.mark.parametrize("error", [ZeroDivisionError(), Unavailable("AWAY", "Ask again.")])
async def test_a_round_that_fails_is_tried_again_when_its_lease_ends(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(loops, "LEASE", SECOND)

    async def failing_once(_: str) -> datetime | None:
        if len(visits.sites) == 1:
            raise error
        return None

    database, visits = ledger.database(), Visits(ledger, failing_once)
    began = now()
    await visits.wake(database, began)
    async with turning(Rounds(visits.loop, database)):
        await visits.number(2)
        assert now() - began >= SECOND
        await visits.settled()


async def test_one_site_that_fails_does_not_keep_the_others_waiting(ledger: Ledger) -> None:
    async def failing_first(_: str) -> datetime | None:
        if len(visits.sites) == 1:
            raise ZeroDivisionError
        return None

    database, visits = ledger.database(), Visits(ledger, failing_first)
    await visits.wake(database, now(), SITE)
    await visits.wake(database, now(), OTHER_SITE)
    async with turning(Rounds(visits.loop, database)):
        await visits.number(2)
    assert sorted(visits.sites) == [SITE, OTHER_SITE]


async def test_two_replicas_on_one_database_visit_a_due_site_once(ledger: Ledger) -> None:
    database, done = ledger.database(), asyncio.Event()

    async def long(_: str) -> datetime | None:
        await done.wait()
        return None

    visits = Visits(ledger, long)
    replicas = [Rounds(visits.loop, ledger.database()) for _ in range(3)]
    await visits.wake(database, now())
    await visits.wake(database, now(), OTHER_SITE)
    async with turning(*replicas):
        await visits.number(1)
        for _ in range(5):
            for each in replicas:
                each.nudge()
            await loops.due(database)
        done.set()
        await visits.settled()
    assert sorted(visits.sites) == [SITE, OTHER_SITE]


async def test_a_site_is_visited_by_its_own_cell_and_left_alone_by_the_others(ledger: Ledger) -> None:
    there, visits = ledger.database(cell=FAR_CELL), Visits(ledger)
    await visits.wake(there, now(), FAR_SITE)
    await visits.wake(ledger.database(), now(), SITE)
    async with turning(Rounds(visits.loop, ledger.database())):
        await visits.number(1)
    assert visits.sites == [SITE]
    async with turning(Rounds(visits.loop, there)):
        await visits.number(2)
    assert visits.sites == [SITE, FAR_SITE]


async def test_a_nudge_ends_the_wait_at_once(ledger: Ledger) -> None:
    visits = Visits(ledger)
    rounds = Rounds(visits.loop, ledger.database(), poll_seconds=60)
    database = ledger.database(nudge=lambda _: rounds.nudge())
    async with turning(rounds):
        await visits.wake(database, now())
        await visits.number(1)


async def test_one_look_names_every_loop_that_is_due_at_a_site_of_this_cell(ledger: Ledger) -> None:
    here, later, elsewhere = Visits(ledger), Visits(ledger), Visits(ledger)
    await here.wake(ledger.database(), now())
    await later.wake(ledger.database(), now() + HOUR)
    await elsewhere.wake(ledger.database(cell=FAR_CELL), now(), FAR_SITE)
    due = await loops.due(ledger.database())
    assert {here.loop.name, later.loop.name, elsewhere.loop.name} & due == {here.loop.name}


async def test_a_database_that_is_away_is_asked_again(ledger: Ledger) -> None:
    database, visits = ledger.database(), Visits(ledger)
    await visits.wake(database, now())
    ledger.sql("ALTER ROLE ledger_app CONNECTION LIMIT 0")
    rounds = Rounds(visits.loop, ledger.database())
    async with turning(rounds):
        await loops.due(database)
        ledger.sql("ALTER ROLE ledger_app CONNECTION LIMIT -1")
        await visits.number(1)


async def test_a_task_that_fails_is_started_again_and_all_stop_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "RESTART_SECONDS", 0.01)
    tasks, started, running = Tasks(), 0, asyncio.Event()

    async def failing_twice() -> None:
        nonlocal started
        started += 1
        if started <= 2:
            raise ZeroDivisionError
        running.set()
        await asyncio.Event().wait()

    async def waiting() -> None:
        await asyncio.Event().wait()

    task, other = tasks.start("failing", failing_twice), tasks.start("waiting", waiting)
    async with asyncio.timeout(LONGEST):
        await running.wait()
    assert started == 3
    await tasks.stop()
    assert task.cancelled()
    assert other.cancelled()


async def test_a_task_that_has_lost_its_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `asyncio.wait_for` loses one that comes together with what it waits for."""
    monkeypatch.setattr(loops, "RESTART_SECONDS", 0.01)
    tasks, waiting = Tasks(), asyncio.Event()

    async def losing() -> None:
        waiting.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    task = tasks.start("losing", losing)
    async with asyncio.timeout(LONGEST):
        await waiting.wait()
        await tasks.stop()
    assert task.cancelled()
