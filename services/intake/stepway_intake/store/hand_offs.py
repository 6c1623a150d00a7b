"""The tables of hand-offs and of the attempts to reach a provider."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, Integer, RowMapping, Text, Uuid, exists, select

from stepway_chassis import records
from stepway_chassis.errors import NotFound
from stepway_chassis.pages import Page
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.hand_offs import Attempt, End, HandOff, Status
from stepway_intake.domain.referrals import Referral
from stepway_intake.store.tables import METADATA

MOST_ATTEMPTS = 100

hand_off = records.records(
    "hand_off",
    METADATA,
    Column("referral_id", Uuid),
    Column("patient_id", Uuid),
    Column("level", Text),
    Column("provider_name", Text),
    Column("provider_phone", Text),
    Column("provider_email", Text),
    Column("note", Text),
    Column("status", Text),
    Column("due_at", TIME),
    Column("started_by", Text),
    Column("started_at", TIME),
    Column("attempts", Integer),
    Column("last_attempt_at", TIME),
    Column("closed_by", Text),
    Column("closed_at", TIME),
    Column("confirmed_with", Text),
    Column("appointment_at", TIME),
    Column("end_reason", Text),
    Column("end_text", Text),
)
hand_off_attempt = records.records(
    "hand_off_attempt",
    METADATA,
    Column("hand_off_id", Uuid),
    Column("outcome", Text),
    Column("note", Text),
    Column("made_by", Text),
    Column("made_at", TIME),
)
_CHANGES = (
    *("status", "attempts", "last_attempt_at", "closed_by", "closed_at"),
    *("confirmed_with", "appointment_at", "end_reason", "end_text"),
)


async def add_hand_off(tx: Tx, started: HandOff) -> None:
    await records.add(tx, hand_off, started)


async def is_open(tx: Tx, referral: Referral) -> bool:
    """Whether somebody is at it already; the referral is locked."""
    found = exists().where(
        hand_off.c.site == tx.site.name, hand_off.c.referral_id == referral.id, hand_off.c.status == Status.OPEN
    )
    return bool((await tx.execute(select(found))).scalar_one())


async def find_hand_off(tx: Tx, id: UUID) -> HandOff:
    """Raises NotFound (HAND_OFF_NOT_FOUND)."""
    return _found(tx, await records.find(tx, hand_off, id))


async def lock_hand_off(tx: Tx, id: UUID) -> HandOff:
    return _found(tx, await records.lock(tx, hand_off, id))


def _found(tx: Tx, row: RowMapping | None) -> HandOff:
    if row is None or not tx.reaches(row["patient_id"]):
        raise NotFound("HAND_OFF_NOT_FOUND", "There is no such hand-off at this site.", field="hand_off_id")
    return _hand_off(row)


async def save_hand_off(tx: Tx, changed: HandOff) -> None:
    await records.save(tx, hand_off, changed, *_CHANGES)


async def hand_offs(tx: Tx, page: Page, *, open_only: bool, due_before: datetime | None) -> Sequence[HandOff]:
    statement = records.newest(tx, hand_off, page)
    if open_only:
        statement = statement.where(hand_off.c.status == Status.OPEN)
    if due_before is not None:
        statement = statement.where(hand_off.c.due_at < due_before)
    return [_hand_off(row) for row in (await tx.execute(statement)).mappings()]


async def add_attempt(tx: Tx, made: Attempt) -> None:
    await records.add(tx, hand_off_attempt, made)


async def attempts_of(tx: Tx, tried: HandOff) -> Sequence[Attempt]:
    """The newest first."""
    statement = records.newest(tx, hand_off_attempt, Page(None, MOST_ATTEMPTS - 1)).where(
        hand_off_attempt.c.hand_off_id == tried.id
    )
    return [records.read(Attempt, row) for row in (await tx.execute(statement)).mappings()]


def _hand_off(row: RowMapping) -> HandOff:
    reason = row["end_reason"]
    return replace(records.read(HandOff, row), end_reason=None if reason is None else End(reason))
