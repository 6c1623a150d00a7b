"""One person's whole way through the five services: a record of every kind to ask for."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from google.protobuf.message import Message

from stepway.care.v1.treatment_plan_service_pb2 import ListTreatmentPlansRequest
from stepway.family.v1.family_group_service_pb2 import PlanFamilyGroupRequest
from stepway.family.v1.invitation_service_pb2 import ListInvitationsRequest
from stepway.intake.v1.admission_service_pb2 import AdmitPatientRequest
from stepway.intake.v1.consent_pb2 import CONSENT_CATEGORY_PLAN, CONSENT_CATEGORY_SCHEDULE
from stepway.intake.v1.consent_service_pb2 import GrantConsentRequest
from stepway.intake.v1.level_of_care_pb2 import LEVEL_OF_CARE_INTENSIVE_OUTPATIENT
from stepway.intake.v1.level_of_care_service_pb2 import DecideLevelOfCareRequest
from stepway.notifications.v1.escalation_service_pb2 import ListEscalationsRequest
from stepway.notifications.v1.message_service_pb2 import ListMessagesRequest
from stepway.scheduling.v1.enrollment_service_pb2 import ListEnrollmentsRequest
from stepway.scheduling.v1.track_pb2 import DAYPART_MORNING
from stepway.scheduling.v1.track_service_pb2 import CreateTrackRequest
from stepway_chassis.times import to_proto
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


@dataclass(frozen=True)
class Case:
    """The ids of one person's records at one site; of the two consents nothing depends on `spare_consent`."""

    site: str
    patient: str
    referral: str
    assessment: str
    risk_flag: str
    escalation: str
    message: str
    decision: str
    family_member: str
    consent: str
    spare_consent: str
    admission: str
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
    referral = (await at.call("intake", "ReferralService/ReceiveReferral", a_referral(import_id=str(uuid4())))).referral
    recorded = await at.call("intake", "AssessmentService/RecordAssessment", phq_9(referral.id, IN_DANGER))
    decided = await at.call("intake", "LevelOfCareService/DecideLevelOfCare", a_decision(referral.id))
    consent = (await at.call("intake", "ConsentService/GrantConsent", a_consent(referral.patient_id))).consent
    spare = a_consent(
        referral.patient_id, family_member_id=consent.family_member_id, categories=[CONSENT_CATEGORY_PLAN]
    )
    spare_consent = (await at.call("intake", "ConsentService/GrantConsent", spare)).consent.id
    admission = (await at.call("intake", "AdmissionService/AdmitPatient", an_admission(referral.id))).admission.id
    patient = referral.patient_id
    enrollment = await at.listed("scheduling", "EnrollmentService/ListEnrollments", ListEnrollmentsRequest(), patient)
    return Case(
        site=site,
        patient=patient,
        referral=referral.id,
        assessment=recorded.assessment.id,
        risk_flag=recorded.risk_flag_id,
        escalation=await at.listed(
            "notifications", "EscalationService/ListEscalations", ListEscalationsRequest(), patient
        ),
        message=await at.listed("notifications", "MessageService/ListMessages", ListMessagesRequest(), patient),
        decision=decided.decision.id,
        family_member=consent.family_member_id,
        consent=consent.id,
        spare_consent=spare_consent,
        admission=admission,
        track=track,
        enrollment=enrollment,
        treatment_plan=await at.listed(
            "care", "TreatmentPlanService/ListTreatmentPlans", ListTreatmentPlansRequest(), patient
        ),
        family_group=group,
        invitation=await at.listed("family", "InvitationService/ListInvitations", ListInvitationsRequest(), patient),
    )


@dataclass(frozen=True)
class At:
    """One site, as its lead and its clinicians call the services."""

    network: Network
    site: str

    async def call(self, service: str, rpc: str, request: Message, *, role: str = "clinician") -> Any:
        return await self.network.call(f"stepway.{service}.v1.{rpc}", request, role=role, site=self.site)

    async def listed(self, service: str, rpc: str, request: Message, patient: str) -> str:
        """The id of the newest record of this patient, once there is one."""

        async def look() -> str | None:
            answer = await self.call(service, rpc, request, role="site_lead")
            records = (each for _, value in answer.ListFields() if not isinstance(value, str) for each in value)
            return next((each.id for each in records if each.patient_id == patient), None)

        return await until(look)


def a_track(**changes: Any) -> CreateTrackRequest:
    given = {"request_id": str(uuid4()), "name": "Mornings", "daypart": DAYPART_MORNING, "seats": 100}
    return CreateTrackRequest(**{**given, **changes})


def a_family_group(**changes: Any) -> PlanFamilyGroupRequest:
    starts_at = to_proto(datetime.now(UTC) + timedelta(days=1))
    given = {"request_id": str(uuid4()), "starts_at": starts_at, "minutes": 90, "seats": 100}
    return PlanFamilyGroupRequest(**{**given, **changes})


def a_decision(referral: str, **changes: Any) -> DecideLevelOfCareRequest:
    given = {"request_id": str(uuid4()), "referral_id": referral, "rationale": "discussed with the team"}
    return DecideLevelOfCareRequest(**{**given, "level": LEVEL_OF_CARE_INTENSIVE_OUTPATIENT, **changes})


def a_consent(patient: str, **changes: Any) -> GrantConsentRequest:
    """To an uncle, about the schedule, for half a year."""
    now = datetime.now(UTC)
    given: dict[str, Any] = {
        "request_id": str(uuid4()),
        "patient_id": patient,
        "categories": [CONSENT_CATEGORY_SCHEDULE],
        "purpose": "to come to the family groups",
        "signed_at": to_proto(now),
        "expires_at": to_proto(now + timedelta(days=180)),
    }
    recipient = {} if "family_member_id" in changes else {"family_member": AN_UNCLE}
    return GrantConsentRequest(**{**given, **recipient, **changes})


def an_admission(referral: str, **changes: Any) -> AdmitPatientRequest:
    given = {"request_id": str(uuid4()), "referral_id": referral, "availability": [DAYPART_MORNING]}
    return AdmitPatientRequest(**{**given, **changes})
