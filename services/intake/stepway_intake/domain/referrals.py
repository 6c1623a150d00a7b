"""Referrals: where one stands, what has to be done next about it, by when, and how it moves on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from stepway_chassis.errors import Conflict, InvalidInput
from stepway_intake.domain.people import Patient, RelatedPerson, check_person

LONGEST_DUE_HOURS = 90 * 24
LONGEST_PERIOD = timedelta(days=366)


class Status(StrEnum):
    RECEIVED = "received"
    CONTACTED = "contacted"
    SCREENING = "screening"
    ASSESSMENT = "assessment"
    DECIDED = "decided"
    WAITLISTED = "waitlisted"
    ADMITTED = "admitted"
    REFERRED_OUT = "referred_out"
    DECLINED = "declined"
    UNREACHABLE = "unreachable"


class Source(StrEnum):
    SELF = "self"
    FAMILY = "family"
    HOSPITAL = "hospital"
    PRIMARY_CARE = "primary_care"
    SCHOOL = "school"
    COURT = "court"
    OTHER_PROGRAM = "other_program"
    WEBSITE = "website"
    PHONE = "phone"


class Action(StrEnum):
    """What has to be done next."""

    CONTACT = "contact"
    SCREEN = "screen"
    ASSESS = "assess"
    DECIDE = "decide"
    ADMIT = "admit"
    REFER_OUT = "refer_out"
    KEEP_IN_TOUCH = "keep_in_touch"
    CONFIRM_HAND_OFF = "confirm_hand_off"


_EARLY = (Status.RECEIVED, Status.CONTACTED, Status.SCREENING, Status.ASSESSMENT)
OPEN = (*_EARLY, Status.DECIDED, Status.WAITLISTED)
"""Where a referral goes on from."""
_DECIDED = (Status.DECIDED, Status.WAITLISTED)
"""Where a clinician may decide again: whoever is admitted has what was decided on."""
_FROM: Mapping[Status, tuple[Status, ...]] = {
    Status.CONTACTED: (Status.RECEIVED,),
    Status.SCREENING: (Status.RECEIVED, Status.CONTACTED),
    Status.ASSESSMENT: (Status.RECEIVED, Status.CONTACTED, Status.SCREENING),
    Status.DECIDED: (Status.SCREENING, Status.ASSESSMENT),
    Status.WAITLISTED: (Status.ADMITTED,),
    Status.ADMITTED: (Status.DECIDED, Status.WAITLISTED),
    Status.REFERRED_OUT: (Status.DECIDED, Status.WAITLISTED),
    Status.DECLINED: OPEN,
    Status.UNREACHABLE: OPEN,
}
"""Where a referral has to stand to move there; besides, UNREACHABLE and REFERRED_OUT go back to where it stood."""

_SEATED = (Status.WAITLISTED, Status.ADMITTED)
"""Where the seat of an admission can put a referral elsewhere."""

DUE_HOURS: Mapping[Action, int] = {
    Action.CONTACT: 24,
    Action.SCREEN: 72,
    Action.ASSESS: 72,
    Action.DECIDE: 24,
    Action.ADMIT: 72,
    Action.REFER_OUT: 24,
    Action.KEEP_IN_TOUCH: 7 * 24,
}
"""Within how long it is commonly done; a site sets its own, in `referral_due_hours`. A hand-off says itself by when."""
_CALLS = (Action.CONTACT, Action.KEEP_IN_TOUCH)
Pace = Mapping[Action, timedelta]


@dataclass(frozen=True)
class Referral:
    """`attempts` counts every try to reach the person, `missed` those since they were reached last.

    `stood` is where it stood before it was closed.
    Of somebody who cannot be reached `next_action` is what comes next once they are.
    """

    id: UUID
    patient: Patient
    status: Status
    related_people: tuple[RelatedPerson, ...]
    reason: str
    received_at: datetime
    source: Source | None = None
    sender: str = ""
    owner: str | None = None
    next_action: Action | None = Action.CONTACT
    due_at: datetime | None = None
    attempts: int = 0
    missed: int = 0
    contacted_at: datetime | None = None
    admitted_at: datetime | None = None
    stood: Status | None = None
    closing_reason: str = ""

    @property
    def time_to_first_contact(self) -> timedelta | None:
        return None if self.contacted_at is None else self.contacted_at - self.received_at

    @property
    def time_to_admission(self) -> timedelta | None:
        return None if self.admitted_at is None else self.admitted_at - self.received_at


@dataclass(frozen=True)
class Moved:
    """A referral stands elsewhere than before."""

    referral_id: UUID
    patient_id: UUID
    status: Status
    at: datetime


@dataclass(frozen=True)
class Waits:
    """How long something has taken those to whom it has happened."""

    count: int
    median: timedelta | None
    percentile_90: timedelta | None


@dataclass(frozen=True)
class Times:
    """Of the referrals of a period."""

    referrals: int
    first_contact: Waits
    admission: Waits


def pace_of(settings: Mapping[str, Any]) -> Pace:
    """Within how long each action has to be done at a site. Raises InvalidInput (SITE_SETTING_INVALID)."""
    given = settings.get("referral_due_hours", {})
    if not isinstance(given, dict) or not all(_is_due_hours(*each) for each in given.items()):
        message = f"For any of {', '.join(DUE_HOURS)}: a whole number of hours from 1 to {LONGEST_DUE_HOURS}."
        raise InvalidInput("SITE_SETTING_INVALID", message, field="referral_due_hours")
    return {action: timedelta(hours=given.get(action, hours)) for action, hours in DUE_HOURS.items()}


def _is_due_hours(action: object, hours: object) -> bool:
    return action in DUE_HOURS and type(hours) is int and 1 <= hours <= LONGEST_DUE_HOURS


def receive(referral: Referral, pace: Pace) -> Referral:
    """Raises InvalidInput (NAME_MISSING, BIRTH_DATE_IMPOSSIBLE)."""
    check_person(referral.patient.person, referral.received_at.date())
    return replace(referral, due_at=referral.received_at + pace[Action.CONTACT])


def contact(referral: Referral, *, reached: bool, at: datetime) -> Referral:
    """Somebody has tried to reach the person. Raises Conflict (REFERRAL_CLOSED).

    Whoever is reached after all is taken up where they stood.
    """
    tried = replace(referral, attempts=referral.attempts + 1, missed=0 if reached else referral.missed + 1)
    if referral.status is Status.UNREACHABLE:
        return _taken_up(tried, at) if reached else tried
    if referral.status not in OPEN:
        raise _closed()
    return _spoken_with(tried, at) if reached else tried


def _taken_up(referral: Referral, at: datetime) -> Referral:
    assert referral.stood is not None
    reached = replace(referral, status=referral.stood, stood=None, closing_reason="")
    return _spoken_with(reached, at)


def _spoken_with(referral: Referral, at: datetime) -> Referral:
    spoken = replace(referral, contacted_at=referral.contacted_at or at)
    return _move(spoken, Status.CONTACTED, Action.SCREEN) if referral.status is Status.RECEIVED else spoken


def screen(referral: Referral) -> Referral:
    """Something was recorded; instruments are repeated during treatment, and that changes nothing here.

    Nobody need have spoken with the person: they may have answered alone, or long ago.
    """
    return _move(referral, Status.SCREENING, Action.ASSESS) if _can(referral, Status.SCREENING) else referral


def begin_assessment(referral: Referral, *, at: datetime) -> Referral:
    """The initial assessment has begun; one that is repeated during treatment changes nothing here.

    Whoever is assessed is spoken with, even if nobody has called them.
    """
    if not _can(referral, Status.ASSESSMENT):
        return referral
    spoken_with = replace(referral, contacted_at=referral.contacted_at or at, missed=0)
    return _move(spoken_with, Status.ASSESSMENT, Action.ASSESS)


def complete_assessment(referral: Referral, *, at: datetime) -> Referral:
    """The initial assessment is whole: somebody can decide."""
    begun = begin_assessment(referral, at=at)
    return replace(begun, next_action=Action.DECIDE) if begun.status is Status.ASSESSMENT else begun


def decide(referral: Referral, *, offered: bool) -> Referral:
    """A clinician has decided on a level of care, which the site offers or not, or has decided again.

    Whoever waits stays in the line, whatever was decided: what they need instead may come to nothing.
    Raises Conflict (REFERRAL_NOT_SCREENED, LEVEL_OF_CARE_ALREADY_DECIDED, REFERRAL_CLOSED).
    """
    if referral.status in (Status.RECEIVED, Status.CONTACTED):
        raise Conflict("REFERRAL_NOT_SCREENED", "Record at least one assessment first.")
    if referral.status is Status.ADMITTED:
        raise Conflict("LEVEL_OF_CARE_ALREADY_DECIDED", "The person was admitted; refer them again to decide anew.")
    if referral.status in _DECIDED:
        return replace(referral, next_action=_after_decision(referral.status, offered=offered))
    return _move(referral, Status.DECIDED, _after_decision(Status.DECIDED, offered=offered))


def _after_decision(stands: Status, *, offered: bool) -> Action:
    if not offered:
        return Action.REFER_OUT
    return Action.KEEP_IN_TOUCH if stands is Status.WAITLISTED else Action.ADMIT


def admit(referral: Referral, *, at: datetime) -> Referral:
    """Raises Conflict (ALREADY_ADMITTED, LEVEL_OF_CARE_UNDECIDED, REFERRAL_CLOSED)."""
    if referral.admitted_at is not None or referral.status is Status.ADMITTED:
        raise Conflict("ALREADY_ADMITTED", "This referral has led to an admission; refer the person again for another.")
    if referral.status in _EARLY:
        raise Conflict("LEVEL_OF_CARE_UNDECIDED", "Have a clinician decide on the level of care first.")
    return replace(_move(referral, Status.ADMITTED, None), admitted_at=at)


def take_seat(referral: Referral) -> Referral:
    """Whoever was admitted, and perhaps has waited, has a seat. Raises Conflict (REFERRAL_CLOSED)."""
    return referral if referral.status is Status.ADMITTED else _move(referral, Status.ADMITTED, None)


def wait_for_seat(referral: Referral) -> Referral:
    """No seat is free for whoever was admitted. Raises Conflict (REFERRAL_CLOSED)."""
    waits = referral.status is Status.WAITLISTED
    return referral if waits else _move(referral, Status.WAITLISTED, Action.KEEP_IN_TOUCH)


def follow_seat(referral: Referral, *, waits: bool, gone: bool = False) -> Referral:
    """An admission waits for its seat, or not, since it has one or had one.

    Whoever leaves the line without a seat stays waitlisted, so that somebody goes on with them: they are handed off,
    or closed. A referral that is not on its way is not taken up by that; once it is, it is where the seat has put it.
    Nor is one for which a clinician has decided on care elsewhere since, unless the person is `gone` to another site.
    """
    if referral.next_action is Action.REFER_OUT and not gone:
        return referral
    step = wait_for_seat if waits else take_seat
    if referral.status in _SEATED:
        return step(referral)
    if referral.stood not in _SEATED or referral.status is Status.DECLINED:
        return referral
    there = step(replace(referral, status=referral.stood))
    comes_next = there.next_action if referral.status is Status.UNREACHABLE else referral.next_action
    return replace(referral, stood=there.status, next_action=comes_next)


def refer_out(referral: Referral, *, due_at: datetime) -> Referral:
    """Another provider is to take the person over, and to say so by `due_at`.

    Raises Conflict (LEVEL_OF_CARE_UNDECIDED, REFERRAL_CLOSED).
    """
    if referral.status in _EARLY:
        raise Conflict("LEVEL_OF_CARE_UNDECIDED", "Have a clinician decide on the level of care first.")
    out = _move(referral, Status.REFERRED_OUT, Action.CONFIRM_HAND_OFF)
    return replace(out, stood=referral.status, due_at=due_at)


def confirm_hand_off(referral: Referral) -> Referral:
    """The person is in care elsewhere: nothing is left to do. Raises Conflict (REFERRAL_NOT_REFERRED_OUT)."""
    _must_be_handed_off(referral)
    return replace(referral, next_action=None)


def end_hand_off(referral: Referral, *, offered: bool, gone: bool = False) -> Referral:
    """It came to nothing: the referral is where it stood, or where its seat has put it meanwhile.

    `offered` tells whether the site has the level of care that was decided on: if not, no seat has put it anywhere.
    Of whoever is `gone` to another site nothing is left to do here.
    Raises Conflict (REFERRAL_NOT_REFERRED_OUT).
    """
    _must_be_handed_off(referral)
    stood = referral.stood or Status.DECIDED
    if stood is Status.ADMITTED and (offered or gone):
        return replace(referral, status=stood, stood=None, next_action=None)
    stands = Status.WAITLISTED if stood is Status.ADMITTED else stood
    return replace(referral, status=stands, stood=None, next_action=_after_decision(stands, offered=offered))


def _must_be_handed_off(referral: Referral) -> None:
    if referral.next_action is not Action.CONFIRM_HAND_OFF:
        raise Conflict("REFERRAL_NOT_REFERRED_OUT", "No provider has still to say that this person has come.")


def close(referral: Referral, outcome: Status, *, reason: str) -> Referral:
    """Declined, or unreachable. Raises Conflict (ALREADY_ADMITTED, CONTACT_NOT_TRIED, REFERRAL_CLOSED)."""
    if referral.status is Status.ADMITTED:
        raise Conflict("ALREADY_ADMITTED", "Whoever was admitted leaves by the end of their enrolment.")
    if outcome is Status.UNREACHABLE and not referral.missed:
        raise Conflict("CONTACT_NOT_TRIED", "Try to reach the person first, and record it.")
    next_action = referral.next_action if outcome is Status.UNREACHABLE else None
    return replace(_move(referral, outcome, next_action), stood=referral.status, closing_reason=reason)


def assign(referral: Referral, owner: str) -> Referral:
    """Raises Conflict (REFERRAL_CLOSED) when nothing is left to do."""
    if referral.next_action is None:
        raise _closed()
    return replace(referral, owner=owner)


def settle(before: Referral, after: Referral, pace: Pace, *, at: datetime) -> tuple[Referral, Moved | None]:
    """By when what comes next has to be done, and what there is to announce.

    A call puts off what it was about, and nothing else.
    """
    moved = Moved(after.id, after.patient.id, after.status, at) if after.status is not before.status else None
    called = after.attempts != before.attempts and after.next_action in _CALLS
    if moved or called or after.next_action is not before.next_action:
        after = replace(after, due_at=_due(after, pace, at))
    return after, moved


def _due(referral: Referral, pace: Pace, at: datetime) -> datetime | None:
    """Nothing is due about somebody who cannot be reached; a hand-off has said by when."""
    if referral.next_action is None or referral.status is Status.UNREACHABLE:
        return None
    if referral.next_action is Action.CONFIRM_HAND_OFF:
        return referral.due_at
    return at + pace[referral.next_action]


def end_of_day(zone: str, now: datetime) -> datetime:
    """When the day that it is at a site is over."""
    tomorrow = now.astimezone(ZoneInfo(zone)).date() + timedelta(days=1)
    return datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=ZoneInfo(zone))


def period(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Raises InvalidInput (PERIOD_INVALID)."""
    if not timedelta() < end - start <= LONGEST_PERIOD:
        raise InvalidInput("PERIOD_INVALID", "Give an end after the start, at most a year later.", field="until")
    return start, end


def _can(referral: Referral, to: Status) -> bool:
    return referral.status in _FROM[to]


def _move(referral: Referral, to: Status, next_action: Action | None) -> Referral:
    """Raises Conflict (REFERRAL_CLOSED)."""
    if not _can(referral, to):
        raise _closed()
    return replace(referral, status=to, next_action=next_action)


def _closed() -> Conflict:
    return Conflict("REFERRAL_CLOSED", "This referral has come to its end; refer the person again, or contact them.")
