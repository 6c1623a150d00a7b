"""Calls to other services: trace, site, identity and the time that is left travel along, and refusals come back."""

from collections.abc import Callable, Mapping
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


class Peers:
    """Connections to services by name, opened when first needed."""

    def __init__(
        self, addresses: Mapping[str, str], identity: Identity, telemetry: Telemetry, now: Callable[[], datetime]
    ) -> None:
        self._addresses = addresses
        self._identity = identity
        self._telemetry = telemetry
        self._now = now
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._rules: dict[str, dict[str, Rule]] = {}

    async def call(self, rpc: str, request: Message, *, site: str) -> Any:
        """Call "stepway.intake.v1.ReferralService/GetReferral" as this identity, at `site`.

        Raises what the other service refused with, Unavailable when it does not answer, PeerFailed for its defects.
        """
        service, method = rpc.split("/")
        peer = service.split(".")[1]
        rule = self._rules.setdefault(service, rules_of(service))[method]
        invoke = self._channel(peer).unary_unary(
            f"/{rpc}", request_serializer=rule.request.SerializeToString, response_deserializer=rule.response.FromString
        )
        with self._telemetry.rpc_client(rpc, peer) as span:
            metadata = tuple({**self._telemetry.inject(), **self._credentials(site)}.items())
            try:
                answer = await invoke(request, metadata=metadata, timeout=_seconds())
            except grpc.aio.AioRpcError as error:
                refusal = from_error(error)
                span.ended(error.code().name, getattr(refusal, "reason", ""))
                raise refusal from None
            span.ended("OK")
            return answer

    def _credentials(self, site: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self._identity.token(self._now())}", "stepway-site": site}

    def _channel(self, peer: str) -> grpc.aio.Channel:
        if peer not in self._addresses:
            raise Unavailable("PEER_UNKNOWN", f"STEPWAY_PEERS names no address for {peer}.")
        if peer not in self._channels:
            self._channels[peer] = grpc.aio.insecure_channel(
                self._addresses[peer],
                options=[("grpc.max_reconnect_backoff_ms", 2000), ("grpc.initial_reconnect_backoff_ms", 200)],
            )
        return self._channels[peer]

    async def close(self) -> None:
        for channel in self._channels.values():
            with suppress(Exception):
                await channel.close(None)


def _seconds() -> float:
    call = current.get(None)
    return DEFAULT_SECONDS if call is None else max(0.001, call.remaining() - RESERVE_SECONDS)
