"""Admissions: what has to be decided before one, what was agreed for it, and how it follows its seat."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any
from uuid import UUID

from stepway_chassis.errors import Conflict, InvalidInput
from stepway_intake.domain import facts, referrals
from stepway_intake.domain.levels_of_care import LevelOfCare
from stepway_intake.domain.people import Label
from stepway_intake.domain.referrals import Referral


class Daypart(StrEnum):
    MORNING = "morning"
    AFTERNOON = "afternoon"
    EVENING = "evening"
    WEEKEND = "weekend"


class Population(StrEnum):
    """Whom a course is meant for; `UNSTATED` is of before there was a place for it."""

    UNSTATED = "unstated"
    ADULT_MENTAL_HEALTH = "adult_mental_health"
    SUBSTANCE_USE = "substance_use"
    DUAL = "dual"
    EATING_DISORDER = "eating_disorder"
    ADOLESCENT = "adolescent"


SUBSTANCE_USE = frozenset({Population.SUBSTANCE_USE, Population.DUAL})
HOUR_FLOOR = 9
ADOLESCENT_HOUR_FLOOR = 6
"""The least hours a week of an intensive outpatient programme (SAMHSA); a site may set others in its settings."""


@dataclass(frozen=True)
class AvailableTime:
    """Every week, by the site's clocks; `weekday` is 1 for Monday, and minutes count from midnight."""

    weekday: int
    from_minute: int
    until_minute: int


@dataclass(frozen=True)
class Prescription:
    modality: str
    minutes_a_week: int


@dataclass(frozen=True)
class Authorization:
    """What a payer has agreed to pay for, from the first to the last day."""

    payer_reference: str
    units: int
    first_day: str
    last_day: str


@dataclass(frozen=True)
class Course:
    """What was agreed for a patient's time in the programme. Days are written YYYY-MM-DD, or left empty."""

    population: Population = Population.UNSTATED
    weekly_hours: int = 0
    start_earliest: str = ""
    start_latest: str = ""
    available_times: tuple[AvailableTime, ...] = ()
    modalities: tuple[Prescription, ...] = ()
    authorization: Authorization | None = None


class Status(StrEnum):
    """In the order in which they come; one may be left out, none comes back."""

    ADMITTED = "admitted"
    WAITLISTED = "waitlisted"
    ENROLLED = "enrolled"
    ENDED = "ended"


class Ending(StrEnum):
    NONE = ""
    LEFT = "left"
    TRANSFERRED = "transferred"


_ORDER = list(Status)


@dataclass(frozen=True)
class Admission:
    """`availability` is when the patient can come, the best first."""

    id: UUID
    referral_id: UUID
    patient_id: UUID
    availability: tuple[Daypart, ...]
    admitted_at: datetime
    course: Course = field(default_factory=Course)
    status: Status = Status.ADMITTED
    ending: Ending = Ending.NONE
    enrollment_id: UUID | None = None
    enrolled_at: datetime | None = None
    ended_at: datetime | None = None
    earlier_admission_id: UUID | None = None
    transfer_id: UUID | None = None


@dataclass(frozen=True)
class Seat:
    """What scheduling says by now of the enrolment that an admission has led to."""

    enrollment_id: UUID
    admission_id: UUID
    status: Status
    enrolled_at: datetime | None
    ended_at: datetime | None


def admit(
    referral: Referral, level: LevelOfCare | None, new: Admission, *, earlier: Admission | None = None
) -> tuple[Referral, Admission]:
    """`earlier` is the patient's last admission here.

    Raises Conflict (ALREADY_ADMITTED, LEVEL_OF_CARE_UNDECIDED, LEVEL_OF_CARE_NOT_OFFERED, REFERRAL_CLOSED,
    PATIENT_ALREADY_ADMITTED).
    """
    admitted = referrals.admit(referral, at=new.admitted_at)
    if level is None:
        raise Conflict("LEVEL_OF_CARE_UNDECIDED", "Have a clinician decide on the level of care first.")
    if level is not LevelOfCare.INTENSIVE_OUTPATIENT:
        raise Conflict("LEVEL_OF_CARE_NOT_OFFERED", "The level decided on is not offered here; refer the person on.")
    if earlier is not None and earlier.status is not Status.ENDED:
        raise Conflict("PATIENT_ALREADY_ADMITTED", "The patient is in the programme by another referral.")
    linked = replace(new, earlier_admission_id=earlier.id if earlier else None)
    return admitted, linked


def agree(course: Course, *, age_group: str | None, floor: int | None, today: date) -> Course:
    """The course with the hours that it asks for at least, if it names none; `floor` is the site's own.

    `age_group` is the patient's, if the birth date tells it.

    Raises InvalidInput (START_WINDOW_IMPOSSIBLE, AVAILABILITY_IMPOSSIBLE, WEEKLY_HOURS_TOO_FEW, MODALITY_REPEATED,
    PRESCRIPTION_TOO_LONG, AUTHORIZATION_SPAN_IMPOSSIBLE).
    """
    _check_start(course, today)
    _check_times(course.available_times)
    least = floor or _floor_of(course.population, age_group)
    hours = course.weekly_hours or least
    if hours < least:
        message = f"Give at least the {least} hours a week that the level of care asks for here, or leave them out."
        raise InvalidInput("WEEKLY_HOURS_TOO_FEW", message, field="course.weekly_hours")
    _check_modalities(course.modalities, hours)
    _check_authorization(course.authorization)
    return replace(course, weekly_hours=hours)


def floor_of(settings: Mapping[str, Any]) -> int | None:
    """The least hours a week that the site has set. Raises InvalidInput (SITE_SETTING_INVALID)."""
    hours = settings.get("weekly_hours_floor")
    if hours is not None and (type(hours) is not int or not 1 <= hours <= 40):
        raise InvalidInput("SITE_SETTING_INVALID", "Write hours of a week, from 1 to 40.", field="weekly_hours_floor")
    return hours


def _floor_of(population: Population, age_group: str | None) -> int:
    """By age, and by whom the course is meant for where that is not known."""
    meant_for_the_young = population is Population.ADOLESCENT
    young = meant_for_the_young if age_group is None else age_group == facts.ADOLESCENT
    return ADOLESCENT_HOUR_FLOOR if young else HOUR_FLOOR


def _check_start(course: Course, today: date) -> None:
    earliest = _day(course.start_earliest) if course.start_earliest else date.min
    latest = _day(course.start_latest) if course.start_latest else date.max
    if earliest is None or latest is None or latest < max(earliest, today):
        message = "Give days that exist, the last neither before the first nor in the past."
        field = "course.start_earliest" if earliest is None else "course.start_latest"
        raise InvalidInput("START_WINDOW_IMPOSSIBLE", message, field=field)


def _check_times(times: Iterable[AvailableTime]) -> None:
    in_order = sorted(times, key=lambda each: (each.weekday, each.from_minute))
    backwards = any(each.until_minute <= each.from_minute for each in in_order)
    overlap = any(a.weekday == b.weekday and b.from_minute < a.until_minute for a, b in pairwise(in_order))
    if backwards or overlap:
        message = "Each time ends after it begins, and no two are at the same time."
        raise InvalidInput("AVAILABILITY_IMPOSSIBLE", message, field="course.available_times")


def _check_modalities(modalities: tuple[Prescription, ...], hours: int) -> None:
    if len({each.modality for each in modalities}) < len(modalities):
        raise InvalidInput("MODALITY_REPEATED", "Prescribe each modality once.", field="course.modalities")
    if sum(each.minutes_a_week for each in modalities) > hours * 60:
        message = "What is prescribed takes longer than the hours of a week."
        raise InvalidInput("PRESCRIPTION_TOO_LONG", message, field="course.modalities")


def _check_authorization(agreed: Authorization | None) -> None:
    if agreed is None:
        return
    first, last = _day(agreed.first_day), _day(agreed.last_day)
    if first is None or last is None or last < first:
        message = "Give days that exist, the last not before the first."
        field = "course.authorization.first_day" if first is None else "course.authorization.last_day"
        raise InvalidInput("AUTHORIZATION_SPAN_IMPOSSIBLE", message, field=field)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def label_of(known: Label, asked: Label, population: Population) -> Label:
    """The highest of them; a course in substance use is Part 2. It never falls here."""
    return Label.PART2 if Label.PART2 in (known, asked) or population in SUBSTANCE_USE else Label.GENERAL


def follow(admission: Admission, seat: Seat) -> Admission:
    """As far as scheduling has got with the seat; what is told late changes nothing."""
    if _ORDER.index(seat.status) <= _ORDER.index(admission.status):
        return admission
    left = seat.status is Status.ENDED
    return replace(
        admission,
        status=seat.status,
        ending=Ending.LEFT if left else Ending.NONE,
        enrollment_id=seat.enrollment_id,
        enrolled_at=seat.enrolled_at,
        ended_at=seat.ended_at if left else None,
    )


def waits(admission: Admission) -> bool:
    """Whether somebody wants a seat and has had none: they stand in the line, or have left it without one."""
    left_the_line = admission.ending is Ending.LEFT and admission.enrolled_at is None
    return admission.status is Status.WAITLISTED or left_the_line


def end(admission: Admission, how: Ending, *, at: datetime) -> Admission:
    """It is over, whatever scheduling says of the seat; what had ended before stays as it ended."""
    if admission.status is Status.ENDED:
        return admission
    return replace(admission, status=Status.ENDED, ending=how, ended_at=at)
