"""An import of people with a PHQ-9 each, and the bare calls that it comes to, with as many in flight."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import grpc

from stepway.intake.v1.assessment_service_pb2 import RecordAssessmentRequest
from stepway.intake.v1.referral_service_pb2 import ReceiveReferralRequest, ReceiveReferralResponse
from stepway_chassis import telemetry
from stepway_chassis.identity import Bearer
from stepway_chassis.rpc.client import Peers
from stepway_cli.fhir.answered import with_answers
from stepway_cli.fhir.referrals import Reading
from stepway_cli.importing.account import Account
from stepway_cli.importing.entries import Entry, of_fhir
from stepway_cli.importing.patience import Desks
from stepway_cli.importing.sending import CLINICIAN, FRONT_DESK, IN_FLIGHT, RECEIVE, RECORD, Sending
from tests.bundles import a_patient, a_response

VALUES = [2, 2, 2, 2, 1, 1, 2, 0, 0]
ROWS_A_PERSON = 2
TODAY = date(2026, 11, 21)


def a_file(people: int) -> bytes:
    """NDJSON of people whom nobody has sent before."""
    run = uuid4().hex[:12]
    names = (f"{run}-{number}" for number in range(people))
    return "\n".join(
        json.dumps(each) for name in names for each in (a_patient(name), a_response(name, VALUES))
    ).encode()


def _read(file: bytes, site: str) -> Iterator[Entry]:
    reading = Reading([("people.ndjson", file)], today=TODAY, wanted=with_answers)
    return (of_fhir(site, "", ready) for ready in reading.ready())


async def imported(address: str, site: str, token: str, people: int) -> dict[str, float]:
    """Rows a second of a whole import; of the same file again; and of reading alone."""
    file = a_file(people)
    async with _peers(address, token) as peers:
        seconds = [await _import(file, site, peers) for _ in ("new", "known")]
    began = time.monotonic()
    assert sum(1 for _ in _read(file, site)) == people
    took = [*seconds, time.monotonic() - began]
    rates = (people * ROWS_A_PERSON / each for each in took)
    return dict(zip(("new", "known", "read"), rates, strict=True))


async def _import(file: bytes, site: str, peers: Peers) -> float:
    account, began = Account(site, dry_run=False), time.monotonic()
    desks = Desks({FRONT_DESK: peers, CLINICIAN: peers}, site)
    await Sending(desks, account).all(_read(file, site))
    assert (account.refused, account.stopped) == ([], "")
    return time.monotonic() - began


@asynccontextmanager
async def _peers(address: str, token: str) -> AsyncIterator[Peers]:
    spans = telemetry.start("bench", ratio=0.1)
    peers = Peers({"intake": address}, Bearer(token), spans, lambda: datetime.now(UTC))
    try:
        yield peers
    finally:
        await peers.close()
        await asyncio.to_thread(spans.close)


async def bare(address: str, site: str, token: str, people: int) -> float:
    """Rows a second of the calls alone: nothing is read, asked, derived, or traced by the caller."""
    entries = list(_read(a_file(people), site))
    metadata = (("authorization", f"Bearer {token}"), ("stepway-site", site))
    async with grpc.aio.insecure_channel(address) as channel:
        receive, record = channel.unary_unary(f"/{RECEIVE}"), channel.unary_unary(f"/{RECORD}")
        pairs = iter([_pair(entry) for entry in entries])
        began = time.monotonic()
        await asyncio.gather(*(_send(pairs, receive, record, metadata) for _ in range(IN_FLIGHT)))
        return people * ROWS_A_PERSON / (time.monotonic() - began)


def _pair(entry: Entry) -> tuple[ReceiveReferralRequest, RecordAssessmentRequest]:
    assert entry.referral is not None
    (form,) = entry.forms
    for request in (entry.referral, form.request):
        request.request_id, request.import_id = str(uuid4()), ""
    return entry.referral, form.request


async def _send(pairs: Any, receive: Callable[..., Any], record: Callable[..., Any], metadata: Any) -> None:
    for referral, answers in pairs:
        answer = await receive(referral.SerializeToString(), metadata=metadata)
        answers.referral_id = ReceiveReferralResponse.FromString(answer).referral.id
        await record(answers.SerializeToString(), metadata=metadata)
