"""AssessmentService: answers to an instrument, the score that they make, and the flag that they may raise."""

from datetime import datetime
from uuid import UUID

from google.protobuf.message import Message

from stepway.intake.v1.assessment_service_pb2 import (
    GetAssessmentRequest,
    GetAssessmentResponse,
    GetScoreRequest,
    GetScoreResponse,
    RecordAssessmentRequest,
    RecordAssessmentResponse,
    RecordCodedAssessmentRequest,
    RecordCodedAssessmentResponse,
)
from stepway_chassis import outbox
from stepway_chassis.call import Scope
from stepway_chassis.database import Database
from stepway_chassis.ids import uuid7
from stepway_chassis.telemetry import Telemetry
from stepway_chassis.transaction import Tx
from stepway_intake.domain import assessments, referrals
from stepway_intake.domain.assessments import Assessment
from stepway_intake.domain.referrals import Referral
from stepway_intake.domain.risk import RiskFlag
from stepway_intake.domain.site_rules import rules_of
from stepway_intake.instruments import coded
from stepway_intake.instruments.catalogue import CURRENT, find
from stepway_intake.instruments.definition import Definition
from stepway_intake.instruments.scoring import speaks_of_substance_use
from stepway_intake.service.imports import before
from stepway_intake.service.referrals import hold, keep, raise_label
from stepway_intake.service.risk import raise_flag
from stepway_intake.store import assessments as store
from stepway_intake.store.risk import flags_of
from stepway_intake.wire import assessments as wire
from stepway_intake.wire.imports import came


class AssessmentService:
    SERVICE = "stepway.intake.v1.AssessmentService"

    def __init__(self, database: Database, telemetry: Telemetry) -> None:
        self._database = database
        self._telemetry = telemetry

    async def RecordAssessment(self, request: RecordAssessmentRequest, _: object) -> RecordAssessmentResponse:
        return await self._database.command(request, RecordAssessmentResponse, self._record)

    async def _record(self, tx: Tx, request: RecordAssessmentRequest) -> RecordAssessmentResponse:
        instrument = wire.name(request.instrument)
        may_raise = bool(CURRENT[instrument].substance_use)
        referral = await hold(tx, UUID(request.referral_id), may_raise=may_raise)
        answers = wire.answers(request.answers)
        at = wire.answered_at(request.answered_at if request.HasField("answered_at") else None, tx.now)
        id = uuid7(tx.now)
        if (known := await before(tx, came(request, referral.id, id))) and known.assessment_id:
            return await self._known(tx, known.assessment_id)
        assessment, flag = await self._assess(
            tx, referral, self._definition(tx, instrument, request.version), answers, at, id
        )
        return RecordAssessmentResponse(
            assessment=wire.assessment(assessment), risk_flag_id=str(flag.id) if flag else ""
        )

    async def _known(self, tx: Tx, id: UUID) -> RecordAssessmentResponse:
        found = await store.find_assessment(tx, id)
        tx.concerns(found.patient_id)
        return RecordAssessmentResponse(assessment=wire.assessment(found))

    async def RecordCodedAssessment(
        self, request: RecordCodedAssessmentRequest, _: object
    ) -> RecordCodedAssessmentResponse:
        return await self._database.command(request, RecordCodedAssessmentResponse, self._record_coded)

    async def _record_coded(self, tx: Tx, request: RecordCodedAssessmentRequest) -> RecordCodedAssessmentResponse:
        current, answers = coded.read(wire.coded(request), panel=request.panel_loinc)
        referral = await hold(tx, UUID(request.referral_id), may_raise=bool(current.substance_use))
        definition = self._definition(tx, current.name, request.version)
        at = wire.answered_at(request.answered_at if request.HasField("answered_at") else None, tx.now)
        assessment, flag = await self._assess(tx, referral, definition, answers, at, uuid7(tx.now))
        return RecordCodedAssessmentResponse(
            assessment=wire.assessment(assessment), risk_flag_id=str(flag.id) if flag else ""
        )

    def _definition(self, tx: Tx, instrument: str, version: str) -> Definition:
        """The version that is named, or the one that the site uses. Raises InvalidInput."""
        return find(instrument, version or rules_of(tx.site.settings).versions.get(instrument, ""))

    async def _assess(
        self, tx: Tx, referral: Referral, definition: Definition, answers: dict[int, int], at: datetime, id: UUID
    ) -> tuple[Assessment, RiskFlag | None]:
        assessment, flag = assessments.assess(
            referral,
            definition,
            answers,
            assessment_id=id,
            flag_id=uuid7(tx.now),
            answered_at=at,
            now=tx.now,
            by_patient=tx.scope is Scope.SELF,
            within=rules_of(tx.site.settings).within,
        )
        if speaks_of_substance_use(definition, answers):
            referral = await raise_label(tx, referral)
        await keep(tx, referral, referrals.screen(referral))
        await store.add_assessment(tx, assessment)
        events: list[Message] = [wire.assessment_completed(assessment, tx.now)]
        if flag:
            events.append(await raise_flag(tx, flag, self._telemetry))
        outbox.append(tx, *events, label=referral.patient.label)
        return assessment, flag

    async def GetAssessment(self, request: GetAssessmentRequest, _: object) -> GetAssessmentResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetAssessmentRequest) -> GetAssessmentResponse:
        assessment = await store.find_assessment(tx, UUID(request.assessment_id))
        tx.concerns(assessment.patient_id)
        return GetAssessmentResponse(assessment=wire.assessment(assessment))

    async def GetScore(self, request: GetScoreRequest, _: object) -> GetScoreResponse:
        return await self._database.query(request, self._get_score)

    async def _get_score(self, tx: Tx, request: GetScoreRequest) -> GetScoreResponse:
        assessment = await store.find_assessment(tx, UUID(request.assessment_id))
        tx.concerns(assessment.patient_id)
        before = await store.assessment_before(tx, assessment)
        return wire.score_told(assessment, before, await flags_of(tx, assessment.id))
