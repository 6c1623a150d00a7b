"""Who did what to whose record, why, and with which outcome: a row in the same transaction."""

from datetime import datetime
from typing import Any
from uuid import UUID

from opentelemetry import trace
from sqlalchemy import text

from stepway_chassis import outbox
from stepway_chassis.transaction import Tx

_INTO = "INSERT INTO audit (site, people, actor, actor_kind, action, purpose, outcome, reason, trace_id) VALUES"
_RECORD_ALONE = f"{_INTO} ($1, $2, $3, $4, $5, $6, $7, $8, $9)"

_LIST = text(
    "SELECT at, actor, actor_kind, action, outcome, reason, purpose, people, trace_id FROM audit"
    " WHERE site = :site AND (CAST(:person AS uuid) IS NULL OR CAST(:person AS uuid) = ANY(people))"
    " AND (CAST(:since AS timestamptz) IS NULL OR at >= :since) ORDER BY id DESC LIMIT :limit"
)


def recording(*also: str) -> str:
    """A statement that stores what `tx` announces and who did what, and does this too: $1 is the site, $5 the people,
    $6 the caller's subject, $8 the action, and its own values begin at $13.
    """
    return f"WITH {', '.join((outbox.ANNOUNCED, *also))} {_INTO} ($1, $5, $6, $7, $8, $9, $10, $11, $12)"


_RECORD = recording()


async def record(tx: Tx, outcome: str, *values: Any, reason: str = "", statement: str = _RECORD) -> None:
    """`outcome` is DONE, REPEATED or REFUSED; `reason` is the refusal's. What `tx` announces is stored with it."""
    tx.audited = True
    trace_id = f"{trace.get_current_span().get_span_context().trace_id:032x}"
    who = tx.caller.subject, tx.caller.kind.value, tx.action, tx.purpose
    row = tx.people, *who, outcome, reason, trace_id
    if statement is _RECORD and not tx.announced:  # as whoever only reads
        await tx.run(_RECORD_ALONE, tx.site.name, *row)
    else:
        await tx.run(statement, *outbox.taken(tx), *row, *values)


async def listed(tx: Tx, *, person: UUID | None, since: datetime | None, limit: int) -> list[dict[str, Any]]:
    """The newest rows of the site, about one person or anybody."""
    wanted = {"site": tx.site.name, "person": person, "since": since, "limit": limit}
    return [dict(row) for row in (await tx.execute(_LIST, wanted)).mappings()]
