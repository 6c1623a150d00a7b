"""The tables of notifications, and what is read from and written to them inside an open transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    DateTime,
    Integer,
    MetaData,
    RowMapping,
    Table,
    Text,
    Uuid,
    and_,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert

from stepway_chassis.call import Scope
from stepway_chassis.errors import NotFound
from stepway_chassis.transaction import Tx
from stepway_notifications.domain import Channel, Escalation, Message, Status, Template

_metadata = MetaData()
_TIME = DateTime(timezone=True)

patient = Table(
    "patient",
    _metadata,
    Column("site", Text, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("label", Text),
    Column("stopped_at", _TIME),
)
message = Table(
    "message",
    _metadata,
    Column("site", Text, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("patient_id", Uuid),
    Column("channel", Text),
    Column("address", Text),
    Column("template", Text),
    Column("body", Text),
    Column("status", Text),
    Column("release_at", _TIME),
    Column("expires_at", _TIME),
    Column("next_attempt_at", _TIME),
    Column("claimed_until", _TIME),
    Column("attempts", Integer),
    Column("delivered_at", _TIME),
    Column("created_at", _TIME),
    Column("correlation", Text),
    Column("causation", Text),
    Column("trace_context", JSONB),
)
escalation = Table(
    "escalation",
    _metadata,
    Column("site", Text, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("risk_flag_id", Uuid),
    Column("patient_id", Uuid),
    Column("clinician", Text),
    Column("raised_at", _TIME),
    Column("acknowledged_at", _TIME),
    Column("acknowledged_by", Text),
    Column("correlation", Text),
)
_MESSAGE_FIELDS = [column for column in message.c if column.name in Message.__dataclass_fields__]
_ESCALATION_FIELDS = [column for column in escalation.c if column.name in Escalation.__dataclass_fields__]


@dataclass(frozen=True)
class Due:
    """A message whose time has come, and what is known about the person it is for."""

    message: Message
    label: str
    stopped: bool
    correlation: str
    causation: str
    trace_context: Mapping[str, str]


async def know_patient(tx: Tx, id: UUID, label: str) -> None:
    """Remember the highest label seen; in the alphabet part2 comes after general."""
    row = insert(patient).values(site=tx.site.name, id=id, label=label)
    highest = func.greatest(patient.c.label, row.excluded.label)
    await tx.execute(row.on_conflict_do_update(index_elements=["site", "id"], set_={"label": highest}))


async def label_of(tx: Tx, id: UUID) -> str:
    found = await tx.execute(select(patient.c.label).where(patient.c.site == tx.site.name, patient.c.id == id))
    return str(found.scalar_one())


async def stop_patient(tx: Tx, id: UUID) -> None:
    """Raises NotFound (PATIENT_NOT_FOUND)."""
    stopped = await tx.execute(
        update(patient)
        .where(patient.c.site == tx.site.name, patient.c.id == id)
        .values(stopped_at=func.coalesce(patient.c.stopped_at, tx.now))
        .returning(patient.c.id)
    )
    if stopped.first() is None or not tx.within(str(id)):
        raise NotFound("PATIENT_NOT_FOUND", "There is no such patient at this site.", field="patient_id")


async def withhold_queued(tx: Tx, patient_id: UUID) -> int:
    """How many were withheld; one whose hand-over has begun is not called back."""
    withheld = await tx.execute(
        update(message)
        .where(
            message.c.site == tx.site.name,
            message.c.patient_id == patient_id,
            _queued(urgent=False),
            or_(message.c.claimed_until.is_(None), message.c.claimed_until <= tx.now),
        )
        .values(status=Status.WITHHELD)
        .returning(message.c.id)
    )
    return len(withheld.all())


async def add_messages(tx: Tx, messages: Sequence[Message], trace_context: Mapping[str, str]) -> None:
    for each in messages:
        row = insert(message).values(
            site=tx.site.name,
            correlation=tx.correlation,
            causation=tx.causation,
            trace_context=dict(trace_context),
            **asdict(each),
        )
        await tx.execute(row)


async def claim_due(tx: Tx, limit: int, lease: timedelta, *, urgent: bool) -> list[Due]:
    """Messages whose time has come, no other replica's, pushed back by `lease` in case this process dies."""
    due = (
        select(message.c.site, message.c.id)
        .where(
            message.c.site == tx.site.name,
            _queued(urgent),
            message.c.next_attempt_at <= tx.now,
        )
        .order_by(message.c.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    claimed = (
        update(message)
        .where(message.c.site == due.c.site, message.c.id == due.c.id)
        .where(patient.c.site == message.c.site, patient.c.id == message.c.patient_id)
        .values(next_attempt_at=tx.now + lease, claimed_until=tx.now + lease, attempts=message.c.attempts + 1)
        .returning(message, patient.c.label, patient.c.stopped_at)
    )
    return [_due(row) for row in (await tx.execute(claimed)).mappings()]


def _due(row: RowMapping) -> Due:
    return Due(
        _message(row),
        row["label"],
        row["stopped_at"] is not None,
        row["correlation"],
        row["causation"],
        row["trace_context"],
    )


def _queued(urgent: bool) -> ColumnElement[bool]:
    page = message.c.template == Template.ESCALATION_PAGE
    return and_(message.c.status == Status.QUEUED, page if urgent else ~page)


async def save_claimed(tx: Tx, changed: Message) -> bool:
    """Whether the claim was still this process's; of one that has lapsed another attempt will tell."""
    saved = await tx.execute(
        update(message)
        .where(
            message.c.site == tx.site.name,
            message.c.id == changed.id,
            message.c.status == Status.QUEUED,
            message.c.attempts == changed.attempts,
        )
        .values(
            status=changed.status,
            release_at=changed.release_at,
            next_attempt_at=changed.next_attempt_at,
            delivered_at=changed.delivered_at,
            claimed_until=None,
        )
        .returning(message.c.id)
    )
    return saved.first() is not None


async def next_due(tx: Tx, *, urgent: bool) -> datetime | None:
    earliest = select(func.min(message.c.next_attempt_at)).where(message.c.site == tx.site.name, _queued(urgent))
    found: datetime | None = (await tx.execute(earliest)).scalar_one()
    return found


async def messages_before(tx: Tx, before: UUID | None, limit: int) -> Sequence[Message]:
    statement = (
        select(*_MESSAGE_FIELDS).where(message.c.site == tx.site.name).order_by(message.c.id.desc()).limit(limit)
    )
    if before is not None:
        statement = statement.where(message.c.id < before)
    return [_message(row) for row in (await tx.execute(statement)).mappings()]


async def add_escalation(tx: Tx, raised: Escalation) -> bool:
    """Whether it is the first one for its flag."""
    row = insert(escalation).values(site=tx.site.name, correlation=tx.correlation, **asdict(raised))
    added = await tx.execute(row.on_conflict_do_nothing().returning(escalation.c.id))
    return added.first() is not None


async def lock_escalation(tx: Tx, id: UUID) -> tuple[Escalation, str]:
    """The page and its correlation. Raises NotFound (ESCALATION_NOT_FOUND), also for another clinician's."""
    statement = select(escalation).where(escalation.c.site == tx.site.name, escalation.c.id == id).with_for_update()
    row = (await tx.execute(statement)).mappings().first()
    if row is None or not tx.within(row["clinician"]):
        raise NotFound("ESCALATION_NOT_FOUND", "There is no such page at this site.", field="escalation_id")
    return _escalation(row), row["correlation"]


async def save_escalation(tx: Tx, changed: Escalation) -> None:
    await tx.execute(
        update(escalation)
        .where(escalation.c.site == tx.site.name, escalation.c.id == changed.id)
        .values(acknowledged_at=changed.acknowledged_at, acknowledged_by=changed.acknowledged_by)
    )


async def escalations_before(tx: Tx, before: UUID | None, limit: int) -> Sequence[Escalation]:
    """Newest first; a caller whose reach is ASSIGNED sees their own."""
    statement = (
        select(*_ESCALATION_FIELDS)
        .where(escalation.c.site == tx.site.name)
        .order_by(escalation.c.id.desc())
        .limit(limit)
    )
    if tx.scope is not Scope.SITE:
        statement = statement.where(escalation.c.clinician == tx.caller.subject)
    if before is not None:
        statement = statement.where(escalation.c.id < before)
    return [_escalation(row) for row in (await tx.execute(statement)).mappings()]


def _message(row: RowMapping) -> Message:
    fields: dict[str, Any] = {column.name: row[column.name] for column in _MESSAGE_FIELDS}
    fields["channel"] = Channel(row["channel"])
    fields["template"] = Template(row["template"])
    fields["status"] = Status(row["status"])
    return Message(**fields)


def _escalation(row: RowMapping) -> Escalation:
    return Escalation(**{column.name: row[column.name] for column in _ESCALATION_FIELDS})
