"""The tables of notifications, and what is read from and written to them inside an open transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Integer,
    MetaData,
    RowMapping,
    Select,
    Table,
    Text,
    Uuid,
    and_,
    any_,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert

from stepway_chassis import records
from stepway_chassis.call import Scope
from stepway_chassis.errors import NotFound
from stepway_chassis.pages import Page
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_notifications.domain.escalations import Escalation, Taken
from stepway_notifications.domain.messages import Contact, Message, Status
from stepway_notifications.domain.words import Template

_metadata = MetaData()

patient = records.records("patient", _metadata, Column("stopped_at", TIME))
family_member = records.records("family_member", _metadata, Column("patient_id", Uuid), Column("stopped_at", TIME))
message = records.records(
    "message",
    _metadata,
    Column("patient_id", Uuid),
    Column("channel", Text),
    Column("address", Text),
    Column("template", Text),
    Column("body", Text),
    Column("status", Text),
    Column("release_at", TIME),
    Column("expires_at", TIME),
    Column("next_attempt_at", TIME),
    Column("claimed_until", TIME),
    Column("attempts", Integer),
    Column("delivered_at", TIME),
    Column("family_member_id", Uuid),
    Column("escalation_id", Uuid),
    Column("created_at", TIME),
    Column("correlation", Text),
    Column("causation", Text),
    Column("trace_context", JSONB),
)
escalation = records.records(
    "escalation",
    _metadata,
    Column("risk_flag_id", Uuid),
    Column("patient_id", Uuid),
    Column("clinicians", ARRAY(Text)),
    Column("pages", Integer),
    Column("raised_at", TIME),
    Column("next_page_at", TIME),
    Column("acknowledged_at", TIME),
    Column("acknowledged_by", Text),
    Column("paged_at", TIME),
    Column("correlation", Text),
    Column("trace_context", JSONB),
)
taken_flag = records.records("taken_flag", _metadata, Column("taken_by", Text), Column("taken_at", TIME))
_HOLD_FLAG = text("SELECT pg_advisory_xact_lock(hashtextextended('flag/' || :site || '/' || :id, 0))")


@dataclass(frozen=True)
class Due:
    """A message whose time has come, whether its person wants none, and the journey that it belongs to."""

    message: Message
    stopped: bool
    correlation: str
    causation: str
    trace_context: Mapping[str, str]


async def know_patient(tx: Tx, id: UUID) -> None:
    await tx.execute(insert(patient).values(site=tx.site.name, id=id).on_conflict_do_nothing())


async def know_family_member(tx: Tx, id: UUID, patient_id: UUID) -> None:
    row = insert(family_member).values(site=tx.site.name, id=id, patient_id=patient_id)
    await tx.execute(row.on_conflict_do_nothing())


async def move_patient(tx: Tx, gone: UUID, kept: UUID) -> None:
    """What was written about somebody, to whom they are by now; who has wanted no messages wants none."""
    await know_patient(tx, kept)
    for table in (message, escalation, family_member):
        theirs = (table.c.site == tx.site.name, table.c.patient_id == gone)
        await tx.execute(update(table).where(*theirs).values(patient_id=kept))
    went = await tx.execute(delete(patient).where(records.one(tx, patient, gone)).returning(patient.c.stopped_at))
    if (row := went.first()) is not None:
        earlier = func.least(patient.c.stopped_at, row.stopped_at)
        await tx.execute(update(patient).where(records.one(tx, patient, kept)).values(stopped_at=earlier))


async def stop_patient(tx: Tx, id: UUID) -> UUID:
    """Raises NotFound (PATIENT_NOT_FOUND)."""
    if await records.find(tx, patient, id) is None or not tx.reaches(id):
        raise NotFound("PATIENT_NOT_FOUND", "There is no such patient at this site.", field="patient_id")
    await _stop(tx, patient, id)
    return id


async def stop_family_member(tx: Tx, id: UUID) -> UUID:
    """Whose patient they are. Raises NotFound (FAMILY_MEMBER_NOT_FOUND)."""
    row = await records.find(tx, family_member, id)
    if row is None or not tx.reaches(row["patient_id"], held_by=str(id)):
        nobody = "Nothing was ever written to such a person at this site."
        raise NotFound("FAMILY_MEMBER_NOT_FOUND", nobody, field="family_member_id")
    await _stop(tx, family_member, id)
    return UUID(str(row["patient_id"]))


async def _stop(tx: Tx, table: Table, id: UUID) -> None:
    stopped_at = func.coalesce(table.c.stopped_at, tx.now)
    await tx.execute(update(table).where(records.one(tx, table, id)).values(stopped_at=stopped_at))


async def withhold_from_patient(tx: Tx, id: UUID) -> int:
    """How many were withheld at once; one that is claimed is asked about before it goes."""
    return await _end_queued(tx, Status.WITHHELD, _to_patient(id))


async def withhold_from_former_addresses(tx: Tx, id: UUID, reached_at: Collection[Contact]) -> None:
    """What waits for a patient at any other address than these."""
    addresses = [(each.channel, each.address) for each in reached_at]
    elsewhere = tuple_(message.c.channel, message.c.address).not_in(addresses)
    await _end_queued(tx, Status.WITHHELD, _to_patient(id), elsewhere)


def _to_patient(id: UUID) -> ColumnElement[bool]:
    return and_(message.c.patient_id == id, message.c.family_member_id.is_(None), _queued(urgent=False))


async def withhold_from_family_member(tx: Tx, id: UUID) -> int:
    return await _end_queued(tx, Status.WITHHELD, message.c.family_member_id == id, _queued(urgent=False))


async def call_off_pages(tx: Tx, escalation_id: UUID) -> None:
    """Somebody has taken it: a page that still waits would come too late to be of use."""
    await _end_queued(tx, Status.EXPIRED, message.c.escalation_id == escalation_id, _queued(urgent=True))


async def _end_queued(tx: Tx, status: Status, *which: ColumnElement[bool]) -> int:
    unclaimed = or_(message.c.claimed_until.is_(None), message.c.claimed_until <= tx.now)
    ended = update(message).where(message.c.site == tx.site.name, unclaimed, *which).values(status=status)
    return len((await tx.execute(ended.returning(message.c.id))).all())


async def add_messages(tx: Tx, messages: Sequence[Message], trace_context: Mapping[str, str]) -> None:
    story = {"correlation": tx.correlation, "causation": tx.causation, "trace_context": dict(trace_context)}
    for each in messages:
        await records.add(tx, message, each, **story)


async def claim_due(tx: Tx, limit: int, lease: timedelta, *, urgent: bool) -> list[Due]:
    """Messages whose time has come, no other replica's, pushed back by `lease` in case this process dies."""
    due = (
        select(message.c.site, message.c.id)
        .where(message.c.site == tx.site.name, _queued(urgent), message.c.next_attempt_at <= tx.now)
        .order_by(message.c.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    claimed = (
        update(message)
        .where(message.c.site == due.c.site, message.c.id == due.c.id)
        .values(next_attempt_at=tx.now + lease, claimed_until=tx.now + lease, attempts=message.c.attempts + 1)
        .returning(message, _stopped_at().label("stopped_at"))
    )
    return [_due(row) for row in (await tx.execute(claimed)).mappings()]


async def is_stopped(tx: Tx, to: Message) -> bool:
    """Whether whoever the message goes to wants none."""
    stopped_at = select(_stopped_at()).where(records.one(tx, message, to.id))
    return (await tx.execute(stopped_at)).scalar_one() is not None


def _stopped_at() -> ColumnElement[datetime]:
    """Of whoever the message goes to."""
    to_patient, to_family = (
        select(table.c.stopped_at).where(table.c.site == message.c.site, table.c.id == id).scalar_subquery()
        for table, id in ((patient, message.c.patient_id), (family_member, message.c.family_member_id))
    )
    return case((message.c.family_member_id.is_(None), to_patient), else_=to_family)


def _due(row: RowMapping) -> Due:
    return Due(
        records.read(Message, row),
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


async def messages(tx: Tx, page: Page) -> Sequence[Message]:
    return [records.read(Message, row) for row in (await tx.execute(records.newest(tx, message, page))).mappings()]


async def add_escalation(tx: Tx, raised: Escalation, trace_context: Mapping[str, str]) -> bool:
    """Whether it is the first one for its flag."""
    story = {"correlation": tx.correlation, "trace_context": dict(trace_context)}
    row = insert(escalation).values(site=tx.site.name, **asdict(raised), **story)
    added = await tx.execute(row.on_conflict_do_nothing().returning(escalation.c.id))
    return added.first() is not None


async def escalation_about(tx: Tx, risk_flag_id: UUID) -> Escalation:
    return records.read(Escalation, (await tx.execute(_about(tx, risk_flag_id))).mappings().one())


async def lock_escalation_about(tx: Tx, risk_flag_id: UUID) -> Escalation | None:
    row = (await tx.execute(_about(tx, risk_flag_id).with_for_update())).mappings().first()
    return None if row is None else records.read(Escalation, row)


def _about(tx: Tx, risk_flag_id: UUID) -> Select[Any]:
    return select(escalation).where(escalation.c.site == tx.site.name, escalation.c.risk_flag_id == risk_flag_id)


async def hold_flag(tx: Tx, id: UUID) -> None:
    """Whoever raises a page about a flag, or hears that it was taken, does so alone, until the commit."""
    await tx.execute(_HOLD_FLAG, {"site": tx.site.name, "id": str(id)})


async def keep_taken(tx: Tx, taken: Taken) -> None:
    await tx.execute(insert(taken_flag).values(site=tx.site.name, **asdict(taken)).on_conflict_do_nothing())


async def find_taken(tx: Tx, id: UUID) -> Taken | None:
    row = await records.find(tx, taken_flag, id)
    return None if row is None else records.read(Taken, row)


async def lock_escalation(tx: Tx, id: UUID) -> tuple[Escalation, str]:
    """The page and its correlation. Raises NotFound (ESCALATION_NOT_FOUND), also for who was not paged about it."""
    row = await records.lock(tx, escalation, id)
    if row is None or not any(tx.reaches(row["patient_id"], held_by=clinician) for clinician in row["clinicians"]):
        raise NotFound("ESCALATION_NOT_FOUND", "There is no such page at this site.", field="escalation_id")
    return records.read(Escalation, row), row["correlation"]


async def save_escalation(tx: Tx, changed: Escalation) -> None:
    fields = ("clinicians", "pages", "next_page_at", "acknowledged_at", "acknowledged_by")
    await records.save(tx, escalation, changed, *fields)


async def note_paged(tx: Tx, id: UUID, at: datetime | None) -> None:
    """A channel has taken a page about it; the first time counts."""
    paged_at = func.coalesce(escalation.c.paged_at, at)
    await tx.execute(update(escalation).where(records.one(tx, escalation, id)).values(paged_at=paged_at))


async def unanswered(tx: Tx) -> list[tuple[UUID, Mapping[str, str], datetime]]:
    """Whose next page is due: the id, the trace that it belongs to, since when."""
    statement = select(escalation).where(escalation.c.site == tx.site.name, escalation.c.next_page_at <= tx.now)
    rows = (await tx.execute(statement.order_by(escalation.c.next_page_at))).mappings()
    return [(row["id"], row["trace_context"], row["raised_at"]) for row in rows]


async def next_page(tx: Tx) -> datetime | None:
    earliest = select(func.min(escalation.c.next_page_at)).where(escalation.c.site == tx.site.name)
    found: datetime | None = (await tx.execute(earliest)).scalar_one()
    return found


async def escalations(tx: Tx, page: Page) -> Sequence[Escalation]:
    """Newest first; a caller whose reach is ASSIGNED sees those that they were paged about."""
    statement = records.newest(tx, escalation, page)
    if tx.scope is not Scope.SITE:
        statement = statement.where(literal(tx.caller.subject) == any_(escalation.c.clinicians))
    return [records.read(Escalation, row) for row in (await tx.execute(statement)).mappings()]
