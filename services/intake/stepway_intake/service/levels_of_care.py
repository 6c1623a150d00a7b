"""LevelOfCareService: how much care a clinician has decided on."""

from uuid import UUID

from stepway.intake.v1.level_of_care_service_pb2 import (
    DecideLevelOfCareRequest,
    DecideLevelOfCareResponse,
    GetLevelOfCareDecisionRequest,
    GetLevelOfCareDecisionResponse,
)
from stepway_chassis import outbox
from stepway_chassis.database import Database
from stepway_chassis.ids import uuid7
from stepway_chassis.transaction import Tx
from stepway_intake.domain import levels_of_care
from stepway_intake.store import levels_of_care as store
from stepway_intake.store.referrals import lock_referral, save_referral
from stepway_intake.wire import levels_of_care as wire


class LevelOfCareService:
    SERVICE = "stepway.intake.v1.LevelOfCareService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def DecideLevelOfCare(self, request: DecideLevelOfCareRequest, _: object) -> DecideLevelOfCareResponse:
        return await self._database.command(request, DecideLevelOfCareResponse, self._decide)

    async def _decide(self, tx: Tx, request: DecideLevelOfCareRequest) -> DecideLevelOfCareResponse:
        referral = await lock_referral(tx, UUID(request.referral_id))
        tx.concerns(referral.patient.id)
        tx.correlation = str(referral.id)
        referral, decision = levels_of_care.decide(
            referral,
            id=uuid7(tx.now),
            level=wire.level(request.level),
            rationale=request.rationale,
            by=tx.caller.subject,
            at=tx.now,
        )
        await save_referral(tx, referral)
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
