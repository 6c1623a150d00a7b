"""Tracks, seats, and the line for one."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from stepway_chassis.errors import Conflict


class Daypart(StrEnum):
    MORNING = "morning"
    AFTERNOON = "afternoon"
    EVENING = "evening"
    WEEKEND = "weekend"


class Status(StrEnum):
    WAITLISTED = "waitlisted"
    CONFIRMED = "confirmed"
    ENDED = "ended"


@dataclass(frozen=True)
class Track:
    """A group that goes through the programme together; never more than `seats` are taken."""

    id: UUID
    name: str
    daypart: Daypart
    seats: int
    seats_taken: int = 0


@dataclass(frozen=True)
class Admission:
    """Whom intake has taken in; `availability` is when they can come, the best first."""

    id: UUID
    patient_id: UUID
    availability: tuple[Daypart, ...]
    admitted_at: datetime


@dataclass(frozen=True)
class Enrollment:
    """Somebody's seat, or place in the line; the line goes by `admitted_at`, then `id`."""

    id: UUID
    admission_id: UUID
    patient_id: UUID
    availability: tuple[Daypart, ...]
    status: Status
    admitted_at: datetime
    track_id: UUID | None = None
    confirmed_at: datetime | None = None
    ended_at: datetime | None = None


def queue(admission: Admission, *, id: UUID) -> Enrollment:
    """Everybody begins in the line; whoever finds a free seat leaves it at once."""
    return Enrollment(
        id=id,
        admission_id=admission.id,
        patient_id=admission.patient_id,
        availability=admission.availability,
        status=Status.WAITLISTED,
        admitted_at=admission.admitted_at,
    )


def confirm(enrollment: Enrollment, *, track_id: UUID, at: datetime) -> Enrollment:
    return replace(enrollment, status=Status.CONFIRMED, track_id=track_id, confirmed_at=at)


def end(enrollment: Enrollment, *, at: datetime) -> Enrollment:
    """Give the seat, or the place in the line, back. Raises Conflict (ENROLLMENT_ALREADY_ENDED)."""
    if enrollment.status is Status.ENDED:
        raise Conflict("ENROLLMENT_ALREADY_ENDED", "This enrolment has ended; list enrolments to see the others.")
    return replace(enrollment, status=Status.ENDED, ended_at=at)
