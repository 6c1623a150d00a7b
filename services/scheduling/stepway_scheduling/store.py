"""The tables of scheduling, and what is read from and written to them inside an open transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from uuid import UUID

from sqlalchemy import ARRAY, Column, Integer, MetaData, RowMapping, Text, Uuid, any_, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert

from stepway_chassis import records
from stepway_chassis.errors import NotFound
from stepway_chassis.pages import Page
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_scheduling.domain import Daypart, Enrollment, Status, Track

_metadata = MetaData()

track = records.records(
    "track",
    _metadata,
    Column("name", Text),
    Column("daypart", Text),
    Column("seats", Integer),
    Column("seats_taken", Integer),
)
enrollment = records.records(
    "enrollment",
    _metadata,
    Column("admission_id", Uuid),
    Column("patient_id", Uuid),
    Column("availability", ARRAY(Text)),
    Column("status", Text),
    Column("admitted_at", TIME),
    Column("track_id", Uuid),
    Column("confirmed_at", TIME),
    Column("ended_at", TIME),
    Column("correlation", Text),
)

_HOLD_LINE = text("SELECT pg_advisory_xact_lock(hashtextextended('line/' || :site, 0))")
_TAKE_SEAT = text(
    "UPDATE track SET seats_taken = seats_taken + 1 WHERE site = :site AND seats_taken < seats AND id = ("
    " SELECT id FROM track WHERE site = :site AND daypart = :daypart AND seats_taken < seats ORDER BY id LIMIT 1)"
    " RETURNING id"
)
_FREE_SEAT = text(
    "UPDATE track SET seats_taken = seats_taken - 1 WHERE site = :site AND id = :id AND seats_taken > 0"
    " RETURNING daypart"
)


async def hold_line(tx: Tx) -> None:
    """Whoever gives or frees a seat or enters the line does so alone, one site at a time, until the commit.

    So this holds after every commit: no seat is free that somebody in the line could take. Without it, a newcomer who
    sees no free seat could enter the line just after somebody who leaves has seen that nobody waits.
    """
    await tx.execute(_HOLD_LINE, {"site": tx.site.name})


async def add_track(tx: Tx, opened: Track) -> None:
    await records.add(tx, track, opened)


async def find_track(tx: Tx, id: UUID) -> Track:
    row = await records.find(tx, track, id)
    assert row is not None
    return records.read(Track, row)


async def tracks(tx: Tx, page: Page) -> Sequence[Track]:
    return [records.read(Track, row) for row in (await tx.execute(records.newest(tx, track, page))).mappings()]


async def take_seat(tx: Tx, dayparts: Iterable[Daypart]) -> UUID | None:
    """Take a seat of the oldest track that has one free, in the first of these parts of the week that has any."""
    for daypart in dayparts:
        taken = await tx.execute(_TAKE_SEAT, {"site": tx.site.name, "daypart": daypart})
        row = taken.first()
        if row is not None:
            return UUID(str(row.id))
    return None


async def free_seat(tx: Tx, track_id: UUID) -> Daypart:
    freed = await tx.execute(_FREE_SEAT, {"site": tx.site.name, "id": track_id})
    return Daypart(freed.scalar_one())


async def first_in_line(tx: Tx, daypart: Daypart) -> tuple[Enrollment, str] | None:
    """Whoever has waited longest for this part of the week, and the journey that they are on."""
    waiting = (
        select(enrollment)
        .where(enrollment.c.site == tx.site.name, enrollment.c.status == Status.WAITLISTED)
        .where(literal(daypart.value) == any_(enrollment.c.availability))
        .order_by(enrollment.c.admitted_at, enrollment.c.id)
        .limit(1)
    )
    row = (await tx.execute(waiting)).mappings().first()
    return None if row is None else (records.read(Enrollment, row), row["correlation"])


async def add_enrollment(tx: Tx, queued: Enrollment) -> bool:
    """Whether it is the first one for its admission."""
    row = insert(enrollment).values(site=tx.site.name, correlation=tx.correlation, **asdict(queued))
    added = await tx.execute(row.on_conflict_do_nothing().returning(enrollment.c.id))
    return added.first() is not None


async def save_enrollment(tx: Tx, changed: Enrollment) -> None:
    await records.save(tx, enrollment, changed, "status", "track_id", "confirmed_at", "ended_at")


async def move_enrollments(tx: Tx, gone: UUID, kept: UUID) -> None:
    """To whom a patient is by now."""
    theirs = (enrollment.c.site == tx.site.name, enrollment.c.patient_id == gone)
    await tx.execute(update(enrollment).where(*theirs).values(patient_id=kept))


async def find_enrollment(tx: Tx, id: UUID) -> Enrollment:
    """Raises NotFound (ENROLLMENT_NOT_FOUND), also for one outside the caller's reach."""
    return records.read(Enrollment, _there(tx, await records.find(tx, enrollment, id)))


async def lock_enrollment(tx: Tx, id: UUID) -> tuple[Enrollment, str]:
    """The enrolment and its correlation. Raises NotFound (ENROLLMENT_NOT_FOUND)."""
    row = _there(tx, await records.lock(tx, enrollment, id))
    return records.read(Enrollment, row), row["correlation"]


async def lock_enrollment_of(tx: Tx, admission_id: UUID) -> Enrollment:
    """The one that an admission has led to."""
    theirs = (enrollment.c.site == tx.site.name, enrollment.c.admission_id == admission_id)
    row = (await tx.execute(select(enrollment).where(*theirs).with_for_update())).mappings().one()
    return records.read(Enrollment, row)


def _there(tx: Tx, row: RowMapping | None) -> RowMapping:
    if row is None or not tx.reaches(row["patient_id"]):
        raise NotFound("ENROLLMENT_NOT_FOUND", "There is no such enrolment at this site.", field="enrollment_id")
    return row


async def enrollments(tx: Tx, page: Page, status: Status | None) -> Sequence[Enrollment]:
    statement = records.newest(tx, enrollment, page)
    if status is not None:
        statement = statement.where(enrollment.c.status == status)
    return [records.read(Enrollment, row) for row in (await tx.execute(statement)).mappings()]
