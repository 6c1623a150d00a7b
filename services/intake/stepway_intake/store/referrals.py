"""The table of referrals, each read with its patient."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import Column, RowMapping, Select, Text, Uuid, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert

from stepway_chassis import records
from stepway_chassis.errors import NotFound
from stepway_chassis.pages import Page
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.people import Label, Patient
from stepway_intake.domain.referrals import Referral, Status
from stepway_intake.store.people import add_patient, patient, person, related_person
from stepway_intake.store.tables import METADATA

referral = records.records(
    "referral",
    METADATA,
    Column("patient_id", Uuid),
    Column("status", Text),
    Column("related_people", JSONB),
    Column("reason", Text),
    Column("received_at", TIME),
)

_with_patient = (
    select(referral, patient.c.person, patient.c.label)
    .select_from(referral)
    .join(patient, (patient.c.site == referral.c.site) & (patient.c.id == referral.c.patient_id))
)


async def add_referral(tx: Tx, received: Referral) -> None:
    sent = {
        "id": received.id,
        "patient_id": received.patient.id,
        "status": received.status,
        "related_people": [asdict(related) for related in received.related_people],
        "reason": received.reason,
        "received_at": received.received_at,
    }
    await add_patient(tx, received.patient)
    await tx.execute(insert(referral), {"site": tx.site.name, **sent})


async def find_referral(tx: Tx, id: UUID) -> Referral:
    """Raises NotFound (REFERRAL_NOT_FOUND), also for one outside the caller's reach."""
    return await _one_referral(tx, _with_patient.where(referral.c.site == tx.site.name, referral.c.id == id))


async def lock_referral(tx: Tx, id: UUID) -> Referral:
    statement = _with_patient.where(referral.c.site == tx.site.name, referral.c.id == id)
    return await _one_referral(tx, statement.with_for_update(of=referral))


async def _one_referral(tx: Tx, statement: Select[Any]) -> Referral:
    row = (await tx.execute(statement)).mappings().first()
    if row is None or not tx.reaches(row["patient_id"]):
        raise NotFound("REFERRAL_NOT_FOUND", "There is no such referral at this site.", field="referral_id")
    return _referral(row)


async def referrals(tx: Tx, page: Page) -> Sequence[Referral]:
    """Newest first; ids are made in the order of time."""
    statement = _with_patient.where(referral.c.site == tx.site.name).order_by(referral.c.id.desc()).limit(page.limit)
    if page.before is not None:
        statement = statement.where(referral.c.id < page.before)
    return [_referral(row) for row in (await tx.execute(statement)).mappings()]


async def save_referral(tx: Tx, changed: Referral) -> None:
    await records.save(tx, referral, changed, "status")


async def first_referral(tx: Tx, patient_id: UUID) -> str:
    """The journey that a patient is on."""
    ids = select(func.min(referral.c.id.cast(Text))).where(
        referral.c.site == tx.site.name, referral.c.patient_id == patient_id
    )
    return str((await tx.execute(ids)).scalar_one())


def _referral(row: RowMapping) -> Referral:
    return Referral(
        id=row["id"],
        patient=Patient(row["patient_id"], person(row["person"]), Label(row["label"])),
        status=Status(row["status"]),
        related_people=tuple(related_person(related) for related in row["related_people"]),
        reason=row["reason"],
        received_at=row["received_at"],
    )
