"""The table of admissions."""

from uuid import UUID

from sqlalchemy import ARRAY, Column, Text, Uuid

from stepway_chassis import records
from stepway_chassis.errors import NotFound
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.admissions import Admission
from stepway_intake.store.tables import METADATA

admission = records.records(
    "admission",
    METADATA,
    Column("referral_id", Uuid),
    Column("patient_id", Uuid),
    Column("availability", ARRAY(Text)),
    Column("admitted_at", TIME),
)


async def add_admission(tx: Tx, made: Admission) -> None:
    await records.add(tx, admission, made)


async def find_admission(tx: Tx, id: UUID) -> Admission:
    """Raises NotFound (ADMISSION_NOT_FOUND)."""
    row = await records.find(tx, admission, id)
    if row is None or not tx.reaches(row["patient_id"]):
        raise NotFound("ADMISSION_NOT_FOUND", "There is no such admission at this site.", field="admission_id")
    return records.read(Admission, row)
