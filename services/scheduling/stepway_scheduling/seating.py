"""What becomes of a seat: whoever comes in takes one or waits, and a free one goes to the first in line."""

from stepway_chassis import labels, outbox
from stepway_chassis.transaction import Tx
from stepway_scheduling import domain, store, wire
from stepway_scheduling.domain import Daypart, Enrollment, Status


async def enrol(tx: Tx, queued: Enrollment) -> None:
    """Once for each admission: a seat in the first part of the week that has one, or a place in the line."""
    await store.hold_line(tx)
    if not await store.add_enrollment(tx, queued):
        return
    track_id = await store.take_seat(tx, queued.availability)
    label = await labels.of(tx, queued.patient_id)
    if track_id is None:
        outbox.append(tx, wire.enrollment_waitlisted(queued, tx.now), label=label)
    else:
        seated = domain.confirm(queued, track_id=track_id, at=tx.now)
        await store.save_enrollment(tx, seated)
        outbox.append(tx, wire.enrollment_confirmed(seated), label=label)


async def leave(tx: Tx, queued: Enrollment) -> None:
    """Whoever is not admitted any more has no seat and no place in the line, whichever is heard of first."""
    await store.hold_line(tx)
    await store.add_enrollment(tx, queued)
    enrollment = await store.lock_enrollment_of(tx, queued.admission_id)
    if enrollment.status is not Status.ENDED:
        await end(tx, enrollment)


async def end(tx: Tx, enrollment: Enrollment) -> Enrollment:
    """Give the seat, or the place in the line, back. The caller holds the line.

    Raises Conflict (ENROLLMENT_ALREADY_ENDED).
    """
    ended = domain.end(enrollment, at=tx.now)
    await store.save_enrollment(tx, ended)
    label = await labels.of(tx, ended.patient_id)
    outbox.append(tx, wire.enrollment_ended(ended), label=label)
    if enrollment.status is Status.CONFIRMED and enrollment.track_id:
        await fill(tx, await store.free_seat(tx, enrollment.track_id))
    return ended


async def fill(tx: Tx, daypart: Daypart) -> None:
    """Seat those who wait for this part of the week, the first in line first, while a seat is free.

    The caller holds the line. Each event carries the journey of the person whom it is about.
    """
    while waiting := await store.first_in_line(tx, daypart):
        track_id = await store.take_seat(tx, [daypart])
        if track_id is None:
            return
        queued, tx.correlation = waiting
        tx.concerns(queued.patient_id)
        seated = domain.confirm(queued, track_id=track_id, at=tx.now)
        await store.save_enrollment(tx, seated)
        label = await labels.of(tx, seated.patient_id)
        outbox.append(tx, wire.enrollment_confirmed(seated), label=label)
