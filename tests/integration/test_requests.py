"""One request_id, one effect; deadlines that hold; pages that add up."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import pytest
from google.protobuf.message import Message

from stepway.intake.v1.referral_service_pb2 import (
    ListReferralsRequest,
    ReceiveReferralRequest,
    ReceiveReferralResponse,
)
from stepway_chassis.errors import Conflict, InvalidInput
from tests.calls import every_rpc, send
from tests.cases import Case, a_case
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral, phq_9

RECEIVE = "stepway.intake.v1.ReferralService/ReceiveReferral"
LIST = "stepway.intake.v1.ReferralService/ListReferrals"
RECORD = "stepway.intake.v1.AssessmentService/RecordAssessment"
STOP = "stepway.notifications.v1.MessageService/StopMessages"


def somebody(**changes: Any) -> ReceiveReferralRequest:
    """A referral of a person whose name nobody else in this run has."""
    return a_referral(person={"family_name": f"Quist-{uuid4()}"}, **changes)


async def receive(network: Network, request: ReceiveReferralRequest, **call: Any) -> ReceiveReferralResponse:
    answer = await network.call(RECEIVE, request, **{"role": "front_desk", **call})
    assert isinstance(answer, ReceiveReferralResponse)
    return answer


def effects(network: Network, request: ReceiveReferralRequest) -> tuple[int, int]:
    """How many referrals of this person there are, and how many announcements of them."""
    rows = network.rows(
        "intake",
        "SELECT (SELECT count(*) FROM outbox WHERE aggregate_id = referral.id) AS announced FROM referral"
        " JOIN patient ON patient.id = patient_id"
        f" WHERE person->>'family_name' = '{request.person.family_name}'",
    )
    return len(rows), sum(row["announced"] for row in rows)


def outcomes(network: Network, subject: str) -> list[str]:
    """What the audit says of one caller's calls."""
    rows = network.rows("intake", f"SELECT outcome FROM audit WHERE actor = '{subject}' ORDER BY id")
    return [row["outcome"] for row in rows]


def _count(network: Network, what: str) -> int:
    return int(network.rows("intake", f"SELECT count(*) AS count FROM {what}")[0]["count"])


def requests_of(network: Network, request_id: str) -> int:
    return _count(network, f"idempotency WHERE request_id = '{request_id}'")


ONCE, NEVER = (1, 1), (0, 0)


@pytest.fixture
def desk() -> str:
    """Somebody at the front desk who does nothing else."""
    return f"desk-{uuid4()}"


async def test_a_call_that_is_sent_twice_has_one_effect_and_the_same_answer(network: Network, desk: str) -> None:
    request = somebody()
    first = await receive(network, request, subject=desk)
    assert (effects(network, request), outcomes(network, desk)) == (ONCE, ["DONE"])
    assert await receive(network, request, subject=desk) == first
    assert (effects(network, request), outcomes(network, desk)) == (ONCE, ["DONE", "REPEATED"])


async def test_the_repeat_of_an_answer_is_on_the_record_of_the_same_people(network: Network, desk: str) -> None:
    request = somebody()
    await receive(network, request, subject=desk)
    await receive(network, request, subject=desk)
    first, repeat = network.rows("intake", f"SELECT people FROM audit WHERE actor = '{desk}' ORDER BY id")
    assert first["people"]
    assert repeat["people"] == first["people"]


async def test_twenty_calls_at_once_have_one_effect_and_the_same_answer(network: Network, desk: str) -> None:
    request = somebody()
    answers = await asyncio.gather(*(receive(network, request, subject=desk) for _ in range(20)))
    assert [answer for answer in answers if answer != answers[0]] == []
    assert effects(network, request) == ONCE
    assert sorted(outcomes(network, desk)) == ["DONE", *["REPEATED"] * 19]


async def test_a_request_id_with_another_body_is_refused_and_changes_nothing(network: Network, desk: str) -> None:
    request = somebody()
    first = await receive(network, request, subject=desk)
    other = somebody(request_id=request.request_id)
    with pytest.raises(Conflict) as refused:
        await receive(network, other, subject=desk)
    assert refused.value.reason == "REQUEST_ID_REUSED"
    assert (effects(network, request), effects(network, other)) == (ONCE, NEVER)
    assert await receive(network, request, subject=desk) == first
    assert outcomes(network, desk) == ["DONE", "REFUSED", "REPEATED"]


async def test_a_request_id_is_the_same_however_it_is_written(network: Network) -> None:
    request = somebody()
    first = await receive(network, request)
    request.request_id = request.request_id.upper()
    assert await receive(network, request) == first
    assert effects(network, request) == ONCE


async def test_a_request_id_at_once_with_two_bodies_has_the_effect_of_one(network: Network) -> None:
    one = somebody()
    other = somebody(request_id=one.request_id)
    answers = await asyncio.gather(receive(network, one), receive(network, other), return_exceptions=True)
    assert sorted(getattr(answer, "reason", "") for answer in answers) == ["", "REQUEST_ID_REUSED"]
    assert sorted([effects(network, one), effects(network, other)]) == [NEVER, ONCE]


async def test_the_same_request_id_of_another_caller_is_another_request(network: Network) -> None:
    request = somebody()
    answers = [await receive(network, request, subject=subject) for subject in ("desk-1", "desk-2")]
    assert answers[0].referral.id != answers[1].referral.id
    assert requests_of(network, request.request_id) == 2


async def test_the_same_request_id_at_another_site_is_another_request(network: Network) -> None:
    request = somebody()
    answers = [await receive(network, request, site=site, subject="desk-1") for site in (NORTHSIDE, LAKESIDE)]
    assert answers[0].referral.id != answers[1].referral.id
    assert requests_of(network, request.request_id) == 2


async def test_the_same_request_id_to_another_rpc_is_another_request(network: Network) -> None:
    request = somebody()
    received = await receive(network, request, role="site_lead")
    answers = phq_9(received.referral.id, [0] * 9, request_id=request.request_id)
    recorded = await network.call(RECORD, answers, role="site_lead")
    assert recorded.assessment.score.total == 0
    assert requests_of(network, request.request_id) == 2


async def test_a_refused_call_may_be_corrected_and_sent_again_with_its_request_id(network: Network) -> None:
    request = somebody()
    wrong = ReceiveReferralRequest()
    wrong.CopyFrom(request)
    wrong.person.birth_date = "1990-02-30"
    with pytest.raises(InvalidInput) as refused:
        await receive(network, wrong)
    assert refused.value.reason == "BIRTH_DATE_IMPOSSIBLE"
    assert requests_of(network, request.request_id) == 0
    await receive(network, request)
    assert effects(network, request) == ONCE


def front_desk(network: Network) -> str:
    return network.token("desk-1", northside=["front_desk"])


@pytest.mark.parametrize("seconds", [0.001, 0.002, 0.004, 0.008, 0.016, 0.03])
async def test_a_call_whose_caller_gave_up_and_asks_again_has_one_effect(network: Network, seconds: float) -> None:
    request, token = somebody(), front_desk(network)
    given_up = await asyncio.to_thread(send, network, RECEIVE, request, token=token, timeout=seconds)
    assert given_up.code in {"DEADLINE_EXCEEDED", "OK"}
    again = await asyncio.to_thread(send, network, RECEIVE, request, token=token)
    assert again.code == "OK"
    assert effects(network, request) == ONCE


def begun(channel: grpc.aio.Channel, rpc: str, request: Message, token: str, timeout: float) -> Any:
    """A call under way, at northside."""
    metadata = (("authorization", f"Bearer {token}"), ("stepway-site", NORTHSIDE))
    return channel.unary_unary(f"/{rpc}")(request.SerializeToString(), metadata=metadata, timeout=timeout)


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.003, 0.006, 0.01])
async def test_a_call_that_was_cancelled_and_is_sent_again_has_one_effect(network: Network, seconds: float) -> None:
    request, token = somebody(), front_desk(network)
    async with grpc.aio.insecure_channel(network.platform.address("intake")) as channel:
        await channel.channel_ready()
        call = begun(channel, RECEIVE, request, token, timeout=10)
        await asyncio.wait([asyncio.ensure_future(call.code())], timeout=seconds)
        call.cancel()
    again = await asyncio.to_thread(send, network, RECEIVE, request, token=token)
    assert again.code == "OK"
    assert effects(network, request) == ONCE


@asynccontextmanager
async def locked(network: Network, referral: str) -> AsyncIterator[None]:
    """The referral's row is held by somebody else's transaction."""
    connection = await asyncpg.connect(network.platform.database_url("intake", "app"))
    try:
        async with connection.transaction():
            await connection.execute("SELECT zone FROM enter_site($1, 'shared')", NORTHSIDE)
            held = await connection.fetch("SELECT 1 FROM referral WHERE id = $1 FOR UPDATE", referral)
            assert len(held) == 1
            yield
    finally:
        await connection.close()


async def test_a_statement_that_waits_ends_at_the_callers_deadline(network: Network) -> None:
    referral = (await receive(network, somebody())).referral.id
    clinician = network.token("clinician-1", northside=["clinician"])
    request = phq_9(referral, [0] * 9)
    async with locked(network, referral):
        began = time.monotonic()
        waited = await asyncio.to_thread(send, network, RECORD, request, token=clinician, timeout=0.5)
        assert waited.code == "DEADLINE_EXCEEDED"
        assert time.monotonic() - began < 2
    assert requests_of(network, request.request_id) == 0
    again = await asyncio.to_thread(send, network, RECORD, request, token=clinician)
    assert again.code == "OK"


async def test_many_calls_that_wait_leave_room_for_others_afterwards(network: Network) -> None:
    referral = (await receive(network, somebody())).referral.id
    clinician = network.token("clinician-1", northside=["clinician"])
    requests = [phq_9(referral, [0] * 9) for _ in range(25)]
    async with locked(network, referral), grpc.aio.insecure_channel(network.platform.address("intake")) as channel:
        calls = [begun(channel, RECORD, each, clinician, timeout=0.7) for each in requests]
        codes = {code.name for code in await asyncio.gather(*(call.code() for call in calls))}
    assert codes <= {"DEADLINE_EXCEEDED", "UNAVAILABLE"}
    again = await asyncio.to_thread(send, network, RECORD, requests[0], token=clinician)
    assert again.code == "OK"


async def test_a_caller_without_a_deadline_is_not_kept_for_ever(network: Network) -> None:
    answer = await asyncio.to_thread(send, network, RECEIVE, somebody(), token=front_desk(network), timeout=10**6)
    assert answer.code == "OK"


PAGED = sorted(
    rpc
    for rpc, rule in every_rpc().items()
    if "/List" in rpc and "patient_id" not in rule.request.DESCRIPTOR.fields_by_name
)
FEWER = {"stepway.family.v1.InvitationService/ListInvitations"}
"""Leaves out what no consent covers now, so that a page may hold fewer than it was asked for."""
UNTIL = {
    "stepway.intake.v1.ReferralService/ListWork": "due_before",
    "stepway.intake.v1.ConsentService/ListEndingConsents": "ends_before",
}
"""What they list comes by its time, up to the one in this field."""


@pytest.fixture(scope="module")
async def cases(network: Network) -> list[Case]:
    return [await a_case(network) for _ in range(3)]


async def pages(network: Network, rpc: str, size: int) -> list[list[str]]:
    """The ids on each page, from the first to the last; of what is listed by its time all of a year."""
    request, read = every_rpc()[rpc].request(page_size=size), []
    if rpc in UNTIL:
        getattr(request, UNTIL[rpc]).FromDatetime(datetime.now(UTC) + timedelta(days=365))
    while True:
        answer = await network.call(rpc, request, role="site_lead")
        read.append([each.id for each in getattr(answer, answer.DESCRIPTOR.fields[0].name)])
        if not answer.next_page_token:
            return read
        request.page_token = answer.next_page_token  # type: ignore[attr-defined]


@pytest.mark.parametrize("rpc", PAGED)
async def test_pages_add_up_to_everything_once_newest_first(network: Network, cases: list[Case], rpc: str) -> None:
    whole = [each for page in await pages(network, rpc, 100) for each in page]
    assert len(whole) >= 3
    assert whole == sorted(whole, reverse=True) or rpc in UNTIL
    in_threes = await pages(network, rpc, 3)
    again = [each for page in in_threes for each in page]
    assert [each for each in again if rpc in UNTIL or each <= whole[0]] == whole  # a page that nobody takes goes on
    if rpc not in FEWER:
        assert {len(page) for page in in_threes[:-1]} <= {3}
        assert 1 <= len(in_threes[-1]) <= 3


async def test_a_page_has_fifty_unless_the_caller_says(network: Network) -> None:
    missing = max(0, 51 - _count(network, f"referral WHERE site = '{NORTHSIDE}'"))
    await asyncio.gather(*(receive(network, somebody()) for _ in range(missing)))
    answer = await network.call(LIST, ListReferralsRequest(), role="site_lead")
    assert len(answer.referrals) == 50
    assert answer.next_page_token


@pytest.mark.parametrize("rpc", PAGED)
@pytest.mark.parametrize("size", [-1, 101, 2**31 - 1])
async def test_a_page_size_out_of_bounds_is_refused(network: Network, rpc: str, size: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        await network.call(rpc, every_rpc()[rpc].request(page_size=size), role="site_lead")
    assert (refused.value.reason, refused.value.field) == ("FIELD_INVALID", "page_size")


@pytest.mark.parametrize("rpc", PAGED)
@pytest.mark.parametrize("token", ["x", "7", "' OR 1=1 --", str(uuid4())[:-1]])
async def test_a_page_token_that_nobody_gave_out_is_refused(network: Network, rpc: str, token: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await network.call(rpc, every_rpc()[rpc].request(page_token=token), role="site_lead")
    assert (refused.value.reason, refused.value.field) == ("PAGE_TOKEN_INVALID", "page_token")


async def test_a_page_token_of_the_other_site_shows_nothing_of_it(network: Network, cases: list[Case]) -> None:
    northside = await network.call(LIST, ListReferralsRequest(page_size=1), role="site_lead")
    theirs = ListReferralsRequest(page_token=northside.next_page_token)
    lakeside = await network.call(LIST, theirs, role="site_lead", site=LAKESIDE)
    here = {row["id"] for row in network.rows("intake", f"SELECT id FROM referral WHERE site = '{LAKESIDE}'")}
    assert {each.id for each in lakeside.referrals} <= here
