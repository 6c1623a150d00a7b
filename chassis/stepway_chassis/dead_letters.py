"""Events that could not be applied: what an operator sees of them, and the round that tries them again."""

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
    " WHERE site = :site AND state = 'retrying' AND id > :after ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)"
    " RETURNING id, consumer, subject, headers, payload"
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

    async def round(site: str) -> datetime | None:
        again, last = None, UUID(int=0)
        while letter := await _taken(database, site, after=last):
            last = letter["id"]
            if not await _tried(deliveries, by_name, site, letter):
                again = await _put_back(database, site, last)
        return again

    return Loop(LOOP, round)


async def _taken(database: Database, site: str, *, after: UUID) -> Mapping[Any, Any] | None:
    """One by one, so that whatever happens to a letter the others are still asked for."""
    async with database.transaction(site, LOOP) as tx:
        return (await tx.execute(_TAKE, {"site": site, "after": after})).mappings().first()


async def _put_back(database: Database, site: str, letter: UUID) -> datetime:
    """When it is to be tried again."""
    async with database.transaction(site, LOOP) as tx:
        await tx.execute(_RETRY, {"site": site, "id": letter})
        return tx.now + AGAIN


async def _tried(
    deliveries: Deliveries, handlers: Mapping[str, Handler[Any]], site: str, letter: Mapping[Any, Any]
) -> bool:
    """A letter that is applied is gone with the same transaction; one that fails waits for the operator again.

    False: something it needs does not answer, so it is tried again by itself.
    """
    handler = handlers.get(letter["consumer"])
    delivery = Delivery(site, letter["subject"], letter["headers"], bytes(letter["payload"]))
    return handler is None or await deliveries.handle(handler, delivery) is not Outcome.UNAVAILABLE
