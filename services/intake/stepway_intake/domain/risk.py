"""Risk: the signs of danger, how much they must not wait, and who has taken them."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from stepway_intake.instruments.scoring import Risk

HISTORICAL = timedelta(hours=48)
"""Answers older than this ask for a review and page nobody."""


class Urgency(StrEnum):
    PAGE = "page"
    REVIEW = "review"


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
