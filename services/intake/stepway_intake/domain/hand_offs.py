"""Hand-offs: somebody is helped elsewhere, and the task stays open until the receiving provider has confirmed."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from stepway_chassis.errors import Conflict, InvalidInput
from stepway_intake.domain.levels_of_care import LevelOfCare
from stepway_intake.domain.referrals import Referral
from stepway_intake.domain.referrals import Status as ReferralStatus

LONGEST = timedelta(days=30)


class Status(StrEnum):
    OPEN = "open"
    CONFIRMED = "confirmed"
    ENDED = "ended"


class AttemptOutcome(StrEnum):
    NO_ANSWER = "no_answer"
    MESSAGE_LEFT = "message_left"
    SPOKEN = "spoken"


class End(StrEnum):
    """Why one came to nothing."""

    PROVIDER_DECLINED = "provider_declined"
    PATIENT_DECLINED = "patient_declined"
    PATIENT_UNREACHABLE = "patient_unreachable"
    IN_CARE_ELSEWHERE = "in_care_elsewhere"
    OTHER = "other"


@dataclass(frozen=True)
class HandOff:
    """`due_at` is when the provider should have confirmed; `confirmed_with` is who there has."""

    id: UUID
    referral_id: UUID
    patient_id: UUID
    level: LevelOfCare
    provider_name: str
    provider_phone: str
    provider_email: str
    note: str
    due_at: datetime
    started_by: str
    started_at: datetime
    status: Status = Status.OPEN
    attempts: int = 0
    last_attempt_at: datetime | None = None
    closed_by: str | None = None
    closed_at: datetime | None = None
    confirmed_with: str | None = None
    appointment_at: datetime | None = None
    end_reason: End | None = None
    end_text: str | None = None


@dataclass(frozen=True)
class Attempt:
    id: UUID
    hand_off_id: UUID
    outcome: AttemptOutcome
    note: str
    made_by: str
    made_at: datetime


@dataclass(frozen=True)
class Provider:
    """Who is asked to take somebody; `phone` (E.164) and `email` may be empty."""

    name: str
    phone: str
    email: str


def start(
    referral: Referral,
    level: LevelOfCare | None,
    provider: Provider,
    *,
    id: UUID,
    is_open: bool,
    due_at: datetime,
    note: str,
    by: str,
    at: datetime,
) -> HandOff:
    """`is_open` tells whether another one of this referral is.

    Raises Conflict (ALREADY_ADMITTED, LEVEL_OF_CARE_UNDECIDED, HAND_OFF_ALREADY_OPEN) and InvalidInput (DUE_IN_PAST,
    DUE_TOO_LATE).
    """
    if referral.status is ReferralStatus.ADMITTED:
        raise Conflict("ALREADY_ADMITTED", "This referral has led to an admission.")
    if level is None:
        raise Conflict("LEVEL_OF_CARE_UNDECIDED", "Have a clinician decide on the level of care first.")
    if is_open:
        raise Conflict("HAND_OFF_ALREADY_OPEN", "End the one that is open first; list hand-offs to see it.")
    if due_at <= at:
        raise InvalidInput("DUE_IN_PAST", "Give a time that is still to come.", field="due_at")
    if due_at > at + LONGEST:
        raise InvalidInput("DUE_TOO_LATE", "Give a time within the next 30 days.", field="due_at")
    contact = (provider.name, provider.phone, provider.email)
    return HandOff(id, referral.id, referral.patient.id, level, *contact, note, due_at, by, at)


def attempt(
    hand_off: HandOff, *, id: UUID, outcome: AttemptOutcome, note: str, by: str, at: datetime
) -> tuple[HandOff, Attempt]:
    """Raises Conflict (HAND_OFF_ALREADY_CLOSED)."""
    _must_be_open(hand_off)
    made = Attempt(id, hand_off.id, outcome, note, by, at)
    return replace(hand_off, attempts=hand_off.attempts + 1, last_attempt_at=at), made


def confirm(
    hand_off: HandOff, *, confirmed_with: str, appointment_at: datetime | None, by: str, at: datetime
) -> HandOff:
    """Raises Conflict (HAND_OFF_ALREADY_CLOSED)."""
    _must_be_open(hand_off)
    return replace(
        hand_off,
        status=Status.CONFIRMED,
        confirmed_with=confirmed_with,
        appointment_at=appointment_at,
        closed_by=by,
        closed_at=at,
    )


def end(hand_off: HandOff, *, reason: End, text: str, by: str, at: datetime) -> HandOff:
    """Raises Conflict (HAND_OFF_ALREADY_CLOSED)."""
    _must_be_open(hand_off)
    return replace(hand_off, status=Status.ENDED, end_reason=reason, end_text=text, closed_by=by, closed_at=at)


def _must_be_open(hand_off: HandOff) -> None:
    if hand_off.status is not Status.OPEN:
        raise Conflict("HAND_OFF_ALREADY_CLOSED", "It was confirmed or ended; read it to see which.")
