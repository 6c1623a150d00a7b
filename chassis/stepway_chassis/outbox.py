"""Events that leave with the transaction that made them true."""

import json
from typing import Any
from urllib.parse import quote
from uuid import UUID

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from stepway_chassis.contracts import EventRule, event_rule
from stepway_chassis.ids import uuid7
from stepway_chassis.transaction import Tx

PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')  # CloudEvents HTTP/NATS header rule

RELAY = "relay"  # who takes it from here

_PROPAGATOR = TraceContextTextMapPropagator()
_ANNOUNCE = """
    WITH head AS (
        INSERT INTO event_head AS head (site, aggregate_type, aggregate_id, seq, last_by_type)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (site, aggregate_type, aggregate_id) DO UPDATE SET seq = head.seq + $4,
            last_by_type = head.last_by_type
                || (SELECT jsonb_object_agg(key, head.seq + value::bigint) FROM jsonb_each_text($5))
        RETURNING new.seq - $4 AS before, old.last_by_type
    )
    INSERT INTO outbox (event_id, site, aggregate_type, aggregate_id, aggregate_seq, subject, headers, payload,
                        created_at)
    SELECT event_id, $1, $2, $3, before + number, subject,
           headers || jsonb_build_object(
               'ce-sequence', lpad((before + number)::text, 20, '0'),
               'ce-prevsequence', lpad(coalesce(before + previous, (last_by_type->>kind)::bigint, 0)::text, 20, '0')),
           convert_to(payload, 'UTF8'), $7
      FROM head,
           ROWS FROM (jsonb_to_recordset($6)
                AS (event_id uuid, kind text, previous bigint, subject text, headers jsonb, payload text))
           WITH ORDINALITY AS event (event_id, kind, previous, subject, headers, payload, number)
     ORDER BY number"""
"""Locks the head, numbers the events from there, and stores them in their order: in one round trip."""


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
    last: dict[str, int] = {}
    events = []
    for number, (rule, message) in enumerate(chain, start=1):
        event_id = uuid7(tx.now)
        events.append(
            {
                "event_id": str(event_id),
                "kind": rule.type,
                "previous": last.get(rule.type),
                "subject": f"evt.v1.{tx.site.name}.{label}.{rule.said_by(tx.service)}.{rule.token}",
                "headers": _headers(tx, rule, aggregate, event_id),
                "payload": MessageToJson(message, indent=None),
            }
        )
        last[rule.type] = number
    head = tx.site.name, noun, aggregate, len(chain), json.dumps(last)
    await tx.run(_ANNOUNCE, *head, json.dumps(events), tx.now)


def _headers(tx: Tx, rule: EventRule, aggregate: UUID, event_id: UUID) -> dict[str, str]:
    """All but the two numbers, which the statement adds."""
    attributes = {
        "ce-specversion": "1.0",
        "ce-id": str(event_id),
        "ce-type": rule.type,
        "ce-source": f"/sites/{tx.site.name}/{rule.said_by(tx.service)}/{rule.noun}/{aggregate}",
        "ce-subject": str(aggregate),
        "ce-time": tx.now.isoformat().replace("+00:00", "Z"),
        "ce-datacontenttype": "application/json",
        "ce-dataschema": f"urn:stepway:{rule.type}",
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
