"""The table of risk flags: open, paged, acknowledged, disposed of."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, Interval, Text, Uuid, and_, func, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB

from stepway_chassis import records
from stepway_chassis.errors import NotFound
from stepway_chassis.pages import DuePage, Page
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.people import Label
from stepway_intake.domain.risk import Disposition, RiskFlag, Urgency
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
    Column("risk", Text),
    Column("assessment_id", Uuid),
    Column("due_at", TIME),
    Column("disposed_within", Interval),
    Column("disposition", Text),
    Column("disposition_note", Text),
    Column("disposed_by", Text),
    Column("disposed_at", TIME),
    Column("fallback_at", TIME),
)


async def add_risk_flag(tx: Tx, flag: RiskFlag, trace_context: Mapping[str, str]) -> None:
    await records.add(tx, risk_flag, flag, trace_context=dict(trace_context))


async def lock_risk_flag(tx: Tx, id: UUID) -> RiskFlag | None:
    row = await records.lock(tx, risk_flag, id)
    return None if row is None else records.read(RiskFlag, row)


async def flag_to_change(tx: Tx, id: UUID) -> RiskFlag:
    """Raises NotFound (RISK_FLAG_NOT_FOUND)."""
    flag = await lock_risk_flag(tx, id)
    if flag is None or not tx.reaches(flag.patient_id):
        raise NotFound("RISK_FLAG_NOT_FOUND", "There is no such risk flag at this site.", field="risk_flag_id")
    return flag


async def label_of(tx: Tx, flag: RiskFlag) -> Label:
    statement = select(patient.c.label).where(records.one(tx, patient, flag.patient_id))
    return Label((await tx.execute(statement)).scalar_one())


async def save_risk_flag(tx: Tx, flag: RiskFlag) -> None:
    """Whatever of it can change."""
    await records.save(
        tx,
        risk_flag,
        flag,
        *("acknowledged_at", "acknowledged_by", "paged_at", "fallback_at", "due_at"),
        *("disposition", "disposition_note", "disposed_by", "disposed_at"),
    )


async def risk_flags(tx: Tx, page: Page, *, open_only: bool, undisposed_only: bool) -> Sequence[RiskFlag]:
    statement = records.newest(tx, risk_flag, page)
    if open_only:
        statement = statement.where(risk_flag.c.acknowledged_at.is_(None))
    if undisposed_only:
        statement = statement.where(risk_flag.c.disposition == Disposition.PENDING)
    return [records.read(RiskFlag, row) for row in (await tx.execute(statement)).mappings()]


async def due_flags(tx: Tx, page: DuePage, *, before: datetime, open_only: bool) -> Sequence[RiskFlag]:
    """Those with a step that is due before a time, to be taken or to be disposed of, what is longest due first."""
    statement = select(risk_flag).where(
        risk_flag.c.site == tx.site.name, risk_flag.c.disposition == Disposition.PENDING, risk_flag.c.due_at < before
    )
    if open_only:
        statement = statement.where(risk_flag.c.acknowledged_at.is_(None))
    by_time = (risk_flag.c.due_at, risk_flag.c.id)
    if page.after is not None:
        statement = statement.where(tuple_(*by_time) > tuple_(page.after.due_at, page.after.id))
    rows = (await tx.execute(statement.order_by(*by_time).limit(page.limit))).mappings()
    return [records.read(RiskFlag, row) for row in rows]


async def flags_open_since(tx: Tx, people: Iterable[UUID]) -> Mapping[UUID, datetime]:
    """Of these people those of whom it is not on record what was done about a flag, and since when."""
    statement = (
        select(risk_flag.c.patient_id, func.min(risk_flag.c.raised_at).label("since"))
        .where(risk_flag.c.site == tx.site.name, risk_flag.c.patient_id.in_(list(people)))
        .where(risk_flag.c.disposition == Disposition.PENDING)
        .group_by(risk_flag.c.patient_id)
    )
    return {row.patient_id: row.since for row in await tx.execute(statement)}


async def flags_of(tx: Tx, assessment_id: UUID) -> Sequence[RiskFlag]:
    """Those that the answers of one assessment raised, oldest first."""
    statement = select(risk_flag).where(risk_flag.c.site == tx.site.name, risk_flag.c.assessment_id == assessment_id)
    rows = (await tx.execute(statement.order_by(risk_flag.c.id))).mappings()
    return [records.read(RiskFlag, row) for row in rows]


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
