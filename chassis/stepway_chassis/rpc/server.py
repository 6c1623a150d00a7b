"""The gRPC server: each method wrapped in the same layers, outermost first, as `layered` lists them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import grpc
import protovalidate
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import _async as health_async
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from stepway_chassis import audit
from stepway_chassis.call import Call, Caller, Kind, Scope, current
from stepway_chassis.contracts import ContractError, Rule, rules_of
from stepway_chassis.database import Database
from stepway_chassis.errors import Denied, InvalidInput, Refusal, TimedOut, Unauthenticated, Unavailable
from stepway_chassis.identity import Verifier
from stepway_chassis.logs import log
from stepway_chassis.pacing import Pacing
from stepway_chassis.rpc import status
from stepway_chassis.telemetry import RpcSpan, Telemetry

DEFAULT_SECONDS = 10.0
LONGEST_SECONDS = 30.0
PURPOSES = frozenset({"TREAT", "HPAYMT", "HOPERAT", "PATRQT"})  # HL7 v3 PurposeOfUse
REFUSALS_NOT_STORED = (Unauthenticated, Unavailable, TimedOut)
_SCOPES_WIDEST_FIRST = (Scope.SITE, Scope.LINKED, Scope.ASSIGNED, Scope.SELF)


@dataclass
class Incoming:
    """One call on its way in; each layer learns something about it."""

    rule: Rule
    raw: bytes
    context: grpc.aio.ServicerContext[Any, Any]
    metadata: dict[str, str]
    span: RpcSpan
    caller: Caller | None = None
    call: Call | None = None
    request: Message | None = None
    deadline: float = field(default=0.0)

    @property
    def site(self) -> str:
        """The site that the caller has a role at; what it merely asked for is free text."""
        return self.call.site if self.call else ""


Next = Callable[[Incoming], Awaitable[Message]]


@dataclass(frozen=True)
class Gate:
    """What the layers need: keys, the database for refusals, each site's pace, the clock."""

    verifier: Verifier
    database: Database
    telemetry: Telemetry
    pacing: Pacing
    now: Callable[[], datetime]

    def layered(self, rule: Rule, handler: Callable[[Message, Any], Awaitable[Message]]) -> Callable[..., Any]:
        async def handled(incoming: Incoming) -> Message:
            return await handler(incoming.request, incoming.context)  # type: ignore[arg-type]

        chain: Next = handled
        for layer in (_validated, self._paced, self._allowed, self._authenticated, self._refusals_audited, _timed):
            chain = _around(layer, chain)
        return self._answered(rule, chain)

    def _answered(self, rule: Rule, chain: Next) -> Callable[..., Any]:
        """Trace, and errors as statuses: whatever happens inside, the caller gets a clear answer."""

        async def unary(raw: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Message | None:
            metadata = _told(context)
            with self.telemetry.rpc_server(rule.rpc, metadata) as span:
                incoming = Incoming(rule, raw, context, metadata, span)
                try:
                    answer = await chain(incoming)
                except Refusal as refusal:
                    span.ended(status.code_of(refusal).name, refusal.reason)
                    code = status.code_of(refusal).name
                    log.info("rpc.refused", rpc=rule.rpc, site=incoming.site, code=code, reason=refusal.reason)
                    answer_status = status.to_status(refusal)
                except Exception:
                    span.ended("INTERNAL", "INTERNAL")
                    log.error("rpc.failed", rpc=rule.rpc, site=incoming.site, code="INTERNAL", exc_info=True)
                    answer_status = status.internal(span.trace_id)
                else:
                    span.ended("OK")
                    return answer
            await context.abort_with_status(answer_status)  # type: ignore[attr-defined]
            return None

        return unary

    async def _refusals_audited(self, incoming: Incoming, inner: Next) -> Message:
        try:
            return await inner(incoming)
        except Refusal as refusal:
            if incoming.caller and not isinstance(refusal, REFUSALS_NOT_STORED):
                await self._store(incoming, incoming.caller, refusal)
            raise

    async def _store(self, incoming: Incoming, caller: Caller, refusal: Refusal) -> None:
        """A row of its own, under the site asked for; a site that does not exist keeps none.

        Raises Unavailable (WRONG_CELL): the caller is sent to where the refusal can be written down.
        """
        site, rpc = incoming.metadata.get("stepway-site", ""), incoming.rule.rpc
        call = incoming.call or Call(rpc, site, caller, Scope.SITE, incoming.deadline, _purpose(incoming))
        try:
            async with self.database.transaction(site, rpc, call=call) as tx:
                tx.people.extend(refusal.people)
                await audit.record(tx, "REFUSED", reason=refusal.reason)
        except Refusal as unstored:
            if unstored.reason == "WRONG_CELL":
                raise unstored from None
            log.warning("audit.unstored", rpc=rpc, reason=unstored.reason)

    async def _authenticated(self, incoming: Incoming, inner: Next) -> Message:
        incoming.caller = self.verifier.caller(incoming.metadata.get("authorization", ""), self.now())
        return await inner(incoming)

    async def _allowed(self, incoming: Incoming, inner: Next) -> Message:
        caller = incoming.caller
        assert caller is not None
        site = incoming.metadata.get("stepway-site", "")
        if not site:
            raise InvalidInput("SITE_MISSING", "Send metadata stepway-site: the site to act at.", field="stepway-site")
        scope, purpose = _scope(incoming.rule, caller, site), _purpose(incoming)
        if not purpose:
            message = f"Use one of {', '.join(sorted(PURPOSES))}."
            raise InvalidInput("PURPOSE_UNKNOWN", message, field="stepway-purpose")
        incoming.call = Call(incoming.rule.rpc, site, caller, scope, incoming.deadline, purpose)
        incoming.span.set_site(site)
        token = current.set(incoming.call)
        try:
            return await inner(incoming)
        finally:
            current.reset(token)

    async def _paced(self, incoming: Incoming, inner: Next) -> Message:
        """Services wait for nobody: what they ask of each other was let in once, and it may be a page."""
        assert incoming.caller is not None
        if incoming.caller.kind is not Kind.SERVICE:
            await self.pacing.keep(incoming.site)
        return await inner(incoming)


def _told(context: grpc.aio.ServicerContext[Any, Any]) -> dict[str, str]:
    """The call's metadata. A caller's tracestate is free text, and would travel with every event: it is not taken."""
    told = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    told.pop("tracestate", None)
    return told


def _around(layer: Callable[[Incoming, Next], Awaitable[Message]], inner: Next) -> Next:
    async def outer(incoming: Incoming) -> Message:
        return await layer(incoming, inner)

    return outer


async def _timed(incoming: Incoming, inner: Next) -> Message:
    asked = incoming.context.time_remaining()
    seconds = min(DEFAULT_SECONDS if asked is None else asked, LONGEST_SECONDS)
    incoming.deadline = time.monotonic() + seconds
    try:
        async with asyncio.timeout(seconds):
            return await inner(incoming)
    except TimeoutError:
        message = "The deadline passed; ask again with the same request_id."
        raise TimedOut("DEADLINE_EXCEEDED", message) from None


def _scope(rule: Rule, caller: Caller, site: str) -> Scope:
    """The widest reach that the caller's roles at this site give; a service needs to be named."""
    if caller.kind is Kind.SERVICE:
        if caller.subject not in rule.services:
            raise Denied("SERVICE_NOT_NAMED", "This service may not call this RPC.")
        return Scope.SITE
    roles = caller.grants.get(site, frozenset())
    if not roles:
        raise Denied("NO_ROLE_AT_SITE", "The caller has no role at the site it asked for.")
    held = {rule.scopes[role] for role in roles if role in rule.scopes}
    for scope in _SCOPES_WIDEST_FIRST:
        if scope in held:
            return scope
    raise Denied("ROLE_NOT_ALLOWED", "None of the caller's roles at this site may call this RPC.")


def _purpose(incoming: Incoming) -> str:
    """The purpose that the caller states, or "" for one that does not exist."""
    purpose = incoming.metadata.get("stepway-purpose", "TREAT")
    return purpose if purpose in PURPOSES else ""


async def _validated(incoming: Incoming, inner: Next) -> Message:
    incoming.request = _parsed(incoming)
    if b"\0" in incoming.raw and (field := _with_nul(incoming.request)):
        raise InvalidInput("TEXT_NOT_STORABLE", "The text holds NUL, which cannot be stored.", field=field)
    for violation in protovalidate.collect_violations(incoming.request, fail_fast=True):
        path = ".".join(_element(element) for element in violation.proto.field.elements)  # type: ignore[union-attr]
        raise InvalidInput("FIELD_INVALID", violation.proto.message or "The value is not allowed.", field=path)
    return await inner(incoming)


def _parsed(incoming: Incoming) -> Message:
    try:
        return incoming.rule.request.FromString(incoming.raw)
    except (DecodeError, ValueError):
        raise InvalidInput("REQUEST_MALFORMED", "The bytes are no message of this method's request type.") from None


def _with_nul(message: Message) -> str:
    """The path of the first text that holds NUL, or nothing."""
    for told, value in message.ListFields():
        many = told.is_repeated
        for place, each in enumerate(value if many else [value]):
            path = f"{told.name}[{place}]" if many else told.name
            if isinstance(each, str) and "\0" in each:
                return path
            if isinstance(each, Message) and (inner := _with_nul(each)):
                return f"{path}.{inner}"
    return ""


def _element(element: Any) -> str:
    place = element.subscript
    return element.field_name if place is None or place.field != "index" else f"{element.field_name}[{place.value}]"


class Server:
    """A gRPC server for these servicers; each class names its service in `SERVICE`."""

    def __init__(self, servicers: Sequence[Any], gate: Gate, *, reflect: bool) -> None:
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", 1 << 20), ("grpc.so_reuseport", 0)])
        self._health = health_async.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._server.add_generic_rpc_handlers([_handlers(servicer, gate) for servicer in servicers])
        if reflect:
            names = [servicer.SERVICE for servicer in servicers] + [health.SERVICE_NAME, reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, self._server)

    async def start(self, address: str) -> int:
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}; is the port taken?") from error
        await self.serving(False)
        await self._server.start()
        return port

    async def serving(self, yes: bool) -> None:
        state = health_pb2.HealthCheckResponse.SERVING if yes else health_pb2.HealthCheckResponse.NOT_SERVING
        await self._health.set("", state)

    async def leaving(self) -> None:
        """NOT_SERVING from now on, whatever is said later."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace: float) -> None:
        await self._server.stop(grace)


def _handlers(servicer: Any, gate: Gate) -> "grpc.GenericRpcHandler[Any, Any]":
    rules = rules_of(servicer.SERVICE)
    missing = sorted(name for name in rules if not hasattr(servicer, name))
    if missing:
        raise ContractError(f"{servicer.SERVICE}: nothing answers {', '.join(missing)}")
    return grpc.method_handlers_generic_handler(
        servicer.SERVICE,
        {
            name: grpc.unary_unary_rpc_method_handler(
                gate.layered(rule, getattr(servicer, name)),
                response_serializer=rule.response.SerializeToString,
            )
            for name, rule in rules.items()
        },
    )
