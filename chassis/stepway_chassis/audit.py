"""Who did what to whose record, why, and with which outcome: a row in the same transaction."""

from datetime import datetime
from typing import Any
from uuid import UUID

from opentelemetry import trace
from sqlalchemy import text

from stepway_chassis.transaction import Tx

_RECORD = text(
    "INSERT INTO audit (site, actor, actor_kind, action, people, purpose, outcome, reason, trace_id)"
    " VALUES (:site, :actor, :actor_kind, :action, CAST(:people AS uuid[]), :purpose, :outcome, :reason, :trace_id)"
)

_LIST = text(
    "SELECT at, actor, actor_kind, action, outcome, reason, purpose, people, trace_id FROM audit"
    " WHERE site = :site AND (CAST(:person AS uuid) IS NULL OR CAST(:person AS uuid) = ANY(people))"
    " AND (CAST(:since AS timestamptz) IS NULL OR at >= :since) ORDER BY id DESC LIMIT :limit"
)


async def record(tx: Tx, outcome: str, *, reason: str = "") -> None:
    """`outcome` is DONE, REPEATED or REFUSED; `reason` is the refusal's."""
    row = {
        "site": tx.site.name,
        "actor": tx.caller.subject,
        "actor_kind": tx.caller.kind.value,
        "action": tx.action,
        "people": [str(person) for person in tx.people],
        "purpose": tx.purpose,
        "outcome": outcome,
        "reason": reason,
        "trace_id": f"{trace.get_current_span().get_span_context().trace_id:032x}",
    }
    await tx.execute(_RECORD, row)
    tx.audited = True


async def listed(tx: Tx, *, person: UUID | None, since: datetime | None, limit: int) -> list[dict[str, Any]]:
    """The newest rows of the site, about one person or anybody."""
    wanted = {"site": tx.site.name, "person": person, "since": since, "limit": limit}
    return [dict(row) for row in (await tx.execute(_LIST, wanted)).mappings()]
