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

_HEADS = """
    INSERT INTO event_head AS head (site, aggregate_type, aggregate_id, seq, last_by_type)
    SELECT $1, noun, aggregate, events, last
      FROM jsonb_to_recordset($2) AS chain (noun text, aggregate uuid, events bigint, last jsonb)
     ORDER BY noun, aggregate
    ON CONFLICT (site, aggregate_type, aggregate_id) DO UPDATE SET seq = head.seq + excluded.seq,
        last_by_type = head.last_by_type || (
            SELECT jsonb_object_agg(key, head.seq + value::bigint) FROM jsonb_each_text(excluded.last_by_type))
    RETURNING aggregate_type AS noun, aggregate_id AS aggregate, coalesce(old.seq, 0) AS before, old.last_by_type"""
_EVENTS = """
    INSERT INTO outbox (event_id, site, aggregate_type, aggregate_id, aggregate_seq, subject, headers, payload,
                        created_at)
    SELECT event_id, $1, noun, aggregate, before + number, subject,
           headers || jsonb_build_object(
               'ce-sequence', lpad((before + number)::text, 20, '0'),
               'ce-prevsequence', lpad(coalesce(before + previous, (last_by_type->>kind)::bigint, 0)::text, 20, '0')),
           convert_to(payload, 'UTF8'), $4
      FROM jsonb_to_recordset($3) AS event (noun text, aggregate uuid, number bigint, previous bigint, kind text,
                                            event_id uuid, subject text, headers jsonb, payload text)
      JOIN head USING (noun, aggregate)
     ORDER BY noun, aggregate, number"""
# Locks the heads, numbers the events from there, and stores them in their order; $1 to $4 are what `taken` gives.
_HEAD = f"head AS ({_HEADS})"
ANNOUNCED = f"{_HEAD}, announced AS ({_EVENTS})"


def append(tx: Tx, *messages: Message, label: str) -> None:
    """Announce these events when, and only when, `tx` commits: the last statement before that stores them.

    `label` is the confidentiality label of the record that they are about, a token of the subject. Events of one
    aggregate are numbered in the order given; heads are locked in key order, so that two commands cannot deadlock.
    """
    for message in messages:
        rule = event_rule(message.DESCRIPTOR)
        aggregate = UUID(getattr(message, rule.id_field))
        tx.announced.setdefault((rule.noun, str(aggregate)), []).append(_event(tx, rule, aggregate, message, label))
    tx.work_left.add(RELAY)


def taken(tx: Tx) -> tuple[Any, ...]:
    """The values of ANNOUNCED, which `tx` is about to store."""
    chains, events = [], list[dict[str, Any]]()
    for (noun, aggregate), chain in tx.announced.items():
        last: dict[str, int] = {}
        for number, event in enumerate(chain, start=1):
            place = {"noun": noun, "aggregate": aggregate, "number": number, "previous": last.get(event["kind"])}
            events.append(event | place)
            last[event["kind"]] = number
        chains.append({"noun": noun, "aggregate": aggregate, "events": len(chain), "last": last})
    tx.announced = {}
    return tx.site.name, json.dumps(chains), json.dumps(events), tx.now


def announcing(*also: str) -> str:
    """A statement that stores what `tx` announces, and does this too: $1 is the site, its own values begin at $5."""
    return f"WITH {', '.join((_HEAD, *also))} {_EVENTS}"


_ANNOUNCE = announcing()


async def announce(tx: Tx, *values: Any, statement: str = _ANNOUNCE) -> None:
    """Store now what was appended so far; the end of a transaction does it otherwise."""
    await tx.run(statement, *taken(tx), *values)


def _event(tx: Tx, rule: EventRule, aggregate: UUID, message: Message, label: str) -> dict[str, Any]:
    event_id = uuid7(tx.now)
    return {
        "event_id": str(event_id),
        "kind": rule.type,
        "subject": f"evt.v1.{tx.site.name}.{label}.{rule.said_by(tx.service)}.{rule.token}",
        "headers": _headers(tx, rule, aggregate, event_id),
        "payload": MessageToJson(message, indent=None),
    }


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
