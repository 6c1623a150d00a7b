"""Referrals over the socket: every legal step happens, is audited and announced once, and nothing else ever does."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from stepway.intake.v1 import level_of_care_pb2, referral_pb2
from stepway.intake.v1.level_of_care_service_pb2 import DecideLevelOfCareResponse
from stepway.intake.v1.referral_service_pb2 import (
    AssignReferralRequest,
    CloseReferralRequest,
    GetIntakeTimesRequest,
    GetReferralRequest,
    GetReferralResponse,
    ReceiveReferralResponse,
    RecordContactRequest,
)
from stepway.intake.v1.workup_service_pb2 import CompleteWorkupRequest, ExcuseWorkupPartRequest
from stepway_chassis.errors import Conflict, InvalidInput
from stepway_chassis.times import to_proto
from tests.calls import send
from tests.cases import At, a_decision, a_track, a_workup, an_admission
from tests.conftest import SOAK
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral, phq_9


@pytest_asyncio.fixture(scope="module", autouse=True)
async def seats(network: Network) -> None:
    """Whoever is admitted need not wait."""
    await At(network, NORTHSIDE).call("scheduling", "TrackService/CreateTrack", a_track(), role="site_lead")


REFERRALS = "stepway.intake.v1.ReferralService"
CALLS = {
    "reach": "RecordContact",
    "try": "RecordContact",
    "screen": "RecordAssessment",
    "decide": "DecideLevelOfCare",
    "decide on another level": "DecideLevelOfCare",
    "decide again": "DecideLevelOfCare",
    "admit": "AdmitPatient",
    "decline": "CloseReferral",
    "lose": "CloseReferral",
    "assign": "AssignReferral",
}
MOVES = {
    ("RECEIVED", "reach"): "CONTACTED",
    ("RECEIVED", "screen"): "SCREENING",
    ("CONTACTED", "screen"): "SCREENING",
    ("SCREENING", "decide"): "DECIDED",
    ("SCREENING", "decide on another level"): "DECIDED",
    ("SCREENING", "decide again"): "DECIDED",
    ("DECIDED", "decide again"): "DECIDED",
    ("DECIDED", "admit"): "ADMITTED",
}
OPEN = {"RECEIVED", "CONTACTED", "SCREENING", "DECIDED"}


def request(step: str, referral: str, decision: str = "") -> tuple[str, Any]:
    """`decision` is the one that stands."""
    named = {"request_id": str(uuid4()), "referral_id": referral}
    match step:
        case "screen":
            return "stepway.intake.v1.AssessmentService/RecordAssessment", phq_9(referral, [0] * 9)
        case "decide" | "decide on another level" | "decide again":
            level = "INTENSIVE_OUTPATIENT" if step == "decide" else "RESIDENTIAL"
            wanted = level_of_care_pb2.LevelOfCare.Value(f"LEVEL_OF_CARE_{level}")
            replaces = {"replaces_decision_id": decision} if step == "decide again" else {}
            message = a_decision(referral, level=wanted, **replaces)
            return "stepway.intake.v1.LevelOfCareService/DecideLevelOfCare", message
        case "admit":
            return "stepway.intake.v1.AdmissionService/AdmitPatient", an_admission(referral)
        case "decline" | "lose":
            outcome = "DECLINED" if step == "decline" else "UNREACHABLE"
            closing = CloseReferralRequest(**named, outcome=f"REFERRAL_STATUS_{outcome}", reason="as told")
            return f"{REFERRALS}/CloseReferral", closing
        case "assign":
            return f"{REFERRALS}/AssignReferral", AssignReferralRequest(**named, owner="staff-2041")
        case _:
            return f"{REFERRALS}/RecordContact", RecordContactRequest(**named, reached=step == "reach")


class OneReferral(RuleBasedStateMachine):
    """Steps in any order, each sent twice; a plain model says what each leads to, audit and outbox what happened."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.token = network, network.token("clerk", northside=["clinician"])

    @initialize()
    def receive(self) -> None:
        answer = send(self.network, f"{REFERRALS}/ReceiveReferral", a_referral(), token=self.token)
        self.referral = ReceiveReferralResponse.FromString(answer.body).referral
        self.status, self.stood, self.missed, self.level, self.decision = "RECEIVED", "", 0, "", ""
        self.moves, self.audit = list[str](), Counter[tuple[str, str]]()

    @rule(step=st.sampled_from(list(CALLS)))
    def go(self, step: str) -> None:
        rpc, message = request(step, self.referral.id, self.decision)
        answer, repeated = (send(self.network, rpc, message, token=self.token) for _ in range(2))
        done = answer.code == "OK"
        assert (done, repeated.refusal) == (self._legal(step), answer.refusal), (self.status, step)
        assert done or answer.code == "FAILED_PRECONDITION"
        self.audit[CALLS[step], "DONE" if done else "REFUSED"] += 1
        self.audit[CALLS[step], "REPEATED" if done else "REFUSED"] += 1
        if done:
            self._went(step)
        if done and step.startswith("decide"):
            self.decision = DecideLevelOfCareResponse.FromString(answer.body).decision.id

    def _legal(self, step: str) -> bool:
        match step:
            case "screen":  # an instrument may be recorded at any time
                return True
            case "admit":
                return (self.status, self.level) == ("DECIDED", "decide")
            case "lose":
                return self.status in OPEN and self.missed > 0
            case "decline":
                return self.status in OPEN
            case "reach" | "try" | "assign":
                return self.status in OPEN | {"UNREACHABLE"}
            case _:
                return (self.status, step) in MOVES

    def _went(self, step: str) -> None:
        before = self.status
        self.missed = self.missed + 1 if step == "try" else 0 if step == "reach" else self.missed
        self.level = step if step.startswith("decide") else self.level
        if step in {"decline", "lose"}:
            self.stood, self.status = self.status, "DECLINED" if step == "decline" else "UNREACHABLE"
        elif step == "reach" and self.status == "UNREACHABLE":
            self.status = "CONTACTED" if self.stood == "RECEIVED" else self.stood
        else:
            self.status = MOVES.get((self.status, step), self.status)
        self.moves += [self.status] * (self.status != before)

    def teardown(self) -> None:
        if not hasattr(self, "referral"):
            return
        asked = GetReferralRequest(referral_id=self.referral.id)
        got = send(self.network, f"{REFERRALS}/GetReferral", asked, token=self.token)
        stands = GetReferralResponse.FromString(got.body).referral
        assert referral_pb2.ReferralStatus.Name(stands.status) == f"REFERRAL_STATUS_{self.status}"
        assert stands.HasField("due_at") is (self.status in OPEN)
        assert self._announced() == [f"REFERRAL_STATUS_{status}" for status in self.moves]
        assert self._audited() == self.audit

    def _announced(self) -> list[str]:
        """In the order of the referral's own numbers, of which none is missing."""
        rows = self.network.rows(
            "intake",
            "SELECT aggregate_seq AS n, convert_from(payload, 'UTF8')::json ->> 'status' AS status FROM outbox"
            f" WHERE aggregate_type = 'referral' AND aggregate_id = '{self.referral.id}' ORDER BY 1",
        )
        assert [row["n"] for row in rows] == list(range(1, len(rows) + 1))
        return [row["status"] for row in rows[1:]]

    def _audited(self) -> Counter[tuple[str, str]]:
        rows = self.network.rows(
            "intake",
            "SELECT split_part(action, '/', 2) AS rpc, outcome FROM audit WHERE actor = 'clerk'"
            f" AND '{self.referral.patient_id}' = ANY (people) AND action !~ '/(ReceiveReferral|Get.*)$'",
        )
        return Counter((row["rpc"], row["outcome"]) for row in rows)


def test_a_referral_goes_where_a_plain_model_says_and_each_move_is_audited_and_announced_once(network: Network) -> None:
    small = settings(max_examples=400 if SOAK else 10, stateful_step_count=15)
    run_state_machine_as_test(partial(OneReferral, network), settings=small)


async def received(network: Network, site: str = NORTHSIDE, **changes: Any) -> Any:
    answer = await network.call(f"{REFERRALS}/ReceiveReferral", a_referral(**changes), role="front_desk", site=site)
    return answer.referral


async def taken(network: Network, step: str, referral: str, site: str = NORTHSIDE) -> Any:
    rpc, message = request(step, referral)
    return await network.call(rpc, message, role="clinician", site=site)


async def test_of_two_clinicians_who_decide_at_once_one_has_decided(network: Network) -> None:
    referral = (await received(network)).id
    await taken(network, "screen", referral)
    both = ("decide", "decide on another level")
    outcomes = await asyncio.gather(*(taken(network, step, referral) for step in both), return_exceptions=True)
    refusals = [each for each in outcomes if isinstance(each, BaseException)]
    assert [(type(each), getattr(each, "reason", "")) for each in refusals] == [
        (Conflict, "LEVEL_OF_CARE_ALREADY_DECIDED")
    ]


async def test_a_referral_says_who_sent_it_and_how_long_things_took(network: Network) -> None:
    referral = await received(network, source="REFERRAL_SOURCE_COURT", sender="County court")
    assert (referral.source, referral.sender) == (referral_pb2.REFERRAL_SOURCE_COURT, "County court")
    assert referral.next_action == referral_pb2.REFERRAL_ACTION_CONTACT
    assert (referral.due_at.ToDatetime() - referral.received_at.ToDatetime()) == timedelta(hours=24)
    contacted = (await taken(network, "reach", referral.id)).referral
    waited = contacted.contacted_at.ToDatetime() - contacted.received_at.ToDatetime()
    assert contacted.time_to_first_contact.ToTimedelta() == waited > timedelta()
    for step in ("screen", "decide", "admit"):
        await taken(network, step, referral.id)
    asked = GetReferralRequest(referral_id=referral.id)
    admitted = (await network.call(f"{REFERRALS}/GetReferral", asked, role="clinician")).referral
    assert admitted.time_to_admission.ToTimedelta() > waited
    assert admitted.next_action == referral_pb2.REFERRAL_ACTION_UNSPECIFIED


async def test_a_workup_moves_the_referral_that_it_is_about(network: Network) -> None:
    at, referral = At(network, NORTHSIDE), (await received(network)).id
    workup = (await at.call("intake", "WorkupService/StartWorkup", a_workup(referral))).workup
    assert await stands(network, referral) == ("ASSESSMENT", "ASSESS")
    for part in (part for part in workup.parts if part.required):
        kind = part.WhichOneof("part")
        excused = {kind: getattr(part, kind), "reason": "EXCUSE_REASON_DECLINED"}
        request = ExcuseWorkupPartRequest(request_id=str(uuid4()), workup_id=workup.id, **excused)
        await at.call("intake", "WorkupService/ExcuseWorkupPart", request)
    completing = CompleteWorkupRequest(request_id=str(uuid4()), workup_id=workup.id)
    await at.call("intake", "WorkupService/CompleteWorkup", completing)
    assert await stands(network, referral) == ("ASSESSMENT", "DECIDE")
    await taken(network, "decide", referral)
    await at.call("intake", "WorkupService/StartWorkup", a_workup(referral))
    assert await stands(network, referral) == ("DECIDED", "ADMIT")


async def stands(network: Network, referral: str) -> tuple[str, str]:
    """Where it is, and what has to be done next."""
    asked = GetReferralRequest(referral_id=referral)
    told = (await network.call(f"{REFERRALS}/GetReferral", asked, role="clinician")).referral
    status, action = referral_pb2.ReferralStatus.Name(told.status), referral_pb2.ReferralAction.Name(told.next_action)
    return status.removeprefix("REFERRAL_STATUS_"), action.removeprefix("REFERRAL_ACTION_")


async def test_whoever_is_not_of_age_is_admitted_for_the_hours_of_their_age(network: Network) -> None:
    born = f"{datetime.now(UTC).year - 16}-01-01"
    referral = (await received(network, person={"family_name": "Vexmoor", "birth_date": born})).id
    for step in ("screen", "decide"):
        await taken(network, step, referral)
    admitting = an_admission(referral, course={"population": "COURSE_POPULATION_DUAL"})
    admitted = await network.call("stepway.intake.v1.AdmissionService/AdmitPatient", admitting, role="clinician")
    assert admitted.admission.course.weekly_hours == 6


async def test_an_owner_is_a_subject_and_nothing_else(network: Network) -> None:
    referral = (await received(network)).id
    assert (await taken(network, "assign", referral)).referral.owner == "staff-2041"
    for owner in ("", "Anna Reyes", "a" * 65):
        named = AssignReferralRequest(request_id=str(uuid4()), referral_id=referral, owner=owner)
        with pytest.raises(InvalidInput) as refused:
            await network.call(f"{REFERRALS}/AssignReferral", named, role="clinician")
        assert (refused.value.reason, refused.value.field) == ("FIELD_INVALID", "owner")


@pytest.mark.parametrize("outcome", ["RECEIVED", "ADMITTED", "REFERRED_OUT", "UNSPECIFIED"])
async def test_nobody_is_closed_as_something_else(network: Network, outcome: str) -> None:
    closing = CloseReferralRequest(
        request_id=str(uuid4()), referral_id=str(uuid4()), outcome=f"REFERRAL_STATUS_{outcome}"
    )
    with pytest.raises(InvalidInput) as refused:
        await network.call(f"{REFERRALS}/CloseReferral", closing, role="clinician")
    assert refused.value.field == "outcome"


async def test_the_times_of_a_period_are_those_of_whoever_was_referred_in_it(network: Network) -> None:
    start = datetime.now(UTC)
    referrals = [(await received(network, LAKESIDE)).id for _ in range(3)]
    for referral in referrals[:2]:
        await taken(network, "reach", referral, LAKESIDE)
    end = datetime.now(UTC) + timedelta(minutes=1)
    asked = GetIntakeTimesRequest(**{"from": to_proto(start), "until": to_proto(end)})
    told = await network.call(f"{REFERRALS}/GetIntakeTimes", asked, role="site_lead", site=LAKESIDE)
    assert (told.referrals, told.first_contact.count, told.admission.count) == (3, 2, 0)
    assert timedelta() < told.first_contact.median.ToTimedelta() <= told.first_contact.percentile_90.ToTimedelta()
    assert not told.admission.HasField("median")
    asked = GetIntakeTimesRequest(**{"from": to_proto(end), "until": to_proto(start)})
    with pytest.raises(InvalidInput) as refused:
        await network.call(f"{REFERRALS}/GetIntakeTimes", asked, role="site_lead", site=LAKESIDE)
    assert (refused.value.reason, refused.value.field) == ("PERIOD_INVALID", "until")
