"""The table of referrals, each read with its patient."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Integer, RowMapping, Select, Text, Uuid, bindparam, func, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB, insert

from stepway_chassis import records
from stepway_chassis.errors import NotFound
from stepway_chassis.pages import DuePage, Page, Place
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.people import Label, Patient
from stepway_intake.domain.referrals import Action, Referral, Source, Status, Times, Waits
from stepway_intake.store.people import PATIENT, patient, patient_values, person, related_person
from stepway_intake.store.tables import METADATA

referral = records.records(
    "referral",
    METADATA,
    Column("patient_id", Uuid),
    Column("status", Text),
    Column("related_people", JSONB),
    Column("reason", Text),
    Column("received_at", TIME),
    Column("source", Text),
    Column("sender", Text),
    Column("owner", Text),
    Column("next_action", Text),
    Column("due_at", TIME),
    Column("attempts", Integer),
    Column("missed", Integer),
    Column("contacted_at", TIME),
    Column("admitted_at", TIME),
    Column("stood", Text),
    Column("closing_reason", Text),
)
_MOVING = (
    *("status", "owner", "next_action", "due_at", "attempts", "missed", "contacted_at"),
    *("admitted_at", "stood", "closing_reason"),
)

_with_patient = (
    select(referral, patient.c.person, patient.c.label)
    .select_from(referral)
    .join(patient, (patient.c.site == referral.c.site) & (patient.c.id == referral.c.patient_id))
)
_RECEIVED = (
    *("site", "id", "patient_id", "status", "related_people", "reason", "received_at", "source", "sender"),
    *("next_action", "due_at", "attempts", "admitted_at", "closing_reason"),
)
_add = insert(referral).from_select(
    _RECEIVED, select(*(bindparam(name, type_=referral.c[name].type) for name in _RECEIVED))
)
_add_first = _add.add_cte(*PATIENT)


async def add_referral(tx: Tx, received: Referral) -> None:
    """Of somebody whom the site knows."""
    await tx.execute(_add, _values(tx, received))


async def add_first_referral(tx: Tx, received: Referral) -> None:
    """With the patient, whom the site has not known before, in one statement."""
    await tx.execute(_add_first, {**_values(tx, received), **patient_values(tx, received.patient)})


def _values(tx: Tx, received: Referral) -> dict[str, Any]:
    return {
        "site": tx.site.name,
        "id": received.id,
        "patient_id": received.patient.id,
        "status": received.status,
        "related_people": [asdict(related) for related in received.related_people],
        "reason": received.reason,
        "received_at": received.received_at,
        "source": received.source,
        "sender": received.sender,
        "next_action": received.next_action,
        "due_at": received.due_at,
        "attempts": received.attempts,
        "admitted_at": received.admitted_at,
        "closing_reason": received.closing_reason,
    }


async def find_referral(tx: Tx, id: UUID) -> Referral:
    """Raises NotFound (REFERRAL_NOT_FOUND), also for one outside the caller's reach."""
    row = (await tx.execute(_with_patient.where(records.one(tx, referral, id)))).mappings().first()
    if row is None or not tx.reaches(row["patient_id"]):
        raise NotFound("REFERRAL_NOT_FOUND", "There is no such referral at this site.", field="referral_id")
    return _referral(row)


async def lock_referral(tx: Tx, id: UUID) -> Referral:
    """Read once it is held: while this waited for it, it may have become another patient's, or Part 2."""
    await records.lock(tx, referral, id)
    return await find_referral(tx, id)


async def referrals(tx: Tx, page: Page) -> Sequence[Referral]:
    """Newest first; ids are made in the order of time."""
    statement = _with_patient.where(referral.c.site == tx.site.name).order_by(referral.c.id.desc()).limit(page.limit)
    if page.before is not None:
        statement = statement.where(referral.c.id < page.before)
    return [_referral(row) for row in (await tx.execute(statement)).mappings()]


async def save_referral(tx: Tx, changed: Referral) -> None:
    await records.save(tx, referral, changed, *_MOVING)


async def work(tx: Tx, page: DuePage, *, until: datetime, owner: str) -> Sequence[Referral]:
    """Referrals with something due before `until`, what is longest due first; of one owner, or of everybody."""
    rows = await tx.execute(work_at(tx.site.name, until=until, owner=owner, after=page.after, limit=page.limit))
    return [_referral(row) for row in rows.mappings()]


def work_at(site: str, *, until: datetime, owner: str, after: Place | None, limit: int) -> Select[Any]:
    """The page is cut from its index before anything else is read."""
    due = select(referral).where(referral.c.site == site, referral.c.due_at < until)
    if owner:
        due = due.where(referral.c.owner == owner)
    if after is not None:
        due = due.where(tuple_(referral.c.due_at, referral.c.id) > tuple_(after.due_at, after.id))
    page = due.order_by(referral.c.due_at, referral.c.id).limit(limit).subquery("page")
    joined = (patient.c.site == page.c.site) & (patient.c.id == page.c.patient_id)
    statement = select(page, patient.c.person, patient.c.label).join(patient, joined)
    return statement.order_by(page.c.due_at, page.c.id)


async def times(tx: Tx, start: datetime, end: datetime) -> Times:
    """Of the referrals received from `start` on and before `end`."""
    waits = [column - referral.c.received_at for column in (referral.c.contacted_at, referral.c.admitted_at)]
    figures = [
        figure
        for wait in waits
        for figure in (
            func.count(wait),
            func.percentile_cont(0.5).within_group(wait),
            func.percentile_cont(0.9).within_group(wait),
        )
    ]
    received = (referral.c.received_at >= start, referral.c.received_at < end)
    statement = select(func.count(), *figures).where(referral.c.site == tx.site.name, *received)
    found = (await tx.execute(statement)).one()
    return Times(found[0], _waits(found[1:4]), _waits(found[4:]))


def _waits(figures: Sequence[Any]) -> Waits:
    count, median, percentile_90 = figures
    return Waits(count, median, percentile_90)


async def first_referral(tx: Tx, patient_id: UUID) -> str:
    """The journey that a patient is on."""
    ids = select(func.min(referral.c.id.cast(Text))).where(
        referral.c.site == tx.site.name, referral.c.patient_id == patient_id
    )
    return str((await tx.execute(ids)).scalar_one())


async def is_on_the_way(tx: Tx, patient_id: UUID) -> bool:
    """Whether something is still to be done about any referral of theirs."""
    theirs = (referral.c.patient_id == patient_id, referral.c.next_action.is_not(None))
    statement = select(referral.c.id).where(referral.c.site == tx.site.name, *theirs).limit(1)
    return (await tx.execute(statement)).first() is not None


def _referral(row: RowMapping) -> Referral:
    return Referral(
        id=row["id"],
        patient=Patient(row["patient_id"], person(row["person"]), Label(row["label"])),
        status=Status(row["status"]),
        related_people=tuple(related_person(related) for related in row["related_people"]),
        reason=row["reason"],
        received_at=row["received_at"],
        source=Source(row["source"]) if row["source"] else None,
        sender=row["sender"],
        owner=row["owner"],
        next_action=Action(row["next_action"]) if row["next_action"] else None,
        due_at=row["due_at"],
        attempts=row["attempts"],
        missed=row["missed"],
        contacted_at=row["contacted_at"],
        admitted_at=row["admitted_at"],
        stood=Status(row["stood"]) if row["stood"] else None,
        closing_reason=row["closing_reason"],
    )
