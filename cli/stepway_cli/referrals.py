"""Sends referrals to intake, a few at a time, and says what became of each."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from stepway.intake.v1.referral_pb2 import Referral
from stepway.intake.v1.referral_service_pb2 import ReceiveReferralRequest
from stepway_chassis.errors import Refusal
from stepway_chassis.rpc.client import Peers
from stepway_cli.fhir.referrals import Ready
from stepway_cli.findings import Refused
from stepway_cli.importing.identity import request_id

RECEIVE = "stepway.intake.v1.ReferralService/ReceiveReferral"
IN_FLIGHT = 8


@dataclass(frozen=True)
class Sent:
    """What became of one referral: intake has it, or has refused it."""

    name: str
    site: str
    referral: Referral | None
    refused: Refused | None = None


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
    request.request_id = str(request_id(site, request))
    try:
        answer = await peers.call(RECEIVE, request, site=site)
    except Refusal as refusal:
        field = f"{refusal.field}: " if refusal.field else ""
        return Sent(ready.name, site, None, Refused(ready.name, refusal.reason, f"{field}{refusal.message}"))
    return Sent(ready.name, site, answer.referral)
