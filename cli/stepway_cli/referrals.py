"""Sends referrals to intake, a few at a time, and says what became of each."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

from stepway.intake.v1.referral_pb2 import Referral
from stepway.intake.v1.referral_service_pb2 import ReceiveReferralRequest
from stepway_chassis.errors import Refusal
from stepway_chassis.rpc.client import Peers
from stepway_cli.fhir.referrals import Ready
from stepway_cli.findings import Refused

RECEIVE = "stepway.intake.v1.ReferralService/ReceiveReferral"
IN_FLIGHT = 8


class Unreadable(Exception):
    """A path names nothing that can be read."""


@dataclass(frozen=True)
class Sent:
    """What became of one referral: intake has it, or has refused it."""

    name: str
    site: str
    referral: Referral | None
    refused: Refused | None = None


def documents(paths: Iterable[Path]) -> list[tuple[str, bytes]]:
    """Name and content of every file given, and of every .json and .xml file in a folder given. Raises Unreadable."""
    return [(file.name, _content(file)) for path in paths for file in _files(path)]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in {".json", ".xml"})
    if not found:
        raise Unreadable(f"{path}: holds no .json file")
    return found


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Unreadable(f"{file}: {error.strerror}") from None


async def send(
    desk_of: Callable[[str], Peers], ready: Iterable[tuple[str, Ready]], done: Callable[[], None] = lambda: None
) -> list[Sent]:
    """Send (site, referral) pairs, each through its site's front desk; `done` is told of each."""
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one(site: str, each: Ready) -> Sent:
        async with slots:
            sent = await _send(desk_of(site), site, each)
        done()
        return sent

    return await asyncio.gather(*(one(site, each) for site, each in ready))


async def _send(peers: Peers, site: str, ready: Ready) -> Sent:
    request = ReceiveReferralRequest()
    request.CopyFrom(ready.request)
    request.request_id = str(request_id(site, ready.request))
    try:
        answer = await peers.call(RECEIVE, request, site=site)
    except Refusal as refusal:
        field = f"{refusal.field}: " if refusal.field else ""
        return Sent(ready.name, site, None, Refused(ready.name, refusal.reason, f"{field}{refusal.message}"))
    return Sent(ready.name, site, answer.referral)


def request_id(site: str, request: ReceiveReferralRequest) -> UUID:
    """The same referral sent again, at the same site, is the same call: a repeat within a day changes nothing."""
    content = request.SerializeToString(deterministic=True).hex()
    return uuid5(NAMESPACE_URL, f"stepway:{site}:{content}")
