"""Assessments: answers to an instrument, scored, and flagged where they show danger."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from stepway_chassis.errors import InvalidInput
from stepway_intake.domain.people import Person
from stepway_intake.domain.referrals import Referral
from stepway_intake.domain.risk import WITHIN, RiskFlag, Urgency, Within, flag_of
from stepway_intake.instruments.definition import Definition, Risk, Sex
from stepway_intake.instruments.scoring import Score, risk_of, score

CLOCK_SKEW = timedelta(minutes=5)
_SEX = {"ADMINISTRATIVE_GENDER_MALE": Sex.MALE, "ADMINISTRATIVE_GENDER_FEMALE": Sex.FEMALE}


@dataclass(frozen=True)
class Assessment:
    id: UUID
    referral_id: UUID
    patient_id: UUID
    instrument: str
    answers: Mapping[int, int]
    score: Score
    answered_at: datetime
    workup_id: UUID | None = None


def assess(
    referral: Referral,
    definition: Definition,
    answers: Mapping[int, int],
    *,
    assessment_id: UUID,
    flag_id: UUID,
    answered_at: datetime,
    now: datetime,
    by_patient: bool = False,
    within: Mapping[Risk, Within] = WITHIN,
) -> tuple[Assessment, RiskFlag | None]:
    """Score one set of answers, and flag what must not wait; what patients send themselves is of now to a flag.

    Raises InvalidInput ANSWERED_IN_FUTURE, ITEM_UNKNOWN, ANSWER_OUT_OF_RANGE.
    """
    check_answered_at(answered_at, now=now)
    assessment = scored(referral, definition, answers, assessment_id=assessment_id, answered_at=answered_at)
    raised = RiskFlag(
        flag_id, referral.patient.id, referral.id, Urgency.REVIEW, raised_at=now, assessment_id=assessment_id
    )
    age = timedelta(0) if by_patient else now - answered_at
    return assessment, flag_of(risk_of(definition, answers), raised, age=age, within=within)


def scored(
    referral: Referral,
    definition: Definition,
    answers: Mapping[int, int],
    *,
    assessment_id: UUID,
    answered_at: datetime,
    workup_id: UUID | None = None,
) -> Assessment:
    """Raises InvalidInput ITEM_UNKNOWN, ANSWER_OUT_OF_RANGE."""
    return Assessment(
        id=assessment_id,
        referral_id=referral.id,
        patient_id=referral.patient.id,
        instrument=definition.name,
        answers=answers,
        score=score(definition, answers, sex=sex_of(referral.patient.person)),
        answered_at=answered_at,
        workup_id=workup_id,
    )


def check_answered_at(answered_at: datetime, *, now: datetime) -> None:
    """Raises InvalidInput ANSWERED_IN_FUTURE."""
    if answered_at > now + CLOCK_SKEW:
        message = "This is still to come; give the time at which the person answered."
        raise InvalidInput("ANSWERED_IN_FUTURE", message, field="answered_at")


def sex_of(person: Person) -> Sex:
    """As cut-offs know it; who has said neither has the lower one."""
    return _SEX.get(person.gender, Sex.UNKNOWN)


def delta(later: Score, earlier: Score | None) -> int | None:
    """What has become of a total; None where either is missing, or where they were made by different rules."""
    if earlier is None or later.rule != earlier.rule or later.total is None or earlier.total is None:
        return None
    return later.total - earlier.total
