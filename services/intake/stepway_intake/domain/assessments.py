"""Assessments, and the signs of danger in them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from stepway_chassis.errors import InvalidInput
from stepway_intake.domain.referrals import Referral
from stepway_intake.instruments.definition import Definition
from stepway_intake.instruments.scoring import Risk, Score, risk_of, score

HISTORICAL = timedelta(hours=48)
"""Answers older than this ask for a review and page nobody."""
CLOCK_SKEW = timedelta(minutes=5)


class Urgency(StrEnum):
    PAGE = "page"
    REVIEW = "review"


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
    paged_at: datetime | None = None


def assess(
    referral: Referral,
    definition: Definition,
    answers: Mapping[int, int],
    *,
    assessment_id: UUID,
    flag_id: UUID,
    answered_at: datetime,
    now: datetime,
) -> tuple[Assessment, RiskFlag | None]:
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
    return assessment, flag


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


def paged(flag: RiskFlag, *, at: datetime) -> RiskFlag:
    """A channel has taken a page about it."""
    return replace(flag, paged_at=at)
