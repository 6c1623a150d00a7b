"""The gRPC services of intake: parse, load, decide, save and announce."""

from uuid import UUID

from google.protobuf.message import Message

from stepway.intake.v1.assessment_service_pb2 import (
    GetAssessmentRequest,
    GetAssessmentResponse,
    RecordAssessmentRequest,
    RecordAssessmentResponse,
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
from stepway_chassis import outbox
from stepway_chassis.database import Database
from stepway_chassis.ids import uuid7
from stepway_chassis.pages import page_of
from stepway_chassis.transaction import Tx
from stepway_intake import domain, store, wire


class ReferralService:
    SERVICE = "stepway.intake.v1.ReferralService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ReceiveReferral(self, request: ReceiveReferralRequest, _: object) -> ReceiveReferralResponse:
        return await self._database.command(request, ReceiveReferralResponse, self._receive)

    async def _receive(self, tx: Tx, request: ReceiveReferralRequest) -> ReceiveReferralResponse:
        label = domain.label_for(part2_program=tx.site.settings.get("part2_program", True))
        referral = domain.receive(
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
        referrals, token = page.cut(await store.referrals_before(tx, page.before, page.limit))
        tx.concerns(*(referral.patient.id for referral in referrals))
        return ListReferralsResponse(referrals=[wire.referral(each) for each in referrals], next_page_token=token)

    async def GetPatientContact(self, request: GetPatientContactRequest, _: object) -> GetPatientContactResponse:
        return await self._database.query(request, self._contact)

    async def _contact(self, tx: Tx, request: GetPatientContactRequest) -> GetPatientContactResponse:
        patient = await store.find_patient(tx, UUID(request.patient_id))
        tx.concerns(patient.id)
        return GetPatientContactResponse(contact_points=wire.contact_points(patient.person.contact_points))


class AssessmentService:
    SERVICE = "stepway.intake.v1.AssessmentService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def RecordAssessment(self, request: RecordAssessmentRequest, _: object) -> RecordAssessmentResponse:
        return await self._database.command(request, RecordAssessmentResponse, self._record)

    async def _record(self, tx: Tx, request: RecordAssessmentRequest) -> RecordAssessmentResponse:
        referral = await store.lock_referral(tx, UUID(request.referral_id))
        tx.concerns(referral.patient.id)
        tx.correlation = str(referral.id)
        referral, assessment, flag = domain.assess(
            referral,
            wire.definition(request.instrument),
            wire.answers(request),
            assessment_id=uuid7(tx.now),
            flag_id=uuid7(tx.now),
            answered_at=wire.answered_at(request, tx.now),
            now=tx.now,
        )
        await store.save_referral(tx, referral)
        await store.add_assessment(tx, assessment)
        events: list[Message] = [wire.assessment_completed(assessment, tx.now)]
        if flag:
            await store.add_risk_flag(tx, flag)
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
        found = await store.risk_flags_before(tx, page.before, page.limit, open_only=request.open_only)
        flags, token = page.cut(found)
        tx.concerns(*(flag.patient_id for flag in flags))
        return ListRiskFlagsResponse(risk_flags=[wire.risk_flag(flag) for flag in flags], next_page_token=token)
