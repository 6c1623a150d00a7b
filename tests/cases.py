"""One person's whole way through the five services: a record of every kind to ask for."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from stepway.care.v1.treatment_plan_service_pb2 import ListTreatmentPlansRequest
from stepway.family.v1.family_group_service_pb2 import PlanFamilyGroupRequest
from stepway.family.v1.invitation_service_pb2 import ListInvitationsRequest
from stepway.intake.v1.admission_service_pb2 import AdmitPatientRequest, GetAdmissionRequest
from stepway.intake.v1.assessment_pb2 import INSTRUMENT_SCOFF
from stepway.intake.v1.consent_pb2 import CONSENT_CATEGORY_PLAN, CONSENT_CATEGORY_SCHEDULE
from stepway.intake.v1.consent_service_pb2 import GrantConsentRequest
from stepway.intake.v1.hand_off_pb2 import ATTEMPT_OUTCOME_NO_ANSWER
from stepway.intake.v1.hand_off_service_pb2 import RecordHandOffAttemptRequest, StartHandOffRequest
from stepway.intake.v1.instrument_service_pb2 import InstallContentPackRequest
from stepway.intake.v1.level_of_care_pb2 import LEVEL_OF_CARE_INTENSIVE_OUTPATIENT, LEVEL_OF_CARE_RESIDENTIAL
from stepway.intake.v1.level_of_care_service_pb2 import DecideLevelOfCareRequest, SuggestLevelOfCareRequest
from stepway.intake.v1.transfer_service_pb2 import ReceiveTransferRequest
from stepway.intake.v1.workup_pb2 import BATTERY_DUAL
from stepway.intake.v1.workup_service_pb2 import StartWorkupRequest
from stepway.notifications.v1.escalation_service_pb2 import ListEscalationsRequest
from stepway.notifications.v1.message_service_pb2 import ListMessagesRequest
from stepway.scheduling.v1.enrollment_service_pb2 import ListEnrollmentsRequest
from stepway.scheduling.v1.track_pb2 import DAYPART_MORNING
from stepway.scheduling.v1.track_service_pb2 import CreateTrackRequest
from stepway_chassis.errors import TimedOut, Unavailable
from stepway_chassis.times import to_proto
from tests.calls import service_token
from tests.network import NORTHSIDE, Network, a_referral, phq_9
from tests.waiting import until

IN_DANGER: list[int | None] = [0, 0, 0, 0, 0, 0, 0, 0, 1]
ON_CALL = {"northside": "staff-2041", "lakeside": "staff-3077"}
BACKUP = {"northside": "staff-2088", "lakeside": "staff-3105"}
AN_UNCLE = {
    "given_name": "Corwin",
    "family_name": "Vexmoor",
    "relationship": "UNCLE",
    "contact_points": [{"phone": "+12125550143"}],
}


A_PHYSICIAN = {"name": "Dr Tamsin Orrell", "kind": "PARTY_KIND_HEALTH_PROVIDER"}
RECIPIENTS = {"family_member", "family_member_id", "party", "party_id", "recipient_class", "recipient_site"}


@dataclass(frozen=True)
class Case:
    """The ids of one person's records at one site; of the two consents nothing depends on `spare_consent`.

    `namesake` is somebody else of whom everything is said that is said of the patient; `hand_off` is of a third person,
    who was referred on.
    `transfer` is of somebody else, whom a site that does not answer offers to this one.
    """

    site: str
    patient: str
    namesake: str
    referral: str
    assessment: str
    workup: str
    risk_flag: str
    escalation: str
    message: str
    suggestion: str
    decision: str
    hand_off: str
    family_member: str
    consent: str
    spare_consent: str
    admission: str
    transfer: str
    track: str
    enrollment: str
    treatment_plan: str
    family_group: str
    invitation: str


async def a_case(network: Network, site: str = NORTHSIDE) -> Case:
    """Somebody who was referred, found in danger and paged about, admitted, seated, and whose family is invited.

    Nobody has taken the page.
    """
    at = At(network, site)
    track = (await at.call("scheduling", "TrackService/CreateTrack", a_track(), role="site_lead")).track.id
    group = (await at.call("family", "FamilyGroupService/PlanFamilyGroup", a_family_group())).family_group.id
    await at.call("intake", "InstrumentService/InstallContentPack", a_content_pack(), role="site_lead")
    referral = (await at.call("intake", "ReferralService/ReceiveReferral", a_referral(import_id=str(uuid4())))).referral
    namesake = (await at.call("intake", "ReferralService/ReceiveReferral", a_referral())).referral
    recorded = await at.call("intake", "AssessmentService/RecordAssessment", phq_9(referral.id, IN_DANGER))
    workup = (await at.call("intake", "WorkupService/StartWorkup", a_workup(referral.id))).workup.id
    suggested = await at.call("intake", "LevelOfCareService/SuggestLevelOfCare", a_suggestion(referral.id))
    decided = await at.call("intake", "LevelOfCareService/DecideLevelOfCare", a_decision(referral.id))
    consent = (await at.call("intake", "ConsentService/GrantConsent", a_consent(referral.patient_id))).consent
    spare = a_consent(referral.patient_id, party=A_PHYSICIAN, categories=[CONSENT_CATEGORY_PLAN])
    spare_consent = (await at.call("intake", "ConsentService/GrantConsent", spare)).consent.id
    admission = (await at.call("intake", "AdmissionService/AdmitPatient", an_admission(referral.id))).admission.id
    transfer = await an_offered_transfer(network, site)
    patient = referral.patient_id
    enrollment = await at.listed("scheduling", "EnrollmentService/ListEnrollments", ListEnrollmentsRequest(), patient)
    await at.enrolled(admission)
    return Case(
        site=site,
        patient=patient,
        namesake=namesake.patient_id,
        referral=referral.id,
        assessment=recorded.assessment.id,
        workup=workup,
        risk_flag=recorded.risk_flag_id,
        escalation=await at.listed(
            "notifications", "EscalationService/ListEscalations", ListEscalationsRequest(), patient
        ),
        message=await at.listed("notifications", "MessageService/ListMessages", ListMessagesRequest(), patient),
        suggestion=suggested.suggestion.id,
        decision=decided.decision.id,
        hand_off=await a_hand_off_of_somebody(at),
        family_member=consent.family_member_id,
        consent=consent.id,
        spare_consent=spare_consent,
        admission=admission,
        transfer=transfer,
        track=track,
        enrollment=enrollment,
        treatment_plan=await at.listed(
            "care", "TreatmentPlanService/ListTreatmentPlans", ListTreatmentPlansRequest(), patient
        ),
        family_group=group,
        invitation=await at.listed("family", "InvitationService/ListInvitations", ListInvitationsRequest(), patient),
    )


def in_days(days: int) -> Timestamp | None:
    """From now, in whole seconds: whenever a request is made its bytes are as many."""
    return to_proto(datetime.now(UTC).replace(microsecond=0) + timedelta(days=days))


async def an_offered_transfer(network: Network, site: str) -> str:
    request = ReceiveTransferRequest(
        request_id=str(uuid4()),
        transfer_id=str(uuid4()),
        sending_site="upriver",
        offered_at=in_days(0),
        course={},
        availability=[DAYPART_MORNING],
    )
    intake = network.holding(service_token(network, "intake"))
    answer = await intake.call("stepway.intake.v1.TransferService/ReceiveTransfer", request, site=site)
    return str(answer.transfer.id)


@dataclass(frozen=True)
class At:
    """One site, as its lead and its clinicians call the services."""

    network: Network
    site: str

    async def call(self, service: str, rpc: str, request: Message, *, role: str = "clinician") -> Any:
        return await self.network.call(f"stepway.{service}.v1.{rpc}", request, role=role, site=self.site)

    async def listed(self, service: str, rpc: str, request: Message, patient: str) -> str:
        """The id of the newest record of this patient, once there is one; who is told to ask again does so."""

        async def look() -> str | None:
            try:
                answer = await self.call(service, rpc, request, role="site_lead")
            except (Unavailable, TimedOut):
                return None
            records = (each for _, value in answer.ListFields() if not isinstance(value, str) for each in value)
            return next((each.id for each in records if each.patient_id == patient), None)

        return await until(look)

    async def enrolled(self, admission: str) -> None:
        """Intake has heard of the seat."""
        request = GetAdmissionRequest(admission_id=admission)

        async def look() -> bool:
            answer = await self.call("intake", "AdmissionService/GetAdmission", request)
            return bool(answer.admission.enrollment_id)

        await until(look)


def a_track(**changes: Any) -> CreateTrackRequest:
    given = {"request_id": str(uuid4()), "name": "Mornings", "daypart": DAYPART_MORNING, "seats": 100}
    return CreateTrackRequest(**{**given, **changes})


def a_family_group(**changes: Any) -> PlanFamilyGroupRequest:
    given = {"request_id": str(uuid4()), "starts_at": in_days(1), "minutes": 90, "seats": 100}
    return PlanFamilyGroupRequest(**{**given, **changes})


def a_workup(referral: str, **changes: Any) -> StartWorkupRequest:
    given = {"request_id": str(uuid4()), "referral_id": referral, "battery": BATTERY_DUAL}
    return StartWorkupRequest(**{**given, **changes})


def a_content_pack(**changes: Any) -> InstallContentPackRequest:
    """Words of our own for an instrument whose wording is not ours to ship."""
    wording = [{"item": item, "text": f"Question {item}?", "answers": ["No", "Yes"]} for item in range(1, 6)]
    given = {"request_id": str(uuid4()), "instrument": INSTRUMENT_SCOFF, "language": "en", "wording": wording}
    return InstallContentPackRequest(**{**given, "permission": "letter 17/2026", **changes})


def a_decision(referral: str, **changes: Any) -> DecideLevelOfCareRequest:
    given = {"request_id": str(uuid4()), "referral_id": referral, "rationale": "discussed with the team"}
    return DecideLevelOfCareRequest(**{**given, "level": LEVEL_OF_CARE_INTENSIVE_OUTPATIENT, **changes})


def a_suggestion(referral: str, **facts: Any) -> SuggestLevelOfCareRequest:
    """Asked about somebody of whom it is known that they need nine hours a week."""
    return SuggestLevelOfCareRequest(request_id=str(uuid4()), referral_id=referral, facts={"hours_needed": 9, **facts})


def a_hand_off(referral: str, **changes: Any) -> StartHandOffRequest:
    given: dict[str, Any] = {
        "request_id": str(uuid4()),
        "referral_id": referral,
        "provider": {"name": "Sable Ridge", "phone": "+12125550199"},
        "due_at": in_days(2),
    }
    return StartHandOffRequest(**{**given, **changes})


def an_attempt(hand_off: str, **changes: Any) -> RecordHandOffAttemptRequest:
    given = {"request_id": str(uuid4()), "hand_off_id": hand_off, "outcome": ATTEMPT_OUTCOME_NO_ANSWER}
    return RecordHandOffAttemptRequest(**{**given, **changes})


async def a_decided_referral(at: At, **changes: Any) -> str:
    """Of somebody who needs more than is offered here, and whom nobody can write to."""
    received = await at.call(
        "intake", "ReferralService/ReceiveReferral", a_referral(person={"family_name": "Ovelmoor"})
    )
    referral = str(received.referral.id)
    await at.call("intake", "AssessmentService/RecordAssessment", phq_9(referral, [0] * 9))
    decision = a_decision(referral, **{"level": LEVEL_OF_CARE_RESIDENTIAL, **changes})
    await at.call("intake", "LevelOfCareService/DecideLevelOfCare", decision)
    return referral


async def a_hand_off_of_somebody(at: At) -> str:
    """Open, with one attempt."""
    started = await at.call("intake", "HandOffService/StartHandOff", a_hand_off(await a_decided_referral(at)))
    await at.call("intake", "HandOffService/RecordHandOffAttempt", an_attempt(started.hand_off.id))
    return str(started.hand_off.id)


def a_consent(patient: str, **changes: Any) -> GrantConsentRequest:
    """To an uncle, about the schedule, for half a year."""
    given: dict[str, Any] = {
        "request_id": str(uuid4()),
        "patient_id": patient,
        "categories": [CONSENT_CATEGORY_SCHEDULE],
        "purpose": "to come to the family groups",
        "signed_at": in_days(0),
        "expires_at": in_days(180),
    }
    recipient = {} if changes.keys() & RECIPIENTS else {"family_member": AN_UNCLE}
    return GrantConsentRequest(**{**given, **recipient, **changes})


def an_admission(referral: str, **changes: Any) -> AdmitPatientRequest:
    given = {"request_id": str(uuid4()), "referral_id": referral, "availability": [DAYPART_MORNING]}
    return AdmitPatientRequest(**{**given, **changes})
