"""Hand-offs over gRPC: on the list until the provider confirms, closed once, each step audited and announced once."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from stepway.intake.v1 import hand_off_pb2, level_of_care_pb2
from stepway.intake.v1 import hand_off_service_pb2 as hand_offs
from stepway.intake.v1.referral_service_pb2 import GetReferralRequest
from stepway_chassis.errors import Refusal
from stepway_chassis.times import to_proto
from tests.calls import every_rpc, send
from tests.cases import At, a_decided_referral, a_decision, a_hand_off, an_attempt
from tests.conftest import SOAK
from tests.network import NORTHSIDE, Network, a_referral, phq_9

SERVICE = "stepway.intake.v1.HandOffService"


@pytest.fixture
def at(network: Network) -> At:
    return At(network, NORTHSIDE)


async def refused(call: Any) -> str:
    with pytest.raises(Refusal) as refusal:
        await call
    return refusal.value.reason


async def started(at: At, referral: str, **changes: Any) -> Any:
    return (await at.call("intake", "HandOffService/StartHandOff", a_hand_off(referral, **changes))).hand_off


async def confirmed(at: At, hand_off: str, **changes: Any) -> Any:
    request = hand_offs.ConfirmHandOffRequest(
        request_id=str(uuid4()), hand_off_id=hand_off, confirmed_with="the nurse there", **changes
    )
    return (await at.call("intake", "HandOffService/ConfirmHandOff", request, role="front_desk")).hand_off


async def ended(at: At, hand_off: str) -> Any:
    request = hand_offs.EndHandOffRequest(
        request_id=str(uuid4()), hand_off_id=hand_off, end="HAND_OFF_END_PROVIDER_DECLINED", end_text="no bed"
    )
    return (await at.call("intake", "HandOffService/EndHandOff", request)).hand_off


async def open_here(at: At, **which: Any) -> list[str]:
    request = hand_offs.ListHandOffsRequest(page_size=100, open_only=True, **which)
    return [each.id for each in (await at.call("intake", "HandOffService/ListHandOffs", request)).hand_offs]


def announced(at: At, hand_off: str) -> list[str]:
    query = f"SELECT split_part(subject, '.', 6) AS event FROM outbox WHERE aggregate_id = '{hand_off}' ORDER BY id"
    return [row["event"] for row in at.network.rows("intake", query)]


async def test_whoever_is_referred_on_stays_on_the_list_until_the_provider_confirms(at: At) -> None:
    hand_off = await started(at, await a_decided_referral(at), note="prefers mornings")
    assert hand_off.level == level_of_care_pb2.LEVEL_OF_CARE_RESIDENTIAL
    assert (hand_off.provider.name, hand_off.provider.phone, hand_off.note) == (
        *("Sable Ridge", "+12125550199"),
        "prefers mornings",
    )
    for outcome in ("NO_ANSWER", "SPOKEN"):
        attempt = an_attempt(hand_off.id, outcome=f"ATTEMPT_OUTCOME_{outcome}")
        tried = await at.call("intake", "HandOffService/RecordHandOffAttempt", attempt, role="front_desk")
    assert (tried.hand_off.attempts, tried.hand_off.status) == (2, hand_off_pb2.HAND_OFF_STATUS_OPEN)
    assert hand_off.id in await open_here(at)
    first = to_proto(datetime.now(UTC) + timedelta(days=3))
    done = await confirmed(at, hand_off.id, appointment_at=first)
    assert (done.status, done.confirmed_with, done.appointment_at) == (
        *(hand_off_pb2.HAND_OFF_STATUS_CONFIRMED, "the nurse there"),
        first,
    )
    assert hand_off.id not in await open_here(at)
    whole = await at.call("intake", "HandOffService/GetHandOff", hand_offs.GetHandOffRequest(hand_off_id=hand_off.id))
    assert whole.hand_off == done
    assert [each.outcome for each in whole.attempts] == [
        hand_off_pb2.ATTEMPT_OUTCOME_SPOKEN,
        hand_off_pb2.ATTEMPT_OUTCOME_NO_ANSWER,
    ]
    assert announced(at, hand_off.id) == ["hand_off_started", "hand_off_confirmed"]


async def test_one_that_came_to_nothing_says_why_and_another_provider_is_asked(at: At) -> None:
    referral = await a_decided_referral(at)
    first = await started(at, referral)
    assert await refused(started(at, referral)) == "HAND_OFF_ALREADY_OPEN"
    over = await ended(at, first.id)
    assert (over.end, over.end_text) == (hand_off_pb2.HAND_OFF_END_PROVIDER_DECLINED, "no bed")
    assert announced(at, first.id) == ["hand_off_started", "hand_off_ended"]
    assert (await started(at, referral)).id in await open_here(at)


async def test_the_list_shows_what_is_due(at: At) -> None:
    now = datetime.now(UTC)
    soon, later = [
        (await started(at, await a_decided_referral(at), due_at=to_proto(now + timedelta(hours=hours)))).id
        for hours in (1, 48)
    ]
    due = await open_here(at, due_before=to_proto(now + timedelta(hours=2)))
    assert soon in due
    assert later not in due


async def test_the_referral_is_due_when_the_hand_off_is(at: At) -> None:
    referral, due_at = await a_decided_referral(at), to_proto(datetime.now(UTC) + timedelta(hours=2))
    await started(at, referral, due_at=due_at)
    request = GetReferralRequest(referral_id=referral)
    assert (await at.call("intake", "ReferralService/GetReferral", request)).referral.due_at == due_at


async def test_nobody_is_referred_on_before_a_clinician_has_decided(at: At) -> None:
    received = await at.call("intake", "ReferralService/ReceiveReferral", a_referral())
    assert await refused(started(at, received.referral.id)) == "LEVEL_OF_CARE_UNDECIDED"


async def test_of_two_who_start_at_once_and_of_two_who_close_at_once_one_is_refused(at: At) -> None:
    referral = await a_decided_referral(at)
    both = await asyncio.gather(started(at, referral), started(at, referral), return_exceptions=True)
    [hand_off] = [each for each in both if not isinstance(each, BaseException)]
    assert [getattr(each, "reason", "") for each in both if each is not hand_off] == ["HAND_OFF_ALREADY_OPEN"]
    closings = await asyncio.gather(confirmed(at, hand_off.id), ended(at, hand_off.id), return_exceptions=True)
    [closed] = [each for each in closings if not isinstance(each, BaseException)]
    assert [getattr(each, "reason", "") for each in closings if each is not closed] == ["HAND_OFF_ALREADY_CLOSED"]
    last = "hand_off_confirmed" if closed.status == hand_off_pb2.HAND_OFF_STATUS_CONFIRMED else "hand_off_ended"
    assert announced(at, hand_off.id) == ["hand_off_started", last]
    late = at.call("intake", "HandOffService/RecordHandOffAttempt", an_attempt(hand_off.id))
    assert await refused(late) == "HAND_OFF_ALREADY_CLOSED"


async def test_what_is_told_of_a_hand_off_is_in_no_event(at: At) -> None:
    referral = await a_decided_referral(at)
    hand_off = await started(at, referral, note="unmistakable Thackenwold")
    await ended(at, hand_off.id)
    query = f"SELECT convert_from(payload, 'UTF8') AS said FROM outbox WHERE aggregate_id = '{hand_off.id}'"
    said = "".join(row["said"] for row in at.network.rows("intake", query))
    assert hand_off.id in said
    assert not [word for word in ("Thackenwold", "Sable", "no bed", "RESIDENTIAL", "residential") if word in said]


class Followed(RuleBasedStateMachine):
    """Whatever staff do, in whatever order, to the hand-offs of one person."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.token = network.token("clinician-of-hand-offs", northside=["clinician"])

    @initialize()
    def somebody_needs_help_elsewhere(self) -> None:
        referral = self._answer("ReferralService/ReceiveReferral", a_referral()).referral
        self._answer("AssessmentService/RecordAssessment", phq_9(referral.id, [0] * 9))
        self._answer("LevelOfCareService/DecideLevelOfCare", a_decision(referral.id))
        self.referral, self.patient = referral.id, referral.patient_id
        self.newest, self.is_open, self.helped = "", False, False
        self.moves = ["SCREENING", "DECIDED"]
        self.announced: dict[str, list[str]] = {}
        self.audited: list[tuple[str, str]] = []

    def _answer(self, rpc: str, request: Message) -> Any:
        answer = send(self.network, f"stepway.intake.v1.{rpc}", request, token=self.token)
        assert answer.code == "OK", answer
        return every_rpc()[f"stepway.intake.v1.{rpc}"].response.FromString(answer.body)

    def _done(self, method: str, request: Message, *, allowed: bool, otherwise: str) -> Any:
        """Whether it was done or refused, as it had to be; the audit will have to say so."""
        answer = send(self.network, f"{SERVICE}/{method}", request, token=self.token)
        assert answer.refusal == (("OK", "") if allowed else ("FAILED_PRECONDITION", otherwise))
        self.audited.append((method, "DONE" if allowed else "REFUSED"))
        return every_rpc()[f"{SERVICE}/{method}"].response.FromString(answer.body) if allowed else None

    @rule()
    def start(self) -> None:
        request = a_hand_off(self.referral)
        otherwise = "HAND_OFF_ALREADY_OPEN" if self.is_open else "REFERRAL_CLOSED"
        done = self._done("StartHandOff", request, allowed=not (self.is_open or self.helped), otherwise=otherwise)
        if done:
            self.moves.append("REFERRED_OUT")
            self.newest, self.is_open = done.hand_off.id, True
            self.announced[self.newest] = ["hand_off_started"]

    @precondition(lambda self: self.newest)
    @rule()
    def try_to_reach(self) -> None:
        request = an_attempt(self.newest)
        self._done("RecordHandOffAttempt", request, allowed=self.is_open, otherwise="HAND_OFF_ALREADY_CLOSED")

    @precondition(lambda self: self.newest)
    @rule()
    def confirm(self) -> None:
        ids = {"request_id": str(uuid4()), "hand_off_id": self.newest}
        request = hand_offs.ConfirmHandOffRequest(**ids, confirmed_with="the nurse there")
        self._close("ConfirmHandOff", request, "hand_off_confirmed", helped=True)

    @precondition(lambda self: self.newest)
    @rule(why=st.sampled_from(["PROVIDER_DECLINED", "IN_CARE_ELSEWHERE", "OTHER"]))
    def end(self, why: str) -> None:
        ids = {"request_id": str(uuid4()), "hand_off_id": self.newest}
        request = hand_offs.EndHandOffRequest(**ids, end=f"HAND_OFF_END_{why}", end_text="as told")
        self._close("EndHandOff", request, "hand_off_ended", helped=why == "IN_CARE_ELSEWHERE")

    def _close(self, method: str, request: Message, event: str, *, helped: bool) -> None:
        if self._done(method, request, allowed=self.is_open, otherwise="HAND_OFF_ALREADY_CLOSED"):
            self.announced[self.newest].append(event)
            self.moves += [] if helped else ["DECIDED"]
            self.is_open, self.helped = False, helped

    def teardown(self) -> None:
        said = self.network.rows(
            "intake",
            "SELECT aggregate_id, split_part(subject, '.', 6) AS event FROM outbox WHERE aggregate_type = 'hand_off'"
            f" AND convert_from(payload, 'UTF8') LIKE '%{self.patient}%' ORDER BY id",
        )
        assert [(row["aggregate_id"], row["event"]) for row in said] == [
            (id, event) for id, events in self.announced.items() for event in events
        ]
        moved = self.network.rows(
            "intake",
            "SELECT convert_from(payload, 'UTF8')::json ->> 'status' AS status FROM outbox WHERE aggregate_type ="
            f" 'referral' AND aggregate_id = '{self.referral}' AND aggregate_seq > 1 ORDER BY aggregate_seq",
        )
        assert [row["status"].removeprefix("REFERRAL_STATUS_") for row in moved] == self.moves
        audited = self.network.rows(
            "intake",
            "SELECT split_part(action, '/', 2) AS method, outcome FROM audit"
            f" WHERE people = ARRAY['{self.patient}'::uuid] AND action LIKE '{SERVICE}/%' ORDER BY id",
        )
        assert [(row["method"], row["outcome"]) for row in audited] == self.audited


def test_whatever_is_done_in_whatever_order_each_step_is_audited_and_each_change_announced_once(
    network: Network,
) -> None:
    run_state_machine_as_test(
        lambda: Followed(network),
        settings=settings(
            max_examples=300 if SOAK else 8, stateful_step_count=12, suppress_health_check=list(HealthCheck)
        ),
    )
