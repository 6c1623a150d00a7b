"""Events that could not be applied: what an operator sees of them, and the round that tries them again."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, column, func, select, table, text

from stepway_chassis import loops
from stepway_chassis.counts import Gauge
from stepway_chassis.database import Database
from stepway_chassis.deliveries import Deliveries, Delivery, Handler, Outcome
from stepway_chassis.errors import NotFound
from stepway_chassis.loops import Loop
from stepway_chassis.transaction import Tx

LOOP = "dead_letters"
AGAIN = timedelta(seconds=5)
LONGEST_SECONDS = 1.0  # of a round, and then its last letter: well within the lease, and commonly within a stop

_letters = table("dead_letter", column("site"))
_LIST = text(
    "SELECT id, consumer, event_id, subject, reason, error_type, count, state, first_at, last_at FROM dead_letter"
    " WHERE site = :site ORDER BY id"
)
_RETRY = text("UPDATE dead_letter SET state = 'retrying' WHERE site = :site AND id = :id RETURNING 1")
_RETRY_NEWER = text(
    "UPDATE dead_letter SET state = 'retrying' WHERE site = :site AND reason = 'NEWER_SCHEMA' RETURNING 1"
)
_TAKE = text(  # waiting again before it is tried: one that takes the process down is not tried for ever
    "UPDATE dead_letter SET state = 'waiting' WHERE site = :site AND id = (SELECT id FROM dead_letter"
    " WHERE site = :site AND state = 'retrying' AND last_at < :begun ORDER BY last_at, id LIMIT 1"
    " FOR UPDATE SKIP LOCKED) RETURNING id, consumer, subject, headers, payload"
)
_POSTPONE = text(
    "UPDATE dead_letter SET state = 'retrying', last_at = now() WHERE site = :site AND id = ANY(CAST(:ids AS uuid[]))"
)


@dataclass(frozen=True)
class Letter:
    """A dead letter without its body, which may only be read inside the service."""

    id: UUID
    consumer: str
    event_id: UUID
    subject: str
    reason: str
    error_type: str
    count: int
    state: str
    first_at: datetime
    last_at: datetime


def _waiting(tx: Tx) -> Select[int]:
    return select(func.count()).select_from(_letters).where(_letters.c.site == tx.site.name)


WAITING = Gauge("stepway.dead_letters.waiting", "Events that could not be applied and still are not.", _waiting)


async def listed(tx: Tx) -> list[Letter]:
    rows = await tx.execute(_LIST, {"site": tx.site.name})
    return [Letter(**row) for row in rows.mappings()]


async def retry(tx: Tx, letter: UUID) -> None:
    """Have the service try this letter again, within a second. Raises NotFound (DEAD_LETTER_NOT_FOUND)."""
    found = await tx.execute(_RETRY, {"site": tx.site.name, "id": letter})
    if found.first() is None:
        raise NotFound("DEAD_LETTER_NOT_FOUND", "No such dead letter at this site; list them to see their ids.")
    await loops.wake(tx, LOOP, tx.now)


async def retry_newer(tx: Tx) -> None:
    """After an upgrade: try what an older version could not read."""
    found = await tx.execute(_RETRY_NEWER, {"site": tx.site.name})
    if found.first() is not None:
        await loops.wake(tx, LOOP, tx.now)


def retrying(database: Database, deliveries: Deliveries, handlers: Sequence[Handler[Any]]) -> Loop:
    by_name = {handler.name: handler for handler in handlers}
    postponed: defaultdict[str, set[UUID]] = defaultdict(set)  # by site, until the database has heard of it

    async def postpone(site: str) -> datetime:
        ids = set(postponed[site])
        async with database.transaction(site, LOOP) as tx:
            if ids:
                await tx.execute(_POSTPONE, {"site": site, "ids": list(ids)})
        postponed[site] -= ids
        return tx.now

    async def round(site: str) -> datetime | None:
        """One by one, that first which was not tried for longest: whatever happens to it, the others are asked for."""
        begun, again, ends = await postpone(site), None, time.monotonic() + LONGEST_SECONDS
        while letter := await _taken(database, site, begun):
            if not await _tried(deliveries, by_name, site, letter):
                postponed[site].add(letter["id"])
                again = await postpone(site) + AGAIN
            if time.monotonic() > ends:
                return again or begun
        return again

    return Loop(LOOP, round)


async def _taken(database: Database, site: str, begun: datetime) -> Mapping[Any, Any] | None:
    async with database.transaction(site, LOOP) as tx:
        return (await tx.execute(_TAKE, {"site": site, "begun": begun})).mappings().first()


async def _tried(
    deliveries: Deliveries, handlers: Mapping[str, Handler[Any]], site: str, letter: Mapping[Any, Any]
) -> bool:
    """A letter that is applied is gone with the same transaction; one that fails waits for the operator again.

    False: something it needs does not answer, so it is tried again by itself.
    """
    handler = handlers.get(letter["consumer"])
    delivery = Delivery(site, letter["subject"], letter["headers"], bytes(letter["payload"]))
    return handler is None or await deliveries.handle(handler, delivery) is not Outcome.UNAVAILABLE
