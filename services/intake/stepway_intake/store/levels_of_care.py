"""The table of decisions on a level of care."""

from uuid import UUID

from sqlalchemy import Column, Text, Uuid, select

from stepway_chassis import records
from stepway_chassis.errors import NotFound
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.levels_of_care import Decision, LevelOfCare
from stepway_intake.domain.referrals import Referral
from stepway_intake.store.tables import METADATA

level_of_care_decision = records.records(
    "level_of_care_decision",
    METADATA,
    Column("referral_id", Uuid),
    Column("patient_id", Uuid),
    Column("level", Text),
    Column("rationale", Text),
    Column("decided_by", Text),
    Column("decided_at", TIME),
)


async def add_decision(tx: Tx, made: Decision) -> None:
    await records.add(tx, level_of_care_decision, made)


async def find_decision(tx: Tx, id: UUID) -> Decision:
    """Raises NotFound (LEVEL_OF_CARE_DECISION_NOT_FOUND)."""
    row = await records.find(tx, level_of_care_decision, id)
    if row is None or not tx.reaches(row["patient_id"]):
        message = "There is no such decision at this site."
        raise NotFound("LEVEL_OF_CARE_DECISION_NOT_FOUND", message, field="decision_id")
    return records.read(Decision, row)


async def level_of(tx: Tx, decided: Referral) -> LevelOfCare | None:
    """What was decided for this referral, if anything was."""
    level = select(level_of_care_decision.c.level).where(
        level_of_care_decision.c.site == tx.site.name, level_of_care_decision.c.referral_id == decided.id
    )
    found = (await tx.execute(level)).scalar_one_or_none()
    return None if found is None else LevelOfCare(found)
