"""Calls as a broken or hostile client makes them: any bytes, any metadata, and all that comes back."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import import_module

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from stepway_chassis.contracts import Rule, rules_of
from stepway_chassis.identity import ServiceIdentity
from stepway_cli.tokens import AUDIENCE, ISSUER
from tests.data import REPOSITORY
from tests.network import NORTHSIDE, UNCONFIRMED, Network
from tests.waiting import LONGEST

GENERATED = REPOSITORY / "protos" / "gen"


@dataclass(frozen=True)
class Answer:
    """What a client hears; `said` is every byte of an error: its message and its details."""

    code: str
    reason: str = ""
    field: str = ""
    said: bytes = b""
    body: bytes = b""

    @property
    def refusal(self) -> tuple[str, str]:
        return self.code, self.reason


def send(
    network: Network,
    rpc: str,
    request: Message | bytes = b"",
    *,
    token: str | None = None,
    site: str | None = NORTHSIDE,
    timeout: float = 10.0,
    **metadata: str,
) -> Answer:
    """One blocking call; `token` and `site` become metadata unless they are None.

    It is made again while intake does not say in time whether a consent covers it.
    """
    told = {name.replace("_", "-"): value for name, value in metadata.items()}
    told |= {} if token is None else {"authorization": f"Bearer {token}"}
    told |= {} if site is None else {"stepway-site": site}
    body = request.SerializeToString() if isinstance(request, Message) else request
    ask, began = _channel(network.platform.address(rpc.split(".")[1])).unary_unary(f"/{rpc}"), time.monotonic()
    while True:
        try:
            return Answer("OK", body=ask(body, metadata=tuple(told.items()), timeout=timeout))
        except grpc.RpcError as error:
            answer = _refused(error)
        if answer.reason != UNCONFIRMED or time.monotonic() - began > LONGEST:
            return answer
        time.sleep(0.1)


def service_token(network: Network, service: str) -> str:
    """What the service itself calls others with."""
    key_file = network.platform.keys.service_key_file(service)
    identity = ServiceIdentity(service, key_file, issuer=ISSUER, audience=AUDIENCE)
    return identity.token(datetime.now(UTC))


def _refused(error: grpc.RpcError) -> Answer:
    reason, field, said = "", "", (error.details() or "").encode()
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        said += detail.value
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(request) and request.field_violations:
            field = request.field_violations[0].field
    return Answer(error.code().name, reason, field, said)


@cache
def _channel(address: str) -> grpc.Channel:
    return grpc.insecure_channel(address)


@cache
def every_rpc() -> dict[str, Rule]:
    """The rule of each RPC of each Stepway service, by "package.Service/Method"."""
    return {rule.rpc: rule for service in _services() for rule in rules_of(service).values()}


def _services() -> Iterator[str]:
    for file in sorted((GENERATED / "stepway").rglob("*_pb2.py")):
        name = ".".join(file.relative_to(GENERATED).with_suffix("").parts)
        for service in import_module(name).DESCRIPTOR.services_by_name.values():
            yield service.full_name
