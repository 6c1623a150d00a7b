"""Family groups, who is linked to whom by consent, and who is invited."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from stepway_chassis.errors import InvalidInput


@dataclass(frozen=True)
class Origin:
    """The event that something goes back to: when it was made, its journey, and the trace that it belongs to."""

    at: datetime
    correlation: str
    causation: str
    trace_context: Mapping[str, str]


@dataclass(frozen=True)
class Group:
    """One evening for families; never more than `seats` are taken."""

    id: UUID
    starts_at: datetime
    minutes: int
    seats: int
    seats_taken: int = 0


@dataclass(frozen=True)
class Expected:
    """A family member whom a consent names, whose patient is in the programme, and who has no group to come to."""

    consent_id: UUID
    family_member_id: UUID
    patient_id: UUID
    origin: Origin


@dataclass(frozen=True)
class Invitation:
    id: UUID
    family_member_id: UUID
    patient_id: UUID
    family_group_id: UUID
    starts_at: datetime
    invited_at: datetime


def plan(group: Group, *, now: datetime) -> Group:
    """Raises InvalidInput (STARTS_IN_PAST)."""
    if group.starts_at <= now:
        raise InvalidInput("STARTS_IN_PAST", "Give a time that is still to come.", field="starts_at")
    return group


def later(one: Origin, other: Origin) -> Origin:
    """Whichever made the pair whole: the invitation belongs to its story."""
    return max(one, other, key=lambda origin: (origin.at, origin.causation))


def invite(expected: Expected, group: Group, *, id: UUID, now: datetime) -> Invitation:
    return Invitation(
        id=id,
        family_member_id=expected.family_member_id,
        patient_id=expected.patient_id,
        family_group_id=group.id,
        starts_at=group.starts_at,
        invited_at=now,
    )
