"""The gRPC services of intake: parse, load, decide, save and announce."""

import asyncio
from uuid import UUID

from google.protobuf.message import Message

from stepway.intake.v1.admission_service_pb2 import (
    AdmitPatientRequest,
    AdmitPatientResponse,
    GetAdmissionRequest,
    GetAdmissionResponse,
)
from stepway.intake.v1.assessment_service_pb2 import (
    GetAssessmentRequest,
    GetAssessmentResponse,
    RecordAssessmentRequest,
    RecordAssessmentResponse,
)
from stepway.intake.v1.consent_service_pb2 import (
    CheckConsentsRequest,
    CheckConsentsResponse,
    GetConsentRequest,
    GetConsentResponse,
    GetFamilyMemberContactRequest,
    GetFamilyMemberContactResponse,
    GrantConsentRequest,
    GrantConsentResponse,
    ListConsentsRequest,
    ListConsentsResponse,
    RevokeConsentRequest,
    RevokeConsentResponse,
)
from stepway.intake.v1.level_of_care_service_pb2 import (
    DecideLevelOfCareRequest,
    DecideLevelOfCareResponse,
    GetLevelOfCareDecisionRequest,
    GetLevelOfCareDecisionResponse,
)
from stepway.intake.v1.referral_service_pb2 import (
    GetPatientContactRequest,
    GetPatientContactResponse,
    GetReferralRequest,
    GetReferralResponse,
    ListReferralsRequest,
    ListReferralsResponse,
    ReceiveReferralRequest,
    ReceiveReferralResponse,
)
from stepway.intake.v1.risk_service_pb2 import ListRiskFlagsRequest, ListRiskFlagsResponse
from stepway_chassis import loops, outbox
from stepway_chassis.database import Database
from stepway_chassis.errors import Conflict
from stepway_chassis.ids import uuid7
from stepway_chassis.pages import page_of
from stepway_chassis.telemetry import Telemetry
from stepway_chassis.transaction import Tx
from stepway_intake import store, watchdog, wire
from stepway_intake.domain import assessments, consents, people, referrals
from stepway_intake.domain.consents import USE_WITHIN, Consent, FamilyMember, Question


class ReferralService:
    SERVICE = "stepway.intake.v1.ReferralService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ReceiveReferral(self, request: ReceiveReferralRequest, _: object) -> ReceiveReferralResponse:
        return await self._database.command(request, ReceiveReferralResponse, self._receive)

    async def _receive(self, tx: Tx, request: ReceiveReferralRequest) -> ReceiveReferralResponse:
        label = people.label_for(part2_program=tx.site.settings.get("part2_program", True))
        referral = referrals.receive(
            wire.new_referral(request, referral_id=uuid7(tx.now), patient_id=uuid7(tx.now), label=label, at=tx.now)
        )
        tx.concerns(referral.patient.id)
        await store.add_referral(tx, referral)
        await outbox.append(tx, wire.referral_received(referral), label=label)
        return ReceiveReferralResponse(referral=wire.referral(referral))

    async def GetReferral(self, request: GetReferralRequest, _: object) -> GetReferralResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetReferralRequest) -> GetReferralResponse:
        referral = await store.find_referral(tx, UUID(request.referral_id))
        tx.concerns(referral.patient.id)
        return GetReferralResponse(referral=wire.referral(referral))

    async def ListReferrals(self, request: ListReferralsRequest, _: object) -> ListReferralsResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListReferralsRequest) -> ListReferralsResponse:
        page = page_of(request)
        found, token = page.cut(await store.referrals(tx, page))
        tx.concerns(*(referral.patient.id for referral in found))
        return ListReferralsResponse(referrals=[wire.referral(each) for each in found], next_page_token=token)

    async def GetPatientContact(self, request: GetPatientContactRequest, _: object) -> GetPatientContactResponse:
        return await self._database.query(request, self._contact)

    async def _contact(self, tx: Tx, request: GetPatientContactRequest) -> GetPatientContactResponse:
        patient = await store.find_patient(tx, UUID(request.patient_id))
        tx.concerns(patient.id)
        return GetPatientContactResponse(contact_points=wire.contact_points(patient.person.contact_points))


class AssessmentService:
    SERVICE = "stepway.intake.v1.AssessmentService"

    def __init__(self, database: Database, telemetry: Telemetry) -> None:
        self._database = database
        self._telemetry = telemetry

    async def RecordAssessment(self, request: RecordAssessmentRequest, _: object) -> RecordAssessmentResponse:
        return await self._database.command(request, RecordAssessmentResponse, self._record)

    async def _record(self, tx: Tx, request: RecordAssessmentRequest) -> RecordAssessmentResponse:
        referral = await store.lock_referral(tx, UUID(request.referral_id))
        tx.concerns(referral.patient.id)
        tx.correlation = str(referral.id)
        assessment, flag = assessments.assess(
            referral,
            wire.definition(request.instrument),
            wire.answers(request),
            assessment_id=uuid7(tx.now),
            flag_id=uuid7(tx.now),
            answered_at=wire.answered_at(request, tx.now),
            now=tx.now,
        )
        await store.save_referral(tx, referrals.screen(referral))
        await store.add_assessment(tx, assessment)
        events: list[Message] = [wire.assessment_completed(assessment, tx.now)]
        if flag:
            await store.add_risk_flag(tx, flag, self._telemetry.inject())
            await loops.wake(tx, watchdog.LOOP, tx.now)
            events.append(wire.risk_raised(flag))
        await outbox.append(tx, *events, label=referral.patient.label)
        return RecordAssessmentResponse(
            assessment=wire.assessment(assessment), risk_flag_id=str(flag.id) if flag else ""
        )

    async def GetAssessment(self, request: GetAssessmentRequest, _: object) -> GetAssessmentResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetAssessmentRequest) -> GetAssessmentResponse:
        assessment = await store.find_assessment(tx, UUID(request.assessment_id))
        tx.concerns(assessment.patient_id)
        return GetAssessmentResponse(assessment=wire.assessment(assessment))


class RiskService:
    SERVICE = "stepway.intake.v1.RiskService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ListRiskFlags(self, request: ListRiskFlagsRequest, _: object) -> ListRiskFlagsResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListRiskFlagsRequest) -> ListRiskFlagsResponse:
        page = page_of(request)
        flags, token = page.cut(await store.risk_flags(tx, page, open_only=request.open_only))
        tx.concerns(*(flag.patient_id for flag in flags))
        return ListRiskFlagsResponse(risk_flags=[wire.risk_flag(flag) for flag in flags], next_page_token=token)


class LevelOfCareService:
    SERVICE = "stepway.intake.v1.LevelOfCareService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def DecideLevelOfCare(self, request: DecideLevelOfCareRequest, _: object) -> DecideLevelOfCareResponse:
        return await self._database.command(request, DecideLevelOfCareResponse, self._decide)

    async def _decide(self, tx: Tx, request: DecideLevelOfCareRequest) -> DecideLevelOfCareResponse:
        referral = await store.lock_referral(tx, UUID(request.referral_id))
        tx.concerns(referral.patient.id)
        tx.correlation = str(referral.id)
        referral, decision = referrals.decide(
            referral,
            id=uuid7(tx.now),
            level=wire.level(request.level),
            rationale=request.rationale,
            by=tx.caller.subject,
            at=tx.now,
        )
        await store.save_referral(tx, referral)
        await store.add_decision(tx, decision)
        await outbox.append(tx, wire.level_of_care_decided(decision), label=referral.patient.label)
        return DecideLevelOfCareResponse(decision=wire.decision(decision))

    async def GetLevelOfCareDecision(
        self, request: GetLevelOfCareDecisionRequest, _: object
    ) -> GetLevelOfCareDecisionResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetLevelOfCareDecisionRequest) -> GetLevelOfCareDecisionResponse:
        decision = await store.find_decision(tx, UUID(request.decision_id))
        tx.concerns(decision.patient_id)
        return GetLevelOfCareDecisionResponse(decision=wire.decision(decision))


class AdmissionService:
    SERVICE = "stepway.intake.v1.AdmissionService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def AdmitPatient(self, request: AdmitPatientRequest, _: object) -> AdmitPatientResponse:
        return await self._database.command(request, AdmitPatientResponse, self._admit)

    async def _admit(self, tx: Tx, request: AdmitPatientRequest) -> AdmitPatientResponse:
        referral = await store.lock_referral(tx, UUID(request.referral_id))
        tx.concerns(referral.patient.id)
        tx.correlation = str(referral.id)
        level = await store.level_of(tx, referral)
        referral, admission = referrals.admit(
            referral, level, id=uuid7(tx.now), availability=wire.availability(request.availability), at=tx.now
        )
        await store.save_referral(tx, referral)
        await store.add_admission(tx, admission)
        await outbox.append(tx, wire.patient_admitted(admission), label=referral.patient.label)
        return AdmitPatientResponse(admission=wire.admission(admission))

    async def GetAdmission(self, request: GetAdmissionRequest, _: object) -> GetAdmissionResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetAdmissionRequest) -> GetAdmissionResponse:
        admission = await store.find_admission(tx, UUID(request.admission_id))
        tx.concerns(admission.patient_id)
        return GetAdmissionResponse(admission=wire.admission(admission))


class ConsentService:
    SERVICE = "stepway.intake.v1.ConsentService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def GrantConsent(self, request: GrantConsentRequest, _: object) -> GrantConsentResponse:
        return await self._database.command(request, GrantConsentResponse, self._grant)

    async def _grant(self, tx: Tx, request: GrantConsentRequest) -> GrantConsentResponse:
        patient = await store.find_patient(tx, UUID(request.patient_id))
        tx.concerns(patient.id)
        tx.correlation = await store.first_referral(tx, patient.id)
        member = await self._named(tx, request)
        consent = consents.grant(wire.new_consent(request, member, id=uuid7(tx.now), at=tx.now))
        await store.add_consent(tx, consent)
        await outbox.append(tx, wire.consent_granted(consent), label=patient.label)
        return GrantConsentResponse(consent=wire.consent(consent, member))

    async def _named(self, tx: Tx, request: GrantConsentRequest) -> FamilyMember:
        """Somebody whom an earlier consent of this patient names, or somebody new."""
        patient_id = UUID(request.patient_id)
        if request.HasField("family_member_id"):
            return await store.family_member_of(tx, patient_id, UUID(request.family_member_id))
        member = FamilyMember(uuid7(tx.now), patient_id, wire.related_person(request.family_member))
        await store.add_family_member(tx, member)
        return member

    async def RevokeConsent(self, request: RevokeConsentRequest, _: object) -> RevokeConsentResponse:
        """Says that it has ended when nobody may act any more upon a yes that was read before that."""
        try:
            answer = await self._database.command(request, RevokeConsentResponse, self._revoke)
        except Conflict:  # another caller has just ended it
            await asyncio.sleep(USE_WITHIN.total_seconds())
            raise
        await asyncio.sleep(USE_WITHIN.total_seconds())
        return answer

    async def _revoke(self, tx: Tx, request: RevokeConsentRequest) -> RevokeConsentResponse:
        consent = await store.lock_consent(tx, UUID(request.consent_id))
        tx.concerns(consent.patient_id)
        consent = consents.revoke(consent, at=tx.now)
        tx.correlation = await store.first_referral(tx, consent.patient_id)
        await store.save_consent(tx, consent)
        patient = await store.find_patient(tx, consent.patient_id)
        await outbox.append(tx, wire.consent_revoked(consent), label=patient.label)
        member = await store.family_member_of(tx, consent.patient_id, consent.family_member_id)
        return RevokeConsentResponse(consent=wire.consent(consent, member))

    async def GetConsent(self, request: GetConsentRequest, _: object) -> GetConsentResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetConsentRequest) -> GetConsentResponse:
        consent = await store.find_consent(tx, UUID(request.consent_id))
        tx.concerns(consent.patient_id)
        member = await store.family_member_of(tx, consent.patient_id, consent.family_member_id)
        return GetConsentResponse(consent=wire.consent(consent, member))

    async def ListConsents(self, request: ListConsentsRequest, _: object) -> ListConsentsResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListConsentsRequest) -> ListConsentsResponse:
        page = page_of(request)
        patient = await store.find_patient(tx, UUID(request.patient_id))
        tx.concerns(patient.id)
        found, token = page.cut(await store.consents_of(tx, patient.id, page))
        members = [await store.family_member_of(tx, patient.id, each.family_member_id) for each in found]
        return ListConsentsResponse(
            consents=[wire.consent(each, member) for each, member in zip(found, members, strict=True)],
            next_page_token=token,
        )

    async def CheckConsents(self, request: CheckConsentsRequest, _: object) -> CheckConsentsResponse:
        return await self._database.query(request, self._check)

    async def _check(self, tx: Tx, request: CheckConsentsRequest) -> CheckConsentsResponse:
        questions = [wire.question(asked) for asked in request.questions]
        tx.concerns(*{question.patient_id for question in questions})
        known = await self._known(tx, questions)
        return wire.consent_answers(consents.check(question, known, now=tx.now) for question in questions)

    async def _known(self, tx: Tx, questions: list[Question]) -> list[Consent]:
        pairs = ((question.patient_id, question.family_member_id) for question in questions)
        return list(await store.consents_between(tx, pairs))

    async def GetFamilyMemberContact(
        self, request: GetFamilyMemberContactRequest, _: object
    ) -> GetFamilyMemberContactResponse:
        return await self._database.query(request, self._contact)

    async def _contact(self, tx: Tx, request: GetFamilyMemberContactRequest) -> GetFamilyMemberContactResponse:
        tx.concerns()
        member = await store.find_family_member(tx, UUID(request.family_member_id))
        if member is None:
            return GetFamilyMemberContactResponse()
        tx.concerns(member.patient_id)
        question = Question(member.patient_id, member.id, wire.category(request.category))
        finding, _ = consents.check(question, await self._known(tx, [question]), now=tx.now)
        covered = member.person.contact_points if finding is consents.Finding.GRANTED else ()
        return GetFamilyMemberContactResponse(contact_points=wire.contact_points(covered))
