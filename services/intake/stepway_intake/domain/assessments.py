"""Assessments: answers to an instrument, scored, and flagged where they show danger."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from stepway_chassis.errors import InvalidInput
from stepway_intake.domain.referrals import Referral
from stepway_intake.domain.risk import RiskFlag, urgency_of
from stepway_intake.instruments.definition import Definition
from stepway_intake.instruments.scoring import Score, risk_of, score

CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class Assessment:
    id: UUID
    referral_id: UUID
    patient_id: UUID
    instrument: str
    answers: Mapping[int, int]
    score: Score
    answered_at: datetime


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
