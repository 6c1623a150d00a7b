"""Events that a test writes itself, and puts into the stream or hands to a handler."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from nats.js import JetStreamContext

from stepway_chassis.broker import STREAM
from stepway_chassis.contracts import event_rule
from stepway_chassis.deliveries import Delivery
from tests.faults.observed import FOREIGN
from tests.network import Network


def delivery(
    message: Message, site: str, *, label: str = "general", id: UUID | None = None, sequence: int = 1, count: int = 1
) -> Delivery:
    """As an honest relay would have sent it."""
    rule = event_rule(message.DESCRIPTOR)
    subject = f"evt.v1.{site}.{label}.{rule.service}.{rule.token}"
    aggregate = getattr(message, rule.id_field)
    return Delivery(site, subject, headers(rule.type, aggregate, id, sequence), MessageToJson(message).encode(), count)


def headers(type: str, aggregate: str, id: UUID | None = None, sequence: int = 1) -> dict[str, str]:
    return {
        "ce-id": str(id or uuid4()),
        "ce-type": type,
        "ce-source": f"/elsewhere/{aggregate}",
        "ce-subject": aggregate,
        "ce-time": datetime.now(UTC).isoformat(),
        "ce-sequence": f"{sequence:020d}",
        "ce-correlationid": aggregate,
    }


def changed(delivery: Delivery, payload: Any = None, **header_changes: str | None) -> Delivery:
    """With another payload (bytes, or what becomes JSON), and headers replaced, or left out where None."""
    named = {name.replace("_", "-"): value for name, value in header_changes.items()}
    merged = {**delivery.headers, **named}
    kept: Mapping[str, str] = {name: value for name, value in merged.items() if value is not None}
    body = delivery.payload if payload is None else payload if isinstance(payload, bytes) else json.dumps(payload)
    content = body.encode() if isinstance(body, str) else body
    return Delivery(delivery.site, delivery.subject, kept, content, delivery.count)


@asynccontextmanager
async def administrator(network: Network) -> AsyncIterator[JetStreamContext]:
    async with network.broker() as client:
        yield client.jetstream()


async def put(jetstream: JetStreamContext, delivery: Delivery) -> None:
    """Into the stream, past every outbox."""
    await jetstream.publish(
        delivery.subject, delivery.payload, stream=STREAM, headers={**delivery.headers, FOREIGN: "1"}
    )
