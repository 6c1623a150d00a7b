"""AdmissionService: who is admitted, for which course."""

from uuid import UUID
from zoneinfo import ZoneInfo

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
from stepway_intake.domain import admissions, referrals
from stepway_intake.domain.admissions import Admission, Course, Ending
from stepway_intake.domain.authority import ages_of
from stepway_intake.domain.consents import Expiry
from stepway_intake.domain.facts import age_group
from stepway_intake.domain.people import Label, Patient
from stepway_intake.domain.referrals import Referral
from stepway_intake.expiring import end_with
from stepway_intake.service.referrals import keep, raise_label
from stepway_intake.store import admissions as store
from stepway_intake.store.levels_of_care import level_of
from stepway_intake.store.people import find_patient, lock_patient
from stepway_intake.store.referrals import find_referral, lock_referral
from stepway_intake.wire import admissions as wire


async def lock_with_referral(tx: Tx, id: UUID) -> tuple[Admission, Referral]:
    """Raises NotFound (ADMISSION_NOT_FOUND)."""
    referral = await lock_referral(tx, (await store.find_admission(tx, id)).referral_id)
    tx.concerns(referral.patient.id)
    tx.correlation = str(referral.id)
    return await store.lock_admission(tx, id), referral


async def keep_further(tx: Tx, before: Admission, after: Admission, referral: Referral) -> None:
    """Save and announce an admission that has got further, and its referral with it.

    With its end goes what was consented to until the end of treatment.
    """
    await store.save_admission(tx, after)
    waits, gone = admissions.waits(after), after.ending is Ending.TRANSFERRED
    await keep(tx, referral, referrals.follow_seat(referral, waits=waits, gone=gone))
    outbox.append(tx, *wire.followed(before, after, at=tx.now), label=referral.patient.label)
    if after.ended_at and not before.ended_at:
        await end_with(tx, referral.patient.id, Expiry.END_OF_TREATMENT, happened_at=after.ended_at)


class AdmissionService:
    SERVICE = "stepway.intake.v1.AdmissionService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def AdmitPatient(self, request: AdmitPatientRequest, _: object) -> AdmitPatientResponse:
        return await self._database.command(request, AdmitPatientResponse, self._admit)

    async def _admit(self, tx: Tx, request: AdmitPatientRequest) -> AdmitPatientResponse:
        asked = await find_referral(tx, UUID(request.referral_id))
        await lock_patient(tx, asked.patient.id)
        referral = await lock_referral(tx, asked.id)
        patient = referral.patient
        tx.concerns(patient.id)
        tx.correlation = str(referral.id)
        course = _agreed(tx, wire.new_course(request.course), patient)
        label = admissions.label_of(patient.label, wire.asked_label(request.label), course.population)
        if label is Label.PART2:
            referral = await raise_label(tx, referral)
        earlier = await store.lock_last_admission(tx, patient.id)
        new = wire.new_admission(request, course, id=uuid7(tx.now), patient_id=patient.id, at=tx.now)
        admitted, admission = admissions.admit(referral, await level_of(tx, referral), new, earlier=earlier)
        await keep(tx, referral, admitted)
        await store.add_admission(tx, admission)
        outbox.append(tx, wire.patient_admitted(admission), label=label)
        return AdmitPatientResponse(admission=wire.admission(admission, label))

    async def GetAdmission(self, request: GetAdmissionRequest, _: object) -> GetAdmissionResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetAdmissionRequest) -> GetAdmissionResponse:
        admission = await store.find_admission(tx, UUID(request.admission_id))
        tx.concerns(admission.patient_id)
        patient = await find_patient(tx, admission.patient_id)
        return GetAdmissionResponse(admission=wire.admission(admission, patient.label))


def _agreed(tx: Tx, course: Course, patient: Patient) -> Course:
    """By the law, the rules and the clocks of the site."""
    settings, today = tx.site.settings, tx.now.astimezone(ZoneInfo(tx.site.zone)).date()
    age = age_group(patient.person.birth_date, ages_of(settings), today)
    return admissions.agree(course, age_group=age, floor=admissions.floor_of(settings), today=today)
