"""The page that says what every event is, when it is said, what it holds, and who listens: from the contracts alone."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from stepway.audit.v1 import events_pb2 as audit
from stepway.care.v1 import events_pb2 as care
from stepway.events.v1 import events_pb2 as options
from stepway.family.v1 import events_pb2 as family
from stepway.intake.v1 import events_pb2 as intake
from stepway.notifications.v1 import events_pb2 as notifications
from stepway.privacy.v1 import privacy_pb2 as privacy
from stepway.scheduling.v1 import events_pb2 as scheduling
from stepway_chassis.contracts import EventRule, event_rule
from stepway_cli.listeners import handlers

_CONTRACTS = (intake, scheduling, care, family, notifications, audit)
_MESSAGES = 4  # the number of message_type in a FileDescriptorProto, where comments are found
_HEAD = """\
# The events

Made by `make catalogue` from the contracts and the services; `make check` compares.
What all events have in common, and what may be relied on, is in [events.md](events.md).
"""


def page() -> str:
    """As Markdown."""
    comments, listeners = _comments(), _listeners()
    sections = ("\n".join(_section(message, comments, listeners)) for message in _events())
    return "\n".join([_HEAD, *sections])


def tokens() -> set[str]:
    """What each event is called in a subject."""
    return {event_rule(message).token for message in _events()}


def _events() -> Iterator[Descriptor]:
    for contract in _CONTRACTS:
        messages = contract.DESCRIPTOR.message_types_by_name.values()
        yield from (each for each in messages if each.GetOptions().HasExtension(options.event))


def _section(message: Descriptor, comments: Mapping[str, str], listeners: Mapping[str, list[str]]) -> Iterator[str]:
    rule = event_rule(message)
    lane = "urgent" if rule.urgent else "normal"
    yield f"## {message.name}\n\n{comments[message.full_name]}\n"
    yield f"`{rule.type}` · subject `evt.v1.<site>.<label>.{rule.said_by('<service>')}.{rule.token}` · {lane} lane"
    detail = f"detail from `{rule.dataref}`" if rule.dataref else "every service says it of itself"
    yield f"· about one {rule.noun.replace('_', ' ')} · {detail}\n"
    yield "| field | is | |\n|---|---|---|"
    yield from (_field(field, rule, comments) for field in message.fields)
    heard = listeners[rule.type]
    yield "\n" + ("\n".join(heard) if heard else "Nobody inside Stepway listens; it is for integrators.") + "\n"


def _field(field: FieldDescriptor, rule: EventRule, comments: Mapping[str, str]) -> str:
    about = "the record it is about" if field.name == rule.id_field else comments.get(field.full_name, "")
    return f"| `{field.json_name}` | {_kind(field)} | {about} |"


def _kind(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        return "time" if field.message_type.name == "Timestamp" else field.message_type.name.lower()
    if field.type != FieldDescriptor.TYPE_STRING:
        return "number" if field.enum_type is None else "code"
    declared: Any = field.GetOptions()
    if declared.Extensions[privacy.public] == privacy.PUBLIC_SEAL:
        return "signed statement"
    return "id" if field.name.endswith("_id") else "subject of a token"


def _listeners() -> dict[str, list[str]]:
    """By event type: who handles it, and why the order in which it comes does not matter."""
    heard: dict[str, list[str]] = defaultdict(list)
    for service, known in handlers().items():
        for each in known:
            line = f"* **{service}**, `{each.name}`. Commutative: {each.commutative}."
            heard[each.event.DESCRIPTOR.full_name].append(line)
    return heard


def _comments() -> dict[str, str]:
    """Of each event message and its fields, from the image that the build leaves beside the generated code."""
    image = FileDescriptorSet.FromString((Path(intake.__file__).parents[3] / "image.binpb").read_bytes())
    found: dict[str, str] = {}
    for file in image.file:
        if file.name.endswith("/events.proto"):
            found |= dict(_of_file(file))
    return found


def _of_file(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    for place in file.source_code_info.location:
        path: Any = list(place.path)
        said = " ".join(place.leading_comments.split())
        if not said or path[:1] != [_MESSAGES]:
            continue
        message = file.message_type[path[1]]
        if len(path) == 2:
            yield f"{file.package}.{message.name}", said
        elif len(path) == 4:
            yield f"{file.package}.{message.name}.{message.field[path[3]].name}", said
