"""Background work: tasks that start and stop together, and rounds that visit only the sites where something is due."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from stepway_chassis.database import Contended, Database
from stepway_chassis.errors import Refusal
from stepway_chassis.logs import log
from stepway_chassis.transaction import Tx

FAILED_PAUSE = timedelta(seconds=3)
LEASE = timedelta(seconds=15)  # after this long without word, another replica looks after the site
POLL_SECONDS = 1.0
SELDOM_SECONDS = 15.0
AT_ONCE = 4  # sites that one loop visits at the same time
RESTART_SECONDS = 1.0

_WAKE = text(
    "INSERT INTO work (site, loop, due_at) VALUES (:site, :loop, :at)"
    " ON CONFLICT (loop, site) DO UPDATE SET due_at = LEAST(work.due_at, excluded.due_at)"
)
_DUE = text(
    "SELECT DISTINCT loop FROM work"
    " WHERE due_at <= now() AND site IN (SELECT site FROM site WHERE cell = :cell AND state = 'active')"
)
_TAKE = text(
    "UPDATE work SET due_at = now() + CAST(:lease AS interval) WHERE (loop, site) IN (SELECT loop, site FROM work"
    " WHERE loop = :loop AND due_at <= now()"
    " AND site IN (SELECT site FROM site WHERE cell = :cell AND state = 'active')"
    " ORDER BY due_at LIMIT :room FOR UPDATE SKIP LOCKED)"
    " RETURNING site, xmin::text AS lease, extract(epoch FROM now() - old.due_at)::float8 AS late"
)
_AGAIN = text(
    "UPDATE work SET due_at = now() + CAST(:pause AS interval)"
    " WHERE loop = :loop AND site = :site AND xmin::text = :lease"
)
_DONE = text("DELETE FROM work WHERE loop = :loop AND site = :site AND xmin::text = :lease")  # no wake has touched it
_COME_BACK = text(
    "INSERT INTO work (site, loop, due_at) VALUES (:site, :loop, :at) ON CONFLICT (loop, site)"
    " DO UPDATE SET due_at = excluded.due_at WHERE work.xmin::text = :lease OR excluded.due_at < work.due_at"
)  # else it stays as it is, with its lease: a wake has touched it, and another round may be under way


@dataclass(frozen=True)
class Loop:
    """`round(site)` does what is due at one site and says when it is due again, if ever."""

    name: str
    round: Callable[[str], Awaitable[datetime | None]]


async def wake(tx: Tx, loop: str, at: datetime) -> None:
    """Have `loop` visit this site at `at`, or earlier if it was to come earlier."""
    await tx.execute(_WAKE, {"site": tx.site.name, "loop": loop, "at": at})
    tx.work_left.add(loop)


async def due(database: Database) -> set[str]:
    """The loops that have something due at a site of this cell: one look for all of them. Raises Refusal."""
    async with database.outside() as connection:
        return set((await connection.execute(_DUE, {"cell": database.cell})).scalars())


class Rounds:
    """Runs one loop over the sites where it is due; a slow site holds up no other.

    It looks what is due when it is nudged, and every `poll_seconds`.
    """

    def __init__(self, loop: Loop, database: Database, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._poll_seconds = poll_seconds
        self._loop = loop
        self._database = database
        self.name = loop.name
        self._nudged = asyncio.Event()
        self._visits: set[asyncio.Task[None]] = set()
        self._stopping = False

    def nudge(self) -> None:
        self._nudged.set()

    async def run(self) -> None:
        while not self._stopping:
            self._nudged.clear()
            begun = await self._begin_visits()
            if not begun:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._nudged.wait(), self._poll_seconds)

    async def stop(self) -> None:
        """Begin no more visits, and finish those that have begun."""
        self._stopping = True
        self._nudged.set()
        if self._visits:
            await asyncio.wait(self._visits)

    async def _begin_visits(self) -> int:
        if len(self._visits) >= AT_ONCE:
            await asyncio.wait(self._visits, return_when=asyncio.FIRST_COMPLETED)
        try:
            taken = await self._take(AT_ONCE - len(self._visits))
        except Refusal as refusal:
            log.warning("loop.waiting", loop=self._loop.name, reason=refusal.reason)
            return 0
        for site, lease in [] if self._stopping else taken:  # the leases of what is not begun run out
            visit = asyncio.create_task(self._visit(site, lease))
            self._visits.add(visit)
            visit.add_done_callback(self._visits.discard)
        return len(taken)

    async def _take(self, room: int) -> list[tuple[str, str]]:
        mine = {"loop": self._loop.name, "cell": self._database.cell, "lease": LEASE, "room": room}
        async with self._database.outside() as connection:
            taken = (await connection.execute(_TAKE, mine)).all()
        for row in taken:
            self._database.metrics.late(self._loop.name, row.site, row.late)
        return [(row.site, row.lease) for row in taken]

    async def _visit(self, site: str, lease: str) -> None:
        """A round that fails is tried again soon; a wake during the round is never lost."""
        try:
            again = await self._loop.round(site)
            await self._done(site, lease, again)
        except (Refusal, Contended) as postponed:
            log.warning("loop.postponed", loop=self._loop.name, site=site, error_type=type(postponed).__name__)
            moved = getattr(postponed, "reason", "") == "WRONG_CELL"
            await self._again(site, lease, timedelta() if moved else FAILED_PAUSE)
        except Exception:
            log.error("loop.failed", loop=self._loop.name, site=site, exc_info=True)
            await self._again(site, lease, FAILED_PAUSE)

    async def _again(self, site: str, lease: str, pause: timedelta) -> None:
        """Come back after `pause`, here or in the cell that has the site; if that cannot be written, when the lease
        ends.
        """
        later = {"loop": self._loop.name, "site": site, "lease": lease, "pause": pause}
        with suppress(Refusal):
            async with self._database.outside() as connection:
                await connection.execute(_AGAIN, later)

    async def _done(self, site: str, lease: str, again: datetime | None) -> None:
        done = {"loop": self._loop.name, "site": site, "lease": lease}
        async with self._database.outside() as connection:
            if again is None:
                await connection.execute(_DONE, done)
            else:
                await connection.execute(_COME_BACK, {**done, "at": again})


class Tasks:
    """Long-lived tasks under one roof: one that fails is logged and started again."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        task = asyncio.create_task(_kept_alive(name, work), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self) -> None:
        """End them all. Until Python 3.12 `asyncio.wait_for` may lose a cancellation, so that one may not be enough."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=RESTART_SECONDS)


async def _kept_alive(name: str, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            return await work()
        except Exception:
            log.error("task.failed", loop=name, exc_info=True)
            await asyncio.sleep(RESTART_SECONDS)
