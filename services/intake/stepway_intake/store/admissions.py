"""The table of admissions."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Column, RowMapping, Text, Uuid, select
from sqlalchemy.dialects.postgresql import JSONB

from stepway_chassis import records
from stepway_chassis.errors import NotFound
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.admissions import (
    Admission,
    Authorization,
    AvailableTime,
    Course,
    Daypart,
    Ending,
    Population,
    Prescription,
    Status,
)
from stepway_intake.store.tables import METADATA

admission = records.records(
    "admission",
    METADATA,
    Column("referral_id", Uuid),
    Column("patient_id", Uuid),
    Column("availability", ARRAY(Text)),
    Column("admitted_at", TIME),
    Column("course", JSONB),
    Column("status", Text),
    Column("ending", Text),
    Column("enrollment_id", Uuid),
    Column("enrolled_at", TIME),
    Column("ended_at", TIME),
    Column("earlier_admission_id", Uuid),
    Column("transfer_id", Uuid),
)


async def add_admission(tx: Tx, made: Admission) -> None:
    await records.add(tx, admission, made, course=asdict(made.course))


async def find_admission(tx: Tx, id: UUID) -> Admission:
    """Raises NotFound (ADMISSION_NOT_FOUND)."""
    return _admission(tx, await records.find(tx, admission, id))


async def lock_admission(tx: Tx, id: UUID) -> Admission:
    return _admission(tx, await records.lock(tx, admission, id))


def _admission(tx: Tx, row: RowMapping | None) -> Admission:
    if row is None or not tx.reaches(row["patient_id"]):
        raise NotFound("ADMISSION_NOT_FOUND", "There is no such admission at this site.", field="admission_id")
    return _read(row)


def _read(row: RowMapping) -> Admission:
    known = {each.name: row[each.name] for each in fields(Admission)}
    told = {
        "availability": tuple(Daypart(each) for each in row["availability"]),
        "course": course(row["course"]),
        "status": Status(row["status"]),
        "ending": Ending(row["ending"]),
    }
    return Admission(**{**known, **told})


def course(stored: Mapping[str, Any]) -> Course:
    """Also of before there was one."""
    agreed = stored.get("authorization")
    told = {
        "population": Population(stored.get("population", Population.UNSTATED)),
        "available_times": tuple(AvailableTime(**each) for each in stored.get("available_times", ())),
        "modalities": tuple(Prescription(**each) for each in stored.get("modalities", ())),
        "authorization": Authorization(**agreed) if agreed else None,
    }
    return Course(**{**stored, **told})


async def lock_admission_of(tx: Tx, referral_id: UUID) -> Admission | None:
    """The one that a referral has led to."""
    theirs = select(admission).where(admission.c.site == tx.site.name, admission.c.referral_id == referral_id)
    row = (await tx.execute(theirs.with_for_update())).mappings().first()
    return None if row is None else _read(row)


async def are_admitted(tx: Tx, *patient_ids: UUID) -> bool:
    """Whether each of them has an admission that is not over."""
    statement = (
        select(admission.c.patient_id)
        .where(admission.c.site == tx.site.name, admission.c.patient_id.in_(patient_ids))
        .where(admission.c.status != Status.ENDED)
        .distinct()
    )
    return len((await tx.execute(statement)).all()) == len(patient_ids)


async def lock_last_admission(tx: Tx, patient_id: UUID) -> Admission | None:
    """The patient's last one here; before that the one that is not over, which after a merge may be older."""
    statement = (
        select(admission)
        .where(admission.c.site == tx.site.name, admission.c.patient_id == patient_id)
        .order_by(admission.c.status == Status.ENDED, admission.c.id.desc())
        .limit(1)
        .with_for_update()
    )
    row = (await tx.execute(statement)).mappings().first()
    return None if row is None else _read(row)


async def save_admission(tx: Tx, changed: Admission) -> None:
    await records.save(tx, admission, changed, "status", "ending", "enrollment_id", "enrolled_at", "ended_at")
