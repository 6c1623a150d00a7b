"""An event as a consumer sees it, read from the headers and payload of a delivery."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import protovalidate
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message


class Malformed(Exception):
    """The delivery is no event that this handler could ever read."""


class NewerSchema(Exception):
    """The event was written by a newer Stepway; this version cannot read all of it."""


@dataclass(frozen=True)
class Event:
    """`sequence` numbers the events of one aggregate from 1; `label` is the confidentiality token of the subject."""

    id: UUID
    type: str
    site: str
    label: str
    aggregate: UUID
    sequence: int
    time: datetime
    correlation: str
    context: Mapping[str, str]
    message: Message


def read(subject: str, headers: Mapping[str, str], payload: bytes, message_type: type[Message]) -> Event:
    """Raises Malformed, or NewerSchema when only an enum value is unknown."""
    attributes = {name.lower(): unquote(value) for name, value in headers.items()}
    try:
        _, _, site, label, _, _ = subject.split(".")
        return Event(
            id=UUID(attributes["ce-id"]),
            type=attributes["ce-type"],
            site=site,
            label=label,
            aggregate=UUID(attributes["ce-subject"]),
            sequence=int(attributes["ce-sequence"]),
            time=_time(attributes["ce-time"]),
            correlation=attributes.get("ce-correlationid", ""),
            context={name: attributes[name] for name in ("traceparent", "tracestate") if name in attributes},
            message=_message(payload, message_type),
        )
    except (KeyError, ValueError) as error:
        raise Malformed from error


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError
    return at


def _message(payload: bytes, message_type: type[Message]) -> Message:
    try:
        content = json.loads(payload)
        if not isinstance(content, dict):
            raise Malformed
        message = ParseDict(content, message_type(), ignore_unknown_fields=True)
    except (ParseError, ValueError, RecursionError) as error:
        raise Malformed from error
    if _has_unknown_enum(content, message_type.DESCRIPTOR):
        raise NewerSchema
    if protovalidate.collect_violations(message, fail_fast=True):
        raise Malformed
    return message


def _has_unknown_enum(content: Mapping[str, Any], descriptor: Any) -> bool:
    return any(
        value not in field.enum_type.values_by_name and value not in field.enum_type.values_by_number
        for field in descriptor.fields
        if field.enum_type is not None
        for value in _values(content.get(field.json_name, content.get(field.name)))
    )


def _values(found: Any) -> Sequence[Any]:
    """The values of a field, which may repeat or be left out."""
    if found is None:
        return ()
    return found if isinstance(found, list) else (found,)
