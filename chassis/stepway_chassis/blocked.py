"""Aggregates whose next event the stream refuses for good: what an operator sees of them, and their release."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from stepway_chassis.transaction import Tx

_LIST = text(
    "SELECT aggregate_id AS id, aggregate_type, event_id, reason, blocked_at FROM outbox_blocked"
    " WHERE site = :site ORDER BY blocked_at"
)
_RELEASE = text("DELETE FROM outbox_blocked WHERE site = :site AND aggregate_id = :id RETURNING 1")


@dataclass(frozen=True)
class Blocked:
    """`id` is the aggregate's."""

    id: UUID
    aggregate_type: str
    event_id: UUID
    reason: str
    blocked_at: datetime


async def listed(tx: Tx) -> list[Blocked]:
    rows = await tx.execute(_LIST, {"site": tx.site.name})
    return [Blocked(**row) for row in rows.mappings()]


async def release(tx: Tx, aggregate: UUID) -> bool:
    """Let the relay try this aggregate's events again; whether it was blocked."""
    released = await tx.execute(_RELEASE, {"site": tx.site.name, "id": aggregate})
    return released.first() is not None
