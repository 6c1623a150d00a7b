"""What a consumer has handled: a row in the same transaction as the effect."""

from uuid import UUID

from sqlalchemy import text

from stepway_chassis import audit
from stepway_chassis.transaction import Claim, Tx

_HANDLED = text("SELECT 1 FROM inbox WHERE site = :site AND consumer = :consumer AND event_id = :event_id")
_FORGIVE = text("DELETE FROM delivery_failure WHERE site = :site AND consumer = :consumer AND event_id = :event_id")
_SETTLE = text(
    "WITH failures AS"
    " (DELETE FROM delivery_failure WHERE site = :site AND consumer = :consumer AND event_id = :event_id)"
    " DELETE FROM dead_letter WHERE site = :site AND consumer = :consumer AND event_id = :event_id"
)
_FINISH = audit.recording(
    "failures AS (DELETE FROM delivery_failure WHERE site = $1 AND consumer = $8 AND event_id = $13)",
    "letter AS (DELETE FROM dead_letter WHERE site = $1 AND consumer = $8 AND event_id = $13)",
)
_CLAIM = """
    INSERT INTO inbox (site, consumer, event_id) SELECT $1, $3, $4 FROM entered ON CONFLICT DO NOTHING RETURNING 1"""
_COUNT = text(
    "INSERT INTO delivery_failure AS f (site, consumer, event_id, count, error_type)"
    " VALUES (:site, :consumer, :event_id, 1, :error_type)"
    " ON CONFLICT (site, consumer, event_id)"
    " DO UPDATE SET count = GREATEST(f.count - :owed, 0) + 1, error_type = excluded.error_type, failed_at = now()"
    " RETURNING count"
)
_UNCOUNT = text(
    "UPDATE delivery_failure SET count = GREATEST(count - :owed, 0)"
    " WHERE site = :site AND consumer = :consumer AND event_id = :event_id"
)


def claim(consumer: str, event_id: UUID) -> Claim:
    """Claim the event for this consumer, unless it was handled."""
    return Claim(_CLAIM, (consumer, event_id))


async def finish(tx: Tx, event_id: UUID) -> None:
    """It is handled: record that, and forget its failures and its dead letter."""
    await audit.record(tx, "DONE", event_id, statement=_FINISH)


async def handled(tx: Tx, consumer: str, event_id: UUID) -> bool:
    found = await tx.execute(_HANDLED, _key(tx, consumer, event_id))
    return found.first() is not None


async def settle(tx: Tx, consumer: str, event_id: UUID) -> None:
    """It was handled before: forget its failures and its dead letter."""
    await tx.execute(_SETTLE, _key(tx, consumer, event_id))


async def forgive(tx: Tx, consumer: str, event_id: UUID) -> None:
    await tx.execute(_FORGIVE, _key(tx, consumer, event_id))


async def count_failure(tx: Tx, consumer: str, event_id: UUID, error_type: str, owed: int) -> int:
    """Count one more, and take back those that are owed."""
    counted = await tx.execute(_COUNT, {**_key(tx, consumer, event_id), "error_type": error_type, "owed": owed})
    return int(counted.scalar_one())


async def uncount_failures(tx: Tx, consumer: str, event_id: UUID, owed: int) -> None:
    await tx.execute(_UNCOUNT, {**_key(tx, consumer, event_id), "owed": owed})


def _key(tx: Tx, consumer: str, event_id: UUID) -> dict[str, str | UUID]:
    return {"site": tx.site.name, "consumer": consumer, "event_id": event_id}
