"""Referrals, assessments and risk flags: their states, their rules, and what becomes of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from stepway_chassis.errors import InvalidInput
from stepway_intake.instruments.definition import Definition
from stepway_intake.instruments.scoring import Risk, Score, risk_of, score

HISTORICAL = timedelta(hours=48)
"""Answers older than this ask for a review and page nobody."""
CLOCK_SKEW = timedelta(minutes=5)
OLDEST_BIRTH_YEAR = 1900


class Status(StrEnum):
    RECEIVED = "received"
    SCREENING = "screening"


class Urgency(StrEnum):
    PAGE = "page"
    REVIEW = "review"


class Label(StrEnum):
    """How confidential a record is; `PART2` is 42 CFR Part 2."""

    GENERAL = "general"
    PART2 = "part2"


@dataclass(frozen=True)
class ContactPoint:
    """`system` is phone (an E.164 number) or email."""

    system: str
    value: str


@dataclass(frozen=True)
class Person:
    """`birth_date` is a FHIR date, perhaps without day or month, or empty."""

    given_name: str
    family_name: str
    birth_date: str
    gender: str
    contact_points: tuple[ContactPoint, ...]
    language: str


@dataclass(frozen=True)
class RelatedPerson:
    given_name: str
    family_name: str
    relationship: str
    contact_points: tuple[ContactPoint, ...]


@dataclass(frozen=True)
class Patient:
    id: UUID
    person: Person
    label: Label


@dataclass(frozen=True)
class Referral:
    id: UUID
    patient: Patient
    status: Status
    related_people: tuple[RelatedPerson, ...]
    reason: str
    received_at: datetime


@dataclass(frozen=True)
class Assessment:
    id: UUID
    referral_id: UUID
    patient_id: UUID
    instrument: str
    answers: Mapping[int, int]
    score: Score
    answered_at: datetime


@dataclass(frozen=True)
class RiskFlag:
    id: UUID
    patient_id: UUID
    referral_id: UUID
    urgency: Urgency
    raised_at: datetime
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None


def label_for(*, part2_program: bool) -> Label:
    """The label of a new record: Part 2 unless the site has said that its programme is none (42 CFR 2.11)."""
    return Label.PART2 if part2_program else Label.GENERAL


def receive(referral: Referral) -> Referral:
    """Raises InvalidInput BIRTH_DATE_IMPOSSIBLE."""
    born = referral.patient.person.birth_date
    if born and not _possible(born, referral.received_at.date()):
        message = "Give a date that exists, not in the future and not before 1900; leave it empty if it is not known."
        raise InvalidInput("BIRTH_DATE_IMPOSSIBLE", message, field="person.birth_date")
    return referral


def _possible(birth_date: str, today: date) -> bool:
    year, month, day = [*(int(part) for part in birth_date.split("-")), 1, 1][:3]
    try:
        return year >= OLDEST_BIRTH_YEAR and date(year, month, day) <= today
    except ValueError:
        return False


def assess(
    referral: Referral,
    definition: Definition,
    answers: Mapping[int, int],
    *,
    assessment_id: UUID,
    flag_id: UUID,
    answered_at: datetime,
    now: datetime,
) -> tuple[Referral, Assessment, RiskFlag | None]:
    """Score one set of answers, and flag what must not wait.

    Raises InvalidInput ANSWERED_IN_FUTURE, ITEM_UNKNOWN, ANSWER_OUT_OF_RANGE.
    """
    if answered_at > now + CLOCK_SKEW:
        raise InvalidInput("ANSWERED_IN_FUTURE", "Give the time at which the person answered.", field="answered_at")
    assessment = Assessment(
        id=assessment_id,
        referral_id=referral.id,
        patient_id=referral.patient.id,
        instrument=definition.name,
        answers=answers,
        score=score(definition, answers),
        answered_at=answered_at,
    )
    urgency = urgency_of(risk_of(definition, answers), age=now - answered_at)
    flag = None if urgency is None else RiskFlag(flag_id, referral.patient.id, referral.id, urgency, raised_at=now)
    return replace(referral, status=Status.SCREENING), assessment, flag


def urgency_of(risk: Risk, *, age: timedelta) -> Urgency | None:
    """A sign of danger pages somebody, whatever the total; one left unanswered is never a no."""
    if risk is Risk.NONE:
        return None
    return Urgency.PAGE if risk is Risk.PRESENT and age <= HISTORICAL else Urgency.REVIEW


def acknowledge(flag: RiskFlag, *, by: str, at: datetime) -> RiskFlag:
    """Somebody has taken it; of two acknowledgements the earlier one counts, in whichever order they are heard."""
    if flag.acknowledged_at is not None and (flag.acknowledged_at, flag.acknowledged_by or "") <= (at, by):
        return flag
    return replace(flag, acknowledged_at=at, acknowledged_by=by)
