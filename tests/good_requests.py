"""A good request for every RPC, about one case."""

from collections.abc import Callable
from uuid import uuid4

from google.protobuf.message import Message

from stepway.care.v1 import treatment_plan_service_pb2 as plans
from stepway.family.v1 import family_group_service_pb2 as groups
from stepway.family.v1 import invitation_service_pb2 as invitations
from stepway.intake.v1 import admission_service_pb2 as admissions
from stepway.intake.v1 import consent_service_pb2 as consents
from stepway.intake.v1 import level_of_care_service_pb2 as levels_of_care
from stepway.intake.v1.assessment_service_pb2 import GetAssessmentRequest
from stepway.intake.v1.consent_pb2 import CONSENT_CATEGORY_SCHEDULE
from stepway.intake.v1.import_service_pb2 import FindImportedRequest
from stepway.intake.v1.referral_service_pb2 import GetPatientContactRequest, GetReferralRequest, ListReferralsRequest
from stepway.intake.v1.risk_service_pb2 import ListRiskFlagsRequest
from stepway.notifications.v1 import escalation_service_pb2 as escalations
from stepway.notifications.v1.message_service_pb2 import ListMessagesRequest, StopMessagesRequest
from stepway.scheduling.v1 import enrollment_service_pb2 as enrollments
from stepway.scheduling.v1 import track_service_pb2 as tracks
from tests.cases import Case, a_consent, a_decision, a_family_group, a_track, an_admission
from tests.network import a_referral, phq_9

RECEIVE = "stepway.intake.v1.ReferralService/ReceiveReferral"
LIST_REFERRALS = "stepway.intake.v1.ReferralService/ListReferrals"
ACKNOWLEDGE = "stepway.notifications.v1.EscalationService/AcknowledgeEscalation"
STOP = "stepway.notifications.v1.MessageService/StopMessages"


def an_id() -> str:
    return str(uuid4())


REQUESTS: dict[str, Callable[[Case], Message]] = {
    RECEIVE: lambda case: a_referral(),
    "stepway.intake.v1.ReferralService/GetReferral": lambda case: GetReferralRequest(referral_id=case.referral),
    LIST_REFERRALS: lambda case: ListReferralsRequest(page_size=100),
    "stepway.intake.v1.ReferralService/GetPatientContact": lambda case: GetPatientContactRequest(
        patient_id=case.patient
    ),
    "stepway.intake.v1.AssessmentService/RecordAssessment": lambda case: phq_9(case.referral, [0] * 9),
    "stepway.intake.v1.AssessmentService/GetAssessment": lambda case: GetAssessmentRequest(
        assessment_id=case.assessment
    ),
    "stepway.intake.v1.RiskService/ListRiskFlags": lambda case: ListRiskFlagsRequest(page_size=100),
    "stepway.intake.v1.LevelOfCareService/DecideLevelOfCare": lambda case: a_decision(case.referral),
    "stepway.intake.v1.LevelOfCareService/GetLevelOfCareDecision": lambda case: (
        levels_of_care.GetLevelOfCareDecisionRequest(decision_id=case.decision)
    ),
    "stepway.intake.v1.ConsentService/GrantConsent": lambda case: a_consent(case.patient),
    "stepway.intake.v1.ConsentService/RevokeConsent": lambda case: consents.RevokeConsentRequest(
        request_id=an_id(), consent_id=case.spare_consent
    ),
    "stepway.intake.v1.ConsentService/GetConsent": lambda case: consents.GetConsentRequest(consent_id=case.consent),
    "stepway.intake.v1.ConsentService/ListConsents": lambda case: consents.ListConsentsRequest(patient_id=case.patient),
    "stepway.intake.v1.ConsentService/CheckConsents": lambda case: consents.CheckConsentsRequest(
        questions=[
            {
                "patient_id": case.patient,
                "family_member_id": case.family_member,
                "category": CONSENT_CATEGORY_SCHEDULE,
            }
        ]
    ),
    "stepway.intake.v1.ConsentService/GetFamilyMemberContact": lambda case: consents.GetFamilyMemberContactRequest(
        family_member_id=case.family_member, category=CONSENT_CATEGORY_SCHEDULE
    ),
    "stepway.intake.v1.AdmissionService/AdmitPatient": lambda case: an_admission(case.referral),
    "stepway.intake.v1.AdmissionService/GetAdmission": lambda case: admissions.GetAdmissionRequest(
        admission_id=case.admission
    ),
    "stepway.intake.v1.ImportService/FindImported": lambda case: FindImportedRequest(import_ids=[an_id()]),
    "stepway.scheduling.v1.TrackService/CreateTrack": lambda case: a_track(),
    "stepway.scheduling.v1.TrackService/ListTracks": lambda case: tracks.ListTracksRequest(page_size=100),
    "stepway.scheduling.v1.EnrollmentService/GetEnrollment": lambda case: enrollments.GetEnrollmentRequest(
        enrollment_id=case.enrollment
    ),
    "stepway.scheduling.v1.EnrollmentService/ListEnrollments": lambda case: enrollments.ListEnrollmentsRequest(
        page_size=100
    ),
    "stepway.scheduling.v1.EnrollmentService/EndEnrollment": lambda case: enrollments.EndEnrollmentRequest(
        request_id=an_id(), enrollment_id=case.enrollment
    ),
    "stepway.care.v1.TreatmentPlanService/GetTreatmentPlan": lambda case: plans.GetTreatmentPlanRequest(
        treatment_plan_id=case.treatment_plan
    ),
    "stepway.care.v1.TreatmentPlanService/ListTreatmentPlans": lambda case: plans.ListTreatmentPlansRequest(
        page_size=100
    ),
    "stepway.family.v1.FamilyGroupService/PlanFamilyGroup": lambda case: a_family_group(),
    "stepway.family.v1.FamilyGroupService/ListFamilyGroups": lambda case: groups.ListFamilyGroupsRequest(page_size=100),
    "stepway.family.v1.InvitationService/GetInvitation": lambda case: invitations.GetInvitationRequest(
        invitation_id=case.invitation
    ),
    "stepway.family.v1.InvitationService/ListInvitations": lambda case: invitations.ListInvitationsRequest(
        page_size=100
    ),
    "stepway.notifications.v1.MessageService/ListMessages": lambda case: ListMessagesRequest(page_size=100),
    STOP: lambda case: StopMessagesRequest(request_id=an_id(), patient_id=case.patient),
    "stepway.notifications.v1.EscalationService/RaiseEscalation": lambda case: escalations.RaiseEscalationRequest(
        request_id=an_id(), risk_flag_id=case.risk_flag, patient_id=case.patient, referral_id=case.referral
    ),
    "stepway.notifications.v1.EscalationService/ListEscalations": lambda case: escalations.ListEscalationsRequest(
        page_size=100
    ),
    ACKNOWLEDGE: lambda case: escalations.AcknowledgeEscalationRequest(
        request_id=an_id(), escalation_id=case.escalation
    ),
}
