"""AdmissionService: who is admitted."""

from uuid import UUID

from stepway.intake.v1.admission_service_pb2 import (
    AdmitPatientRequest,
    AdmitPatientResponse,
    GetAdmissionRequest,
    GetAdmissionResponse,
)
from stepway_chassis import outbox
from stepway_chassis.database import Database
from stepway_chassis.ids import uuid7
from stepway_chassis.transaction import Tx
from stepway_intake.domain import admissions
from stepway_intake.store import admissions as store
from stepway_intake.store.levels_of_care import level_of
from stepway_intake.store.referrals import lock_referral, save_referral
from stepway_intake.wire import admissions as wire


class AdmissionService:
    SERVICE = "stepway.intake.v1.AdmissionService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def AdmitPatient(self, request: AdmitPatientRequest, _: object) -> AdmitPatientResponse:
        return await self._database.command(request, AdmitPatientResponse, self._admit)

    async def _admit(self, tx: Tx, request: AdmitPatientRequest) -> AdmitPatientResponse:
        referral = await lock_referral(tx, UUID(request.referral_id))
        tx.concerns(referral.patient.id)
        tx.correlation = str(referral.id)
        level = await level_of(tx, referral)
        referral, admission = admissions.admit(
            referral, level, id=uuid7(tx.now), availability=wire.availability(request.availability), at=tx.now
        )
        await save_referral(tx, referral)
        await store.add_admission(tx, admission)
        await outbox.append(tx, wire.patient_admitted(admission), label=referral.patient.label)
        return AdmitPatientResponse(admission=wire.admission(admission))

    async def GetAdmission(self, request: GetAdmissionRequest, _: object) -> GetAdmissionResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetAdmissionRequest) -> GetAdmissionResponse:
        admission = await store.find_admission(tx, UUID(request.admission_id))
        tx.concerns(admission.patient_id)
        return GetAdmissionResponse(admission=wire.admission(admission))
