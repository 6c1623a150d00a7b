"""The table of risk flags: open, paged, acknowledged."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Column, Text, Uuid, and_, select
from sqlalchemy.dialects.postgresql import JSONB

from stepway_chassis import records
from stepway_chassis.pages import Page
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.people import Label
from stepway_intake.domain.risk import RiskFlag, Urgency
from stepway_intake.store.people import patient
from stepway_intake.store.tables import METADATA

risk_flag = records.records(
    "risk_flag",
    METADATA,
    Column("patient_id", Uuid),
    Column("referral_id", Uuid),
    Column("urgency", Text),
    Column("raised_at", TIME),
    Column("acknowledged_at", TIME),
    Column("acknowledged_by", Text),
    Column("paged_at", TIME),
    Column("trace_context", JSONB),
)


async def add_risk_flag(tx: Tx, flag: RiskFlag, trace_context: Mapping[str, str]) -> None:
    await records.add(tx, risk_flag, flag, trace_context=dict(trace_context))


async def lock_risk_flag(tx: Tx, id: UUID) -> RiskFlag | None:
    row = await records.lock(tx, risk_flag, id)
    return None if row is None else records.read(RiskFlag, row)


async def save_risk_flag(tx: Tx, flag: RiskFlag) -> None:
    await records.save(tx, risk_flag, flag, "acknowledged_at", "acknowledged_by", "paged_at")


async def risk_flags(tx: Tx, page: Page, *, open_only: bool) -> Sequence[RiskFlag]:
    statement = records.newest(tx, risk_flag, page)
    if open_only:
        statement = statement.where(risk_flag.c.acknowledged_at.is_(None))
    return [records.read(RiskFlag, row) for row in (await tx.execute(statement)).mappings()]


async def unpaged_flags(tx: Tx, limit: int, *, after: UUID | None) -> list[tuple[RiskFlag, Label, Mapping[str, str]]]:
    """Flags, oldest first, that ask for a page which no channel has taken and nobody has answered; label and trace."""
    statement = (
        select(risk_flag, patient.c.label)
        .join(patient, and_(patient.c.site == risk_flag.c.site, patient.c.id == risk_flag.c.patient_id))
        .where(risk_flag.c.site == tx.site.name, risk_flag.c.urgency == Urgency.PAGE)
        .where(risk_flag.c.paged_at.is_(None), risk_flag.c.acknowledged_at.is_(None))
        .order_by(risk_flag.c.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(risk_flag.c.id > after)
    rows = (await tx.execute(statement)).mappings()
    return [(records.read(RiskFlag, row), Label(row["label"]), row["trace_context"] or {}) for row in rows]
