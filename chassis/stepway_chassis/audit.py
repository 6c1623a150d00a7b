"""Who did what to whose record, why, and with which outcome: a row in the same transaction."""

from datetime import datetime
from typing import Any
from uuid import UUID

from opentelemetry import trace
from sqlalchemy import text

from stepway_chassis.transaction import Tx

# $1 to $9 are what `row` gives; a statement that does more counts on from there.
RECORD = """
    INSERT INTO audit (site, actor, actor_kind, action, people, purpose, outcome, reason, trace_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""

_LIST = text(
    "SELECT at, actor, actor_kind, action, outcome, reason, purpose, people, trace_id FROM audit"
    " WHERE site = :site AND (CAST(:person AS uuid) IS NULL OR CAST(:person AS uuid) = ANY(people))"
    " AND (CAST(:since AS timestamptz) IS NULL OR at >= :since) ORDER BY id DESC LIMIT :limit"
)


async def record(tx: Tx, outcome: str, *, reason: str = "") -> None:
    """`outcome` is DONE, REPEATED or REFUSED; `reason` is the refusal's."""
    await tx.run(RECORD, *row(tx, outcome, reason))


def row(tx: Tx, outcome: str, reason: str = "") -> tuple[Any, ...]:
    """The values of RECORD, which `tx` is about to store."""
    tx.audited = True
    trace_id = f"{trace.get_current_span().get_span_context().trace_id:032x}"
    who = tx.caller.subject, tx.caller.kind.value
    return tx.site.name, *who, tx.action, tx.people, tx.purpose, outcome, reason, trace_id


async def listed(tx: Tx, *, person: UUID | None, since: datetime | None, limit: int) -> list[dict[str, Any]]:
    """The newest rows of the site, about one person or anybody."""
    wanted = {"site": tx.site.name, "person": person, "since": since, "limit": limit}
    return [dict(row) for row in (await tx.execute(_LIST, wanted)).mappings()]
