"""The table of records that came from other systems."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from uuid import UUID

from sqlalchemy import Column, Uuid, select
from sqlalchemy.dialects.postgresql import insert

from stepway_chassis import records
from stepway_chassis.transaction import Tx
from stepway_intake.domain.imports import Imported
from stepway_intake.store.referrals import referral
from stepway_intake.store.tables import METADATA

imported = records.records(
    "imported", METADATA, Column("referral_id", Uuid), Column("assessment_id", Uuid), Column("content", Uuid)
)


async def claim(tx: Tx, came: Imported) -> Imported | None:
    """Keep what a record becomes, or find what it became before. A twin that comes at once waits for this one."""
    statement = insert(imported).on_conflict_do_nothing().returning(imported.c.id)
    if (await tx.execute(statement, {"site": tx.site.name, **asdict(came)})).first():
        return None
    row = await records.find(tx, imported, came.id)
    return None if row is None else records.read(Imported, row)


async def those_of(tx: Tx, ids: Iterable[UUID]) -> Sequence[tuple[Imported, UUID]]:
    """Each of these records that came before, and the patient whom it is about."""
    statement = (
        select(imported, referral.c.patient_id)
        .join(referral, (referral.c.site == imported.c.site) & (referral.c.id == imported.c.referral_id))
        .where(imported.c.site == tx.site.name, imported.c.id.in_(list(ids)))
    )
    rows = (await tx.execute(statement)).mappings()
    return [(records.read(Imported, row), row["patient_id"]) for row in rows]
