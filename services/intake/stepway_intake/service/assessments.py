"""AssessmentService: answers to an instrument, and the flag that they may raise."""

from uuid import UUID

from google.protobuf.message import Message

from stepway.intake.v1.assessment_service_pb2 import (
    GetAssessmentRequest,
    GetAssessmentResponse,
    RecordAssessmentRequest,
    RecordAssessmentResponse,
)
from stepway_chassis import loops, outbox
from stepway_chassis.database import Database
from stepway_chassis.ids import uuid7
from stepway_chassis.telemetry import Telemetry
from stepway_chassis.transaction import Tx
from stepway_intake import watchdog
from stepway_intake.domain import assessments, referrals
from stepway_intake.service.imports import before
from stepway_intake.store import assessments as store
from stepway_intake.store.referrals import lock_referral, save_referral
from stepway_intake.store.risk import add_risk_flag
from stepway_intake.wire import assessments as wire
from stepway_intake.wire.imports import came
from stepway_intake.wire.risk import risk_raised


class AssessmentService:
    SERVICE = "stepway.intake.v1.AssessmentService"

    def __init__(self, database: Database, telemetry: Telemetry) -> None:
        self._database = database
        self._telemetry = telemetry

    async def RecordAssessment(self, request: RecordAssessmentRequest, _: object) -> RecordAssessmentResponse:
        return await self._database.command(request, RecordAssessmentResponse, self._record)

    async def _record(self, tx: Tx, request: RecordAssessmentRequest) -> RecordAssessmentResponse:
        referral = await lock_referral(tx, UUID(request.referral_id))
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
        if (known := await before(tx, came(request, referral.id, assessment.id))) and known.assessment_id:
            found = await store.find_assessment(tx, known.assessment_id)
            tx.concerns(found.patient_id)
            return RecordAssessmentResponse(assessment=wire.assessment(found))
        await save_referral(tx, referrals.screen(referral))
        await store.add_assessment(tx, assessment)
        events: list[Message] = [wire.assessment_completed(assessment, tx.now)]
        if flag:
            await add_risk_flag(tx, flag, self._telemetry.inject())
            await loops.wake(tx, watchdog.LOOP, tx.now)
            events.append(risk_raised(flag))
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
