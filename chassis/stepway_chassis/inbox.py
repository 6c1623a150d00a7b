"""What a consumer has handled: a row in the same transaction as the effect."""

from uuid import UUID

from sqlalchemy import text

from stepway_chassis.transaction import Tx

_HANDLED = text("SELECT 1 FROM inbox WHERE site = :site AND consumer = :consumer AND event_id = :event_id")
_FORGIVE = text("DELETE FROM delivery_failure WHERE site = :site AND consumer = :consumer AND event_id = :event_id")
_SETTLE = text(
    "WITH failures AS"
    " (DELETE FROM delivery_failure WHERE site = :site AND consumer = :consumer AND event_id = :event_id)"
    " DELETE FROM dead_letter WHERE site = :site AND consumer = :consumer AND event_id = :event_id"
)
_CLAIM = text(
    "WITH failures AS"
    " (DELETE FROM delivery_failure WHERE site = :site AND consumer = :consumer AND event_id = :event_id), letter AS"
    " (DELETE FROM dead_letter WHERE site = :site AND consumer = :consumer AND event_id = :event_id)"
    " INSERT INTO inbox (site, consumer, event_id) VALUES (:site, :consumer, :event_id)"
    " ON CONFLICT DO NOTHING RETURNING 1"
)
_COUNT = text(
    "INSERT INTO delivery_failure AS f (site, consumer, event_id, count, error_type)"
    " VALUES (:site, :consumer, :event_id, 1, :error_type)"
    " ON CONFLICT (site, consumer, event_id)"
    " DO UPDATE SET count = f.count + 1, error_type = excluded.error_type, failed_at = now() RETURNING count"
)


async def claim(tx: Tx, consumer: str, event_id: UUID) -> bool:
    """Whether this event is still to be handled by this consumer; its failures and its dead letter are forgotten."""
    row = await tx.execute(_CLAIM, _key(tx, consumer, event_id))
    return row.first() is not None


async def handled(tx: Tx, consumer: str, event_id: UUID) -> bool:
    found = await tx.execute(_HANDLED, _key(tx, consumer, event_id))
    return found.first() is not None


async def settle(tx: Tx, consumer: str, event_id: UUID) -> None:
    """It is handled: forget its failures and its dead letter."""
    await tx.execute(_SETTLE, _key(tx, consumer, event_id))


async def forgive(tx: Tx, consumer: str, event_id: UUID) -> None:
    await tx.execute(_FORGIVE, _key(tx, consumer, event_id))


async def count_failure(tx: Tx, consumer: str, event_id: UUID, error_type: str) -> int:
    counted = await tx.execute(_COUNT, {**_key(tx, consumer, event_id), "error_type": error_type})
    return int(counted.scalar_one())


def _key(tx: Tx, consumer: str, event_id: UUID) -> dict[str, str | UUID]:
    return {"site": tx.site.name, "consumer": consumer, "event_id": event_id}
