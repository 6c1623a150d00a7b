"""The tables of care, and what is read from and written to them inside an open transaction."""

from collections.abc import Sequence
from dataclasses import asdict
from uuid import UUID

from sqlalchemy import Column, MetaData, Text, Uuid, update
from sqlalchemy.dialects.postgresql import insert

from stepway_care.domain import Plan
from stepway_chassis import records
from stepway_chassis.errors import NotFound
from stepway_chassis.pages import Page
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx

treatment_plan = records.records(
    "treatment_plan",
    MetaData(),
    Column("patient_id", Uuid),
    Column("enrollment_id", Uuid),
    Column("status", Text),
    Column("drafted_at", TIME),
    Column("due_at", TIME),
    Column("correlation", Text),
)


async def add_plan(tx: Tx, drafted: Plan) -> bool:
    """Whether it is the first one for its enrolment."""
    row = insert(treatment_plan).values(site=tx.site.name, correlation=tx.correlation, **asdict(drafted))
    added = await tx.execute(row.on_conflict_do_nothing().returning(treatment_plan.c.id))
    return added.first() is not None


async def move_plans(tx: Tx, gone: UUID, kept: UUID) -> None:
    """To whom a patient is by now."""
    theirs = (treatment_plan.c.site == tx.site.name, treatment_plan.c.patient_id == gone)
    await tx.execute(update(treatment_plan).where(*theirs).values(patient_id=kept))


async def find_plan(tx: Tx, id: UUID) -> Plan:
    """Raises NotFound (TREATMENT_PLAN_NOT_FOUND), also for one outside the caller's reach."""
    row = await records.find(tx, treatment_plan, id)
    if row is None or not tx.reaches(row["patient_id"]):
        message = "There is no such treatment plan at this site."
        raise NotFound("TREATMENT_PLAN_NOT_FOUND", message, field="treatment_plan_id")
    return records.read(Plan, row)


async def plans(tx: Tx, page: Page) -> Sequence[Plan]:
    return [records.read(Plan, row) for row in (await tx.execute(records.newest(tx, treatment_plan, page))).mappings()]
