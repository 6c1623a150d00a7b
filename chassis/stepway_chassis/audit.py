"""Who did what to whose record, why, and with which outcome: a row in the same transaction."""

from opentelemetry import trace
from sqlalchemy import text

from stepway_chassis.transaction import Tx

_RECORD = text(
    "INSERT INTO audit (site, actor, actor_kind, action, people, purpose, outcome, reason, trace_id)"
    " VALUES (:site, :actor, :actor_kind, :action, CAST(:people AS uuid[]), :purpose, :outcome, :reason, :trace_id)"
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
