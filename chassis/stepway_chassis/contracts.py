"""What the contracts say about themselves: who may call, which message is an event, what is private."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from buf.validate import validate_pb2
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from stepway.access.v1 import access_pb2
from stepway.events.v1 import events_pb2
from stepway.privacy.v1 import privacy_pb2
from stepway_chassis.call import Scope

_SCOPES = {
    access_pb2.SCOPE_SITE: Scope.SITE,
    access_pb2.SCOPE_ASSIGNED: Scope.ASSIGNED,
    access_pb2.SCOPE_LINKED: Scope.LINKED,
    access_pb2.SCOPE_SELF: Scope.SELF,
}
_EVENT_MESSAGES = {"google.protobuf.Timestamp", "google.protobuf.Duration"}
_TEXT = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
_NUMBERS_IN_EVENTS = {
    FieldDescriptor.TYPE_ENUM,
    FieldDescriptor.TYPE_BOOL,
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64,
}


class ContractError(Exception):
    """A contract breaks a rule of the house; the message names the place."""


@dataclass(frozen=True)
class Rule:
    """Who may call one RPC: the widest scope of each role, and services by name."""

    rpc: str
    writes: bool
    scopes: dict[str, Scope]
    services: frozenset[str]
    request: type[Message]
    response: type[Message]


@dataclass(frozen=True)
class EventRule:
    """How one event travels."""

    type: str
    noun: str
    id_field: str
    urgent: bool
    dataref: str
    every_service: bool

    @property
    def service(self) -> str:
        """Whose event it is, as a subject is filtered by it."""
        return "*" if self.every_service else self.type.split(".")[1]

    def said_by(self, running: str) -> str:
        """The service whose name the event carries, when `running` announces it."""
        return running if self.every_service else self.service

    @property
    def token(self) -> str:
        """The event's token in a subject: RiskFlagged is risk_flagged."""
        name = self.type.rsplit(".", 1)[1]
        return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def _option(descriptor: Any, extension: Any) -> Any:
    """The value of a custom option, or None where it is not set."""
    options = descriptor.GetOptions()
    return options.Extensions[extension] if options.HasExtension(extension) else None


def rules_of(service_name: str) -> dict[str, Rule]:
    """The rule of each method of a service, by method name; ContractError if one declares none."""
    service: ServiceDescriptor = descriptor_pool.Default().FindServiceByName(service_name)
    return {method.name: rule_of(method) for method in service.methods}


def rule_of(method: MethodDescriptor) -> Rule:
    rpc = f"{method.containing_service.full_name}/{method.name}"
    declared = _option(method, access_pb2.rpc)
    if declared is None:
        raise ContractError(f"{rpc}: say who may call it, with option (stepway.access.v1.rpc)")
    if declared.effect == access_pb2.EFFECT_UNSPECIFIED:
        raise ContractError(f"{rpc}: say whether it reads or writes")
    scopes = _scopes(rpc, declared)
    if not scopes and not declared.services:
        raise ContractError(f"{rpc}: nobody may call it")
    writes = declared.effect == access_pb2.EFFECT_WRITE
    if writes and "request_id" not in method.input_type.fields_by_name:
        raise ContractError(f"{rpc}: a call that writes needs a request_id")
    return Rule(
        rpc=rpc,
        writes=writes,
        scopes=scopes,
        services=frozenset(declared.services),
        request=message_factory.GetMessageClass(method.input_type),
        response=message_factory.GetMessageClass(method.output_type),
    )


def _scopes(rpc: str, declared: access_pb2.Rpc) -> dict[str, Scope]:
    scopes: dict[str, Scope] = {}
    for grant in declared.grants:
        for role in grant.roles:
            name = access_pb2.Role.Name(role).removeprefix("ROLE_").lower()
            if name in scopes or grant.scope not in _SCOPES or role == access_pb2.ROLE_UNSPECIFIED:
                raise ContractError(f"{rpc}: name each role once, with a scope")
            scopes[name] = _SCOPES[grant.scope]
    return scopes


@cache
def event_rule(message: Any) -> EventRule:
    declared = _option(message, events_pb2.event)
    if declared is None:
        raise ContractError(f"{message.full_name} is no event: it lacks option (stepway.events.v1.event)")
    return EventRule(
        type=message.full_name,
        noun=declared.noun,
        id_field=declared.id_field,
        urgent=declared.lane == events_pb2.LANE_URGENT,
        dataref=declared.dataref,
        every_service=declared.every_service,
    )


def faults(files: Iterable[FileDescriptor]) -> list[str]:
    """Every place in these files that breaks a rule of access, privacy or events."""
    return [fault for file in files for fault in _file_faults(file)]


def _file_faults(file: FileDescriptor) -> Iterator[str]:
    for service in file.services_by_name.values():
        for method in service.methods:
            try:
                rule_of(method)
            except ContractError as error:
                yield str(error)
    for message in file.message_types_by_name.values():
        yield from _message_faults(message)


def _message_faults(message: Descriptor) -> Iterator[str]:
    is_event = _option(message, events_pb2.event) is not None
    for field in message.fields:
        yield from _event_field_faults(field) if is_event else _field_faults(field)
    if is_event:
        yield from _event_faults(message)
    for nested in message.nested_types:
        yield from _message_faults(nested)


def _field_faults(field: FieldDescriptor) -> Iterator[str]:
    if field.type in _TEXT and not (_is_phi(field) or _public(field)):
        yield f"{field.full_name}: mark it (stepway.privacy.v1.phi) or (stepway.privacy.v1.public)"
    if _is_phi(field) and _public(field):
        yield f"{field.full_name}: it cannot be both phi and public"
    if field.message_type is not None and not _is_known(field.message_type):
        yield f"{field.full_name}: {field.message_type.full_name} could hold anything; use a message of ours"


def _event_field_faults(field: FieldDescriptor) -> Iterator[str]:
    """An event is allow-listed: what is not named here may not be in it."""
    if field.type in _NUMBERS_IN_EVENTS:
        return
    if field.message_type is not None and field.message_type.full_name in _EVENT_MESSAGES:
        return
    if field.type == FieldDescriptor.TYPE_STRING and _public(field) and not _is_phi(field) and _has_pattern(field):
        return
    yield f"{field.full_name}: an event holds enums, times, counts, and strings that are public and have a pattern"


def _event_faults(message: Descriptor) -> Iterator[str]:
    rule = event_rule(message)
    if _option(message, events_pb2.event).lane == events_pb2.LANE_UNSPECIFIED:
        yield f"{message.full_name}: say which lane it waits in"
    if not rule.noun or not _is_uuid(message.fields_by_name.get(rule.id_field)):
        yield f"{message.full_name}: name the aggregate and the field that holds its id, a UUID"
    if rule.every_service and rule.dataref:
        yield f"{message.full_name}: an event of every service has no dataref"
    if not rule.every_service and not _is_rpc(rule.dataref):
        yield f"{message.full_name}: dataref names no RPC"


def _is_rpc(name: str) -> bool:
    service, _, method = name.partition("/")
    try:
        return method in descriptor_pool.Default().FindServiceByName(service).methods_by_name
    except KeyError:
        return False


def _is_phi(field: FieldDescriptor) -> bool:
    return bool(_option(field, privacy_pb2.phi))


def _public(field: FieldDescriptor) -> bool:
    return bool(_option(field, privacy_pb2.public))


def _has_pattern(field: FieldDescriptor) -> bool:
    rules = _option(field, validate_pb2.field)
    return rules is not None and bool(rules.string.uuid or rules.string.pattern)


def _is_uuid(field: FieldDescriptor | None) -> bool:
    rules = field and _option(field, validate_pb2.field)
    return bool(rules and rules.string.uuid)


def _is_known(message: Descriptor) -> bool:
    return message.full_name.startswith("stepway.") or message.full_name in _EVENT_MESSAGES
