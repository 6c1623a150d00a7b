"""Events that leave with the transaction that made them true."""

import json
from typing import Any
from urllib.parse import quote
from uuid import UUID

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from sqlalchemy import text

from stepway_chassis.contracts import EventRule, event_rule
from stepway_chassis.ids import uuid7
from stepway_chassis.transaction import Tx

PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')  # CloudEvents HTTP/NATS header rule

RELAY = "relay"  # who takes it from here

_PROPAGATOR = TraceContextTextMapPropagator()
_ADVANCE = text(
    "INSERT INTO event_head AS head (site, aggregate_type, aggregate_id, seq, last_by_type)"
    " VALUES (:site, :type, :id, :n, '{}')"
    " ON CONFLICT (site, aggregate_type, aggregate_id) DO UPDATE SET seq = head.seq + :n"
    " RETURNING seq, last_by_type"
)
_REMEMBER = text(
    "UPDATE event_head SET last_by_type = CAST(:last AS jsonb)"
    " WHERE site = :site AND aggregate_type = :type AND aggregate_id = :id"
)
_INSERT = text(
    "INSERT INTO outbox (event_id, site, aggregate_type, aggregate_id, aggregate_seq, subject, headers, payload,"
    " created_at) VALUES (:event_id, :site, :type, :id, :seq, :subject, CAST(:headers AS jsonb), :payload, :at)"
)


async def append(tx: Tx, *messages: Message, label: str) -> None:
    """Announce these events when, and only when, `tx` commits.

    `label` is the confidentiality label of the record that they are about, a token of the subject. Events of one
    aggregate are numbered in the order given; heads are locked in key order, so that two commands cannot deadlock.
    """
    chains: dict[tuple[str, UUID], list[tuple[EventRule, Message]]] = {}
    for message in messages:
        rule = event_rule(message.DESCRIPTOR)
        chains.setdefault((rule.noun, UUID(getattr(message, rule.id_field))), []).append((rule, message))
    for (noun, aggregate), chain in sorted(chains.items()):
        await _append_chain(tx, noun, aggregate, chain, label)
    tx.work_left.add(RELAY)


async def _append_chain(tx: Tx, noun: str, aggregate: UUID, chain: list[tuple[EventRule, Message]], label: str) -> None:
    head = {"site": tx.site.name, "type": noun, "id": aggregate}
    head_row = (await tx.execute(_ADVANCE, {**head, "n": len(chain)})).one()
    seq, last_by_type = head_row.seq, head_row.last_by_type
    rows = []
    for number, (rule, message) in enumerate(chain, start=seq - len(chain) + 1):
        event_id = uuid7(tx.now)
        headers = _headers(tx, rule, aggregate, event_id, number, last_by_type.get(rule.type, 0))
        last_by_type[rule.type] = number
        subject = f"evt.v1.{tx.site.name}.{label}.{rule.said_by(tx.service)}.{rule.token}"
        rows.append(
            {**head, "event_id": event_id, "seq": number, "subject": subject, "at": tx.now}
            | {"headers": json.dumps(headers), "payload": MessageToJson(message, indent=None).encode()}
        )
    await tx.execute(_REMEMBER, {**head, "last": json.dumps(last_by_type)})
    await tx.execute(_INSERT, rows)


def _headers(tx: Tx, rule: EventRule, aggregate: UUID, event_id: UUID, number: int, previous: int) -> dict[str, str]:
    attributes = {
        "ce-specversion": "1.0",
        "ce-id": str(event_id),
        "ce-type": rule.type,
        "ce-source": f"/sites/{tx.site.name}/{rule.said_by(tx.service)}/{rule.noun}/{aggregate}",
        "ce-subject": str(aggregate),
        "ce-time": tx.now.isoformat().replace("+00:00", "Z"),
        "ce-datacontenttype": "application/json",
        "ce-dataschema": f"urn:stepway:{rule.type}",
        "ce-sequence": f"{number:020d}",
        "ce-prevsequence": f"{previous:020d}",
        "ce-partitionkey": str(aggregate),
        "ce-correlationid": tx.correlation or str(aggregate),
    }
    if rule.dataref:
        attributes["ce-dataref"] = rule.dataref
    if tx.causation:
        attributes["ce-causationid"] = tx.causation
    context: dict[str, Any] = {}
    _PROPAGATOR.inject(context)
    return {name: quote(value, safe=PLAIN) for name, value in (attributes | context).items()} | {
        "Nats-Msg-Id": str(event_id)
    }
