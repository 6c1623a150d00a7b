"""Two records that become one: once, whatever else is written meanwhile, and followed by every table and service."""

import asyncio
import random
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from stepway.care.v1.treatment_plan_service_pb2 import GetTreatmentPlanRequest
from stepway.intake.v1.consent_pb2 import CONSENT_CATEGORY_SCHEDULE, CONSENT_FINDING_GRANTED
from stepway.intake.v1.consent_service_pb2 import CheckConsentsRequest, ListConsentsRequest
from stepway.intake.v1.person_service_pb2 import MergePeopleRequest
from stepway.intake.v1.referral_service_pb2 import GetPatientContactRequest, GetReferralRequest, ReferAgainRequest
from stepway.intake.v1.workup_service_pb2 import SaveWorkupAnswersRequest
from stepway.notifications.v1.escalation_service_pb2 import RaiseEscalationRequest
from stepway.notifications.v1.message_service_pb2 import StopMessagesRequest
from stepway.scheduling.v1.enrollment_service_pb2 import (
    EndEnrollmentRequest,
    GetEnrollmentRequest,
    ListEnrollmentsRequest,
)
from stepway_chassis.errors import Conflict, InvalidInput, NotFound
from stepway_cli.services import SERVICES
from stepway_intake.app import APP
from stepway_intake.store.people import followers
from tests.calls import service_token
from tests.cases import At, Case, a_case, a_consent, a_decision, a_workup, an_admission
from tests.conftest import SOAK
from tests.holding import is_behind, is_free, is_stopped, stopping
from tests.network import LAKESIDE, NORTHSIDE, Network, phq_9
from tests.people import PEOPLE, REFER_AGAIN, person, received
from tests.waiting import until

WORKUPS = "stepway.intake.v1.WorkupService"
ADMIT = "stepway.intake.v1.AdmissionService/AdmitPatient"
ROUNDS = 40 if SOAK else 6
NAMING_A_PATIENT = (
    "FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'patient_id' ORDER BY 1"
)


async def merged(network: Network, kept: str, gone: str) -> Any:
    request = MergePeopleRequest(request_id=str(uuid4()), patient_id=kept, merged_patient_id=gone)
    return (await network.call(f"{PEOPLE}/MergePeople", request, role="clinician")).person


async def test_of_two_merges_that_cross_one_happens_and_the_other_is_told_why(network: Network) -> None:
    for _ in range(ROUNDS):
        one, other = [(await received(network)).patient_id for _ in range(2)]
        outcomes = await asyncio.gather(
            merged(network, one, other), merged(network, other, one), return_exceptions=True
        )
        refusals = [each for each in outcomes if isinstance(each, BaseException)]
        assert [(type(each), getattr(each, "reason", "")) for each in refusals] == [
            (Conflict, "PATIENT_ALREADY_MERGED")
        ]
        (done,) = (each for each in outcomes if not isinstance(each, BaseException))
        assert {(await person(network, each)).patient_id for each in (one, other)} == {done.patient_id}
        assert merges_announced(network, one, other) == 1


async def test_of_many_merges_of_a_few_people_each_goes_once_and_nobody_goes_round_in_a_ring(network: Network) -> None:
    people = [(await received(network)).patient_id for _ in range(5)]
    pairs = [(kept, gone) for kept in people for gone in people if kept != gone]
    random.Random(7).shuffle(pairs)
    outcomes = await asyncio.gather(*(merged(network, *pair) for pair in pairs), return_exceptions=True)
    refused = {getattr(each, "reason", "") for each in outcomes if isinstance(each, BaseException)}
    assert refused <= {"PATIENT_ALREADY_MERGED", "BUSY"}
    happened = sum(not isinstance(each, BaseException) for each in outcomes)
    assert merges_announced(network, *people) == happened
    assert len({(await person(network, each)).patient_id for each in people}) == len(people) - happened


def merges_announced(network: Network, *gone: str) -> int:
    ids = ", ".join(f"'{each}'" for each in gone)
    query = f"SELECT 1 FROM outbox WHERE subject LIKE '%.intake.patient_merged' AND aggregate_id IN ({ids})"
    return len(network.rows("intake", query))


async def test_what_is_written_while_two_records_become_one_is_lost_by_neither(network: Network) -> None:
    for _ in range(ROUNDS):
        kept, gone = await received(network), await received(network)
        workup = (await network.call(f"{WORKUPS}/StartWorkup", a_workup(gone.id), role="clinician")).workup.id
        asked_about = {"workup_id": workup, "instrument": "INSTRUMENT_PHQ_9", "answers": [{"item": 9, "value": 1}]}
        in_danger = SaveWorkupAnswersRequest(request_id=str(uuid4()), **asked_about)
        calls = [
            network.call(f"{WORKUPS}/SaveWorkupAnswers", in_danger, role="clinician"),
            network.call("stepway.intake.v1.ConsentService/GrantConsent", a_consent(gone.patient_id), role="clinician"),
            network.call(
                REFER_AGAIN, ReferAgainRequest(request_id=str(uuid4()), patient_id=gone.patient_id), role="clinician"
            ),
            network.call(
                "stepway.intake.v1.AssessmentService/RecordAssessment", phq_9(gone.id, [0] * 8 + [1]), role="clinician"
            ),
            merged(network, kept.patient_id, gone.patient_id),
        ]
        random.Random(kept.id).shuffle(calls)
        await asyncio.gather(*calls)
        assert left_behind(network, "intake", gone.patient_id) == {}
        asked = ListConsentsRequest(patient_id=gone.patient_id)
        listed = await network.call("stepway.intake.v1.ConsentService/ListConsents", asked, role="clinician")
        assert [each.patient_id for each in listed.consents] == [kept.patient_id]


async def test_two_who_are_both_in_the_programme_become_one_once_one_of_them_has_left(network: Network) -> None:
    at, referrals = At(network, NORTHSIDE), await two_who_may_be_admitted(network)
    admissions = [
        (await at.call("intake", "AdmissionService/AdmitPatient", an_admission(referral.id))).admission.id
        for referral in referrals
    ]
    kept, gone = (referral.patient_id for referral in referrals)
    with pytest.raises(Conflict) as refused:
        await merged(network, kept, gone)
    assert refused.value.reason == "PATIENT_ADMITTED_TWICE"
    request = ListEnrollmentsRequest()
    enrollment = await at.listed("scheduling", "EnrollmentService/ListEnrollments", request, gone)
    ending = EndEnrollmentRequest(request_id=str(uuid4()), enrollment_id=enrollment)
    await at.call("scheduling", "EnrollmentService/EndEnrollment", ending)

    async def over() -> bool:
        rows = network.rows("intake", f"SELECT status FROM admission WHERE id = '{admissions[1]}'")
        return rows == [{"status": "ended"}]

    await until(over)
    await merged(network, kept, gone)
    again = ReferAgainRequest(request_id=str(uuid4()), patient_id=gone)
    third = (await network.call(REFER_AGAIN, again, role="front_desk")).referral.id
    await at.call("intake", "AssessmentService/RecordAssessment", phq_9(third, [0] * 9))
    await at.call("intake", "LevelOfCareService/DecideLevelOfCare", a_decision(third))
    with pytest.raises(Conflict) as refused:
        await at.call("intake", "AdmissionService/AdmitPatient", an_admission(third))
    assert refused.value.reason == "PATIENT_ALREADY_ADMITTED"


async def two_who_may_be_admitted(network: Network) -> tuple[Any, Any]:
    at = At(network, NORTHSIDE)
    referrals = [await received(network) for _ in range(2)]
    for referral in referrals:
        await at.call("intake", "AssessmentService/RecordAssessment", phq_9(referral.id, [0] * 9))
        await at.call("intake", "LevelOfCareService/DecideLevelOfCare", a_decision(referral.id))
    return referrals[0], referrals[1]


async def admitted(network: Network, referral: str) -> Any:
    return await network.call(ADMIT, an_admission(referral), role="clinician")


async def test_of_two_who_are_admitted_while_their_records_become_one_nobody_is_admitted_twice(
    network: Network,
) -> None:
    for _ in range(ROUNDS):
        kept, gone = await two_who_may_be_admitted(network)
        calls = [
            admitted(network, kept.id),
            admitted(network, gone.id),
            merged(network, kept.patient_id, gone.patient_id),
        ]
        random.Random(kept.id).shuffle(calls)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        refusals = [(type(each), getattr(each, "reason", "")) for each in outcomes if isinstance(each, BaseException)]
        made = network.rows("intake", f"SELECT 1 FROM admission WHERE referral_id IN ('{kept.id}', '{gone.id}')")
        if merges_announced(network, gone.patient_id):
            assert (len(made), refusals) == (1, [(Conflict, "PATIENT_ALREADY_ADMITTED")])
            assert left_behind(network, "intake", gone.patient_id) == {}
        else:
            assert (len(made), refusals) == (2, [(Conflict, "PATIENT_ADMITTED_TWICE")])


async def test_whoever_is_admitted_in_the_middle_of_a_merge_is_admitted_as_who_they_have_become(
    network: Network,
) -> None:
    """What is asked for waits for the merge with nothing in its hands that the merge will want."""
    kept, gone = await two_who_may_be_admitted(network)
    async with stopping(network, "patient", f"new.merged_into = '{kept.patient_id}'", event="UPDATE"):
        merging = asyncio.create_task(merged(network, kept.patient_id, gone.patient_id))
        await until(lambda: is_stopped(network))
        admitting = asyncio.create_task(admitted(network, gone.id))
        await until(lambda: is_behind(network))
        assert is_free(network, "referral", gone.id)
    await merging
    assert (await admitting).admission.patient_id == kept.patient_id


def left_behind(network: Network, service: str, patient: str) -> dict[str, int]:
    """How many rows of each table still name this patient."""
    tables = [row["table_name"] for row in network.rows(service, f"SELECT table_name {NAMING_A_PATIENT}")]
    counts = {
        table: len(network.rows(service, f"SELECT 1 FROM {table} WHERE patient_id = '{patient}'")) for table in tables
    }
    return {table: count for table, count in counts.items() if count}


def test_every_table_that_names_a_patient_follows_them_and_may_be_written(network: Network) -> None:
    assert APP.name == "intake"  # every store is imported with it
    query = (
        "SELECT table_name, has_column_privilege('intake_app', table_name, 'patient_id', 'UPDATE') AS may"
        f" {NAMING_A_PATIENT}"
    )
    rights = {row["table_name"]: row["may"] for row in network.rows("intake", query)}
    assert rights == {table.name: True for table in followers()} | {"person_key": False}


async def test_every_service_follows_a_merge_and_finds_the_person_by_either_id(network: Network) -> None:
    case = await a_case(network)
    await merged(network, case.namesake, case.patient)
    await until(partial(_nothing_left, network, case.patient))
    await _speaks_of_one_person(network, case)
    assert left_behind(network, "notifications", case.patient) == {}


async def _nothing_left(network: Network, patient: str) -> bool:
    return not any(left_behind(network, service, patient) for service in SERVICES)


async def _speaks_of_one_person(network: Network, case: Case) -> None:
    old, new = case.patient, case.namesake
    for subject in (old, new):  # a token that was given before the merge, and one of after it
        own = network.holding(network.token(subject, "patient", northside=["patient"]))
        records = (
            ("stepway.intake.v1.ReferralService/GetReferral", GetReferralRequest(referral_id=case.referral)),
            (
                "stepway.scheduling.v1.EnrollmentService/GetEnrollment",
                GetEnrollmentRequest(enrollment_id=case.enrollment),
            ),
            (
                "stepway.care.v1.TreatmentPlanService/GetTreatmentPlan",
                GetTreatmentPlanRequest(treatment_plan_id=case.treatment_plan),
            ),
        )
        for rpc, request in records:
            answer = await own.call(rpc, request, site=NORTHSIDE)
            assert next(value for _, value in answer.ListFields()).patient_id == new
        question = {
            "patient_id": subject,
            "family_member_id": case.family_member,
            "category": CONSENT_CATEGORY_SCHEDULE,
        }
        family = network.holding(service_token(network, "family"))
        asked = CheckConsentsRequest(questions=[question])
        checked = await family.call("stepway.intake.v1.ConsentService/CheckConsents", asked, site=NORTHSIDE)
        assert checked.answers[0].finding == CONSENT_FINDING_GRANTED
        notifications = network.holding(service_token(network, "notifications"))
        contact = GetPatientContactRequest(patient_id=subject)
        reached = await notifications.call(
            "stepway.intake.v1.ReferralService/GetPatientContact", contact, site=NORTHSIDE
        )
        assert len(reached.contact_points) == 2
    intake = network.holding(service_token(network, "intake"))
    flagged = RaiseEscalationRequest(
        request_id=str(uuid4()), risk_flag_id=str(uuid4()), patient_id=old, referral_id=case.referral
    )
    raised = await intake.call("stepway.notifications.v1.EscalationService/RaiseEscalation", flagged, site=NORTHSIDE)
    assert raised.escalation.patient_id == new
    stop = StopMessagesRequest(request_id=str(uuid4()), patient_id=old)
    await network.call("stepway.notifications.v1.MessageService/StopMessages", stop, role="front_desk")
    stopped = network.rows(
        "notifications", f"SELECT id FROM patient WHERE id IN ('{old}', '{new}') AND stopped_at > '-infinity'"
    )
    assert stopped == [{"id": new}]


async def test_a_merge_is_refused_by_name_when_there_is_no_such_record_or_only_one(network: Network) -> None:
    here, there = await received(network), await received(network, LAKESIDE)
    for gone, refusal, reason in (
        (here.patient_id, InvalidInput, "SAME_PATIENT"),
        (there.patient_id, NotFound, "PATIENT_NOT_FOUND"),
        (str(uuid4()), NotFound, "PATIENT_NOT_FOUND"),
    ):
        with pytest.raises(refusal) as refused:
            await merged(network, here.patient_id, gone)
        assert refused.value.reason == reason
