"""A good request for every RPC, about one case."""

from collections.abc import Callable
from uuid import uuid4

from google.protobuf.message import Message

from stepway.care.v1 import treatment_plan_service_pb2 as plans
from stepway.family.v1 import family_group_service_pb2 as groups
from stepway.family.v1 import invitation_service_pb2 as invitations
from stepway.intake.v1 import admission_service_pb2 as admissions
from stepway.intake.v1 import consent_service_pb2 as consents
from stepway.intake.v1 import hand_off_service_pb2 as hand_offs
from stepway.intake.v1 import level_of_care_service_pb2 as levels_of_care
from stepway.intake.v1 import person_service_pb2 as people
from stepway.intake.v1 import referral_service_pb2 as referrals
from stepway.intake.v1 import transfer_service_pb2 as transfers
from stepway.intake.v1 import workup_service_pb2 as workups
from stepway.intake.v1.assessment_pb2 import INSTRUMENT_GAD_7, INSTRUMENT_PHQ_9
from stepway.intake.v1.assessment_service_pb2 import (
    GetAssessmentRequest,
    GetScoreRequest,
    RecordCodedAssessmentRequest,
)
from stepway.intake.v1.consent_pb2 import CONSENT_CATEGORY_SCHEDULE
from stepway.intake.v1.hand_off_pb2 import HAND_OFF_END_OTHER
from stepway.intake.v1.import_service_pb2 import FindImportedRequest
from stepway.intake.v1.instrument_service_pb2 import GetInstrumentRequest
from stepway.intake.v1.person_pb2 import PERSON_FACT_NAME
from stepway.intake.v1.referral_pb2 import REFERRAL_STATUS_DECLINED
from stepway.intake.v1.referral_service_pb2 import GetPatientContactRequest, GetReferralRequest, ListReferralsRequest
from stepway.intake.v1.risk_flag_pb2 import RISK_DISPOSITION_SAFETY_PLAN
from stepway.intake.v1.risk_service_pb2 import (
    AcknowledgeRiskFlagRequest,
    ListRiskFlagsRequest,
    RecordDispositionRequest,
)
from stepway.intake.v1.workup_pb2 import EXCUSE_REASON_LATER
from stepway.notifications.v1 import escalation_service_pb2 as escalations
from stepway.notifications.v1.message_service_pb2 import ListMessagesRequest, StopMessagesRequest
from stepway.scheduling.v1 import enrollment_service_pb2 as enrollments
from stepway.scheduling.v1 import track_service_pb2 as tracks
from stepway.scheduling.v1.track_pb2 import DAYPART_MORNING
from tests.cases import (
    Case,
    a_consent,
    a_content_pack,
    a_decision,
    a_family_group,
    a_hand_off,
    a_suggestion,
    a_track,
    a_workup,
    an_admission,
    an_attempt,
    in_days,
)
from tests.network import LAKESIDE, a_referral, phq_9

RECEIVE = "stepway.intake.v1.ReferralService/ReceiveReferral"
LIST_REFERRALS = "stepway.intake.v1.ReferralService/ListReferrals"
ACKNOWLEDGE = "stepway.notifications.v1.EscalationService/AcknowledgeEscalation"
TRANSFERS = "stepway.intake.v1.TransferService"
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
    "stepway.intake.v1.ReferralService/ReferAgain": lambda case: referrals.ReferAgainRequest(
        request_id=an_id(), patient_id=case.patient
    ),
    "stepway.intake.v1.ReferralService/RecordContact": lambda case: referrals.RecordContactRequest(
        request_id=an_id(), referral_id=case.referral, reached=True
    ),
    "stepway.intake.v1.ReferralService/AssignReferral": lambda case: referrals.AssignReferralRequest(
        request_id=an_id(), referral_id=case.referral, owner="staff-2041"
    ),
    "stepway.intake.v1.ReferralService/CloseReferral": lambda case: referrals.CloseReferralRequest(
        request_id=an_id(), referral_id=case.referral, outcome=REFERRAL_STATUS_DECLINED
    ),
    "stepway.intake.v1.ReferralService/ListWork": lambda case: referrals.ListWorkRequest(page_size=100),
    "stepway.intake.v1.ReferralService/GetIntakeTimes": lambda case: referrals.GetIntakeTimesRequest(
        **{"from": {"seconds": 1_700_000_000}, "until": {"seconds": 1_730_000_000}}
    ),
    "stepway.intake.v1.PersonService/GetPerson": lambda case: people.GetPersonRequest(patient_id=case.patient),
    "stepway.intake.v1.PersonService/FindPeople": lambda case: people.FindPeopleRequest(
        name="Vexmoor Quillan", page_size=100
    ),
    "stepway.intake.v1.PersonService/FindDuplicates": lambda case: people.FindDuplicatesRequest(
        patient_id=case.patient
    ),
    "stepway.intake.v1.PersonService/UpdatePerson": lambda case: people.UpdatePersonRequest(
        request_id=an_id(),
        patient_id=case.patient,
        person={"family_name": "Vexmoor"},
        facts=[PERSON_FACT_NAME],
        etag="as it was once",
    ),
    "stepway.intake.v1.PersonService/MergePeople": lambda case: people.MergePeopleRequest(
        request_id=an_id(), patient_id=case.patient, merged_patient_id=case.namesake
    ),
    "stepway.intake.v1.AssessmentService/RecordAssessment": lambda case: phq_9(case.referral, [0] * 9),
    "stepway.intake.v1.AssessmentService/RecordCodedAssessment": lambda case: RecordCodedAssessmentRequest(
        request_id=an_id(), referral_id=case.referral, coded_answers=[{"loinc": "69725-0", "answer_code": "LA6569-3"}]
    ),
    "stepway.intake.v1.AssessmentService/GetAssessment": lambda case: GetAssessmentRequest(
        assessment_id=case.assessment
    ),
    "stepway.intake.v1.AssessmentService/GetScore": lambda case: GetScoreRequest(assessment_id=case.assessment),
    "stepway.intake.v1.WorkupService/StartWorkup": lambda case: a_workup(case.referral),
    "stepway.intake.v1.WorkupService/SaveWorkupAnswers": lambda case: workups.SaveWorkupAnswersRequest(
        request_id=an_id(), workup_id=case.workup, instrument=INSTRUMENT_GAD_7, answers=[{"item": 1, "value": 2}]
    ),
    "stepway.intake.v1.WorkupService/SaveWorkupSection": lambda case: workups.SaveWorkupSectionRequest(
        request_id=an_id(), workup_id=case.workup, section={"strengths": {"strengths": ["patient"]}}
    ),
    "stepway.intake.v1.WorkupService/ExcuseWorkupPart": lambda case: workups.ExcuseWorkupPartRequest(
        request_id=an_id(), workup_id=case.workup, instrument=INSTRUMENT_PHQ_9, reason=EXCUSE_REASON_LATER
    ),
    "stepway.intake.v1.WorkupService/CompleteWorkup": lambda case: workups.CompleteWorkupRequest(
        request_id=an_id(), workup_id=case.workup
    ),
    "stepway.intake.v1.WorkupService/GetWorkup": lambda case: workups.GetWorkupRequest(workup_id=case.workup),
    "stepway.intake.v1.WorkupService/ListWorkups": lambda case: workups.ListWorkupsRequest(page_size=100),
    "stepway.intake.v1.InstrumentService/GetInstrument": lambda case: GetInstrumentRequest(
        instrument=INSTRUMENT_PHQ_9, language="en"
    ),
    "stepway.intake.v1.InstrumentService/InstallContentPack": lambda case: a_content_pack(),
    "stepway.intake.v1.RiskService/ListRiskFlags": lambda case: ListRiskFlagsRequest(page_size=100),
    "stepway.intake.v1.RiskService/AcknowledgeRiskFlag": lambda case: AcknowledgeRiskFlagRequest(
        request_id=an_id(), risk_flag_id=case.risk_flag
    ),
    "stepway.intake.v1.RiskService/RecordDisposition": lambda case: RecordDispositionRequest(
        request_id=an_id(),
        risk_flag_id=case.risk_flag,
        disposition=RISK_DISPOSITION_SAFETY_PLAN,
        note="made a plan together",
    ),
    "stepway.intake.v1.LevelOfCareService/SuggestLevelOfCare": lambda case: a_suggestion(case.referral),
    "stepway.intake.v1.LevelOfCareService/GetLevelOfCareSuggestion": lambda case: (
        levels_of_care.GetLevelOfCareSuggestionRequest(suggestion_id=case.suggestion)
    ),
    "stepway.intake.v1.LevelOfCareService/DecideLevelOfCare": lambda case: a_decision(case.referral),
    "stepway.intake.v1.LevelOfCareService/GetLevelOfCareDecision": lambda case: (
        levels_of_care.GetLevelOfCareDecisionRequest(decision_id=case.decision)
    ),
    "stepway.intake.v1.HandOffService/StartHandOff": lambda case: a_hand_off(case.referral),
    "stepway.intake.v1.HandOffService/RecordHandOffAttempt": lambda case: an_attempt(case.hand_off),
    "stepway.intake.v1.HandOffService/ConfirmHandOff": lambda case: hand_offs.ConfirmHandOffRequest(
        request_id=an_id(), hand_off_id=case.hand_off, confirmed_with="the nurse there"
    ),
    "stepway.intake.v1.HandOffService/EndHandOff": lambda case: hand_offs.EndHandOffRequest(
        request_id=an_id(), hand_off_id=case.hand_off, end=HAND_OFF_END_OTHER, end_text="as told"
    ),
    "stepway.intake.v1.HandOffService/GetHandOff": lambda case: hand_offs.GetHandOffRequest(hand_off_id=case.hand_off),
    "stepway.intake.v1.HandOffService/ListHandOffs": lambda case: hand_offs.ListHandOffsRequest(page_size=100),
    "stepway.intake.v1.ConsentService/GrantConsent": lambda case: a_consent(case.patient),
    "stepway.intake.v1.ConsentService/RevokeConsent": lambda case: consents.RevokeConsentRequest(
        request_id=an_id(), consent_id=case.spare_consent
    ),
    "stepway.intake.v1.ConsentService/GetConsent": lambda case: consents.GetConsentRequest(consent_id=case.consent),
    "stepway.intake.v1.ConsentService/ListConsents": lambda case: consents.ListConsentsRequest(patient_id=case.patient),
    "stepway.intake.v1.ConsentService/ListEndingConsents": lambda case: consents.ListEndingConsentsRequest(
        page_size=100, ends_before=in_days(365)
    ),
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
    f"{TRANSFERS}/OfferTransfer": lambda case: transfers.OfferTransferRequest(
        request_id=an_id(), admission_id=case.admission, receiving_site=LAKESIDE
    ),
    f"{TRANSFERS}/WithdrawTransfer": lambda case: transfers.WithdrawTransferRequest(
        request_id=an_id(), transfer_id=case.transfer
    ),
    f"{TRANSFERS}/AcceptTransfer": lambda case: transfers.AcceptTransferRequest(
        request_id=an_id(), transfer_id=case.transfer
    ),
    f"{TRANSFERS}/DeclineTransfer": lambda case: transfers.DeclineTransferRequest(
        request_id=an_id(), transfer_id=case.transfer
    ),
    f"{TRANSFERS}/GetTransfer": lambda case: transfers.GetTransferRequest(transfer_id=case.transfer),
    f"{TRANSFERS}/ListTransfers": lambda case: transfers.ListTransfersRequest(page_size=100),
    f"{TRANSFERS}/ReceiveTransfer": lambda case: transfers.ReceiveTransferRequest(
        request_id=an_id(),
        transfer_id=an_id(),
        sending_site=LAKESIDE,
        offered_at=in_days(0),
        course={},
        availability=[DAYPART_MORNING],
    ),
    f"{TRANSFERS}/ReleaseTransfer": lambda case: transfers.ReleaseTransferRequest(
        request_id=an_id(), transfer_id=case.transfer, receiving_site="upriver"
    ),
    f"{TRANSFERS}/CloseTransfer": lambda case: transfers.CloseTransferRequest(
        request_id=an_id(), transfer_id=case.transfer, receiving_site="upriver"
    ),
    f"{TRANSFERS}/EndTransfer": lambda case: transfers.EndTransferRequest(
        request_id=an_id(), transfer_id=case.transfer, other_site="upriver", status="TRANSFER_STATUS_DECLINED"
    ),
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
