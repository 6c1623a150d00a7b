"""Calls to other services: trace, site, identity and the time that is left travel along, and refusals come back."""

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import grpc
from google.protobuf.message import Message

from stepway_chassis.call import current
from stepway_chassis.contracts import Rule, rules_of
from stepway_chassis.errors import Unavailable
from stepway_chassis.identity import Identity
from stepway_chassis.rpc.status import from_error
from stepway_chassis.telemetry import Telemetry

RESERVE_SECONDS = 0.05  # kept back, so that the caller hears which call timed out
DEFAULT_SECONDS = 5.0
UNREACHABLE = grpc.StatusCode.UNAVAILABLE.name  # the reason where no service has given one


class Peers:
    """Connections to services by name, opened when first needed.

    `addresses` has one for each service, and where a service runs in several cells one for each, as "intake@west".
    Which cell has a site is learned from the cells: one that has not says who has, and is asked next time.
    Within a call they wait as long as that may last, else for `seconds`.
    """

    def __init__(
        self,
        addresses: Mapping[str, str],
        identity: Identity,
        telemetry: Telemetry,
        now: Callable[[], datetime],
        *,
        seconds: float = DEFAULT_SECONDS,
    ) -> None:
        self._addresses = addresses
        self._identity = identity
        self._telemetry = telemetry
        self._now = now
        self._seconds = seconds
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._rules: dict[str, dict[str, Rule]] = {}
        self._last: dict[tuple[str, str], str] = {}  # of a service and a site: the address that answered last

    async def call(self, rpc: str, request: Message, *, site: str) -> Any:
        """Call "stepway.intake.v1.ReferralService/GetReferral" as this identity, at `site`.

        Raises what the other service refused with, Unavailable when it does not answer, PeerFailed for its defects.
        """
        peer = rpc.split(".")[1]
        asked, until = [self._last.get((peer, site)) or self._address(peer)], time.monotonic() + self._patience()
        while True:
            try:
                answer = await self._ask(asked[-1], rpc, request, site, max(0.001, until - time.monotonic()))
            except Unavailable as refusal:
                elsewhere = self._elsewhere(peer, refusal, asked)
                if elsewhere is None:
                    raise
                asked.append(elsewhere)
            else:
                self._last[peer, site] = asked[-1]
                return answer

    def _patience(self) -> float:
        call = current.get(None)
        return self._seconds if call is None else max(0.001, call.remaining() - RESERVE_SECONDS)

    def _address(self, peer: str) -> str:
        if peer not in self._addresses:
            raise Unavailable("PEER_UNKNOWN", f"STEPWAY_PEERS names no address for {peer}.")
        return self._addresses[peer]

    def _elsewhere(self, peer: str, refusal: Unavailable, asked: Collection[str]) -> str | None:
        """Another cell's address, not asked yet: the one that was named, or any where nobody answered at all.

        The same request may be sent to both: its request_id has it done once.
        """
        if refusal.reason == "WRONG_CELL":
            named = self._addresses.get(f"{peer}@{refusal.metadata.get('cell')}", self._address(peer))
            return None if named in asked else named
        if refusal.reason == UNREACHABLE:
            others = (address for name, address in self._addresses.items() if name.partition("@")[0] == peer)
            return next((address for address in others if address not in asked), None)
        return None

    async def _ask(self, address: str, rpc: str, request: Message, site: str, seconds: float) -> Any:
        service, method = rpc.split("/")
        rule = self._rules.setdefault(service, rules_of(service))[method]
        invoke = self._channel(address).unary_unary(
            f"/{rpc}", request_serializer=rule.request.SerializeToString, response_deserializer=rule.response.FromString
        )
        with self._telemetry.rpc_client(rpc, service.split(".")[1]) as span:
            metadata = tuple({**self._telemetry.inject(), **self._credentials(site)}.items())
            try:
                answer = await invoke(request, metadata=metadata, timeout=seconds)
            except grpc.aio.AioRpcError as error:
                refusal = from_error(error)
                span.ended(error.code().name, getattr(refusal, "reason", ""))
                raise refusal from None
            span.ended("OK")
            return answer

    def _credentials(self, site: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self._identity.token(self._now())}", "stepway-site": site}

    def _channel(self, address: str) -> grpc.aio.Channel:
        if address not in self._channels:
            self._channels[address] = grpc.aio.insecure_channel(
                address,
                options=[("grpc.max_reconnect_backoff_ms", 2000), ("grpc.initial_reconnect_backoff_ms", 200)],
            )
        return self._channels[address]

    async def close(self) -> None:
        for channel in self._channels.values():
            with suppress(Exception):
                await channel.close(None)
