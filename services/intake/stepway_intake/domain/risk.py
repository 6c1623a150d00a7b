"""Risk: the signs of danger, by when they must be taken, who has taken them, and what was done."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from stepway_chassis.errors import Conflict
from stepway_intake.instruments.definition import Risk

HISTORICAL = timedelta(hours=48)
"""Answers older than this ask for a review and page nobody."""

_PAGED = frozenset({Risk.PRESENT, Risk.HIGH})


class Urgency(StrEnum):
    PAGE = "page"
    REVIEW = "review"


class Disposition(StrEnum):
    """What was done about a flag."""

    PENDING = "pending"
    NO_ACUTE_RISK = "no_acute_risk"
    SAFETY_PLAN = "safety_plan"
    CLOSER_FOLLOW_UP = "closer_follow_up"
    HIGHER_LEVEL_OF_CARE = "higher_level_of_care"
    EMERGENCY_SERVICES = "emergency_services"
    HOSPITAL = "hospital"
    WELFARE_CHECK = "welfare_check"


@dataclass(frozen=True)
class Within:
    """How soon a flag has to be taken, and how soon after that it has to be on record what was done."""

    taken: timedelta
    disposed: timedelta


_HOURS = timedelta(hours=1)
WITHIN: Mapping[Risk, Within] = {
    Risk.HIGH: Within(timedelta(minutes=15), 1 * _HOURS),
    Risk.PRESENT: Within(timedelta(minutes=15), 1 * _HOURS),
    Risk.MODERATE: Within(4 * _HOURS, 24 * _HOURS),
    Risk.UNANSWERED: Within(8 * _HOURS, 24 * _HOURS),
    Risk.LOW: Within(24 * _HOURS, 72 * _HOURS),
}
"""Unless the site says otherwise (`risk_minutes`)."""
HISTORICAL_WITHIN = Within(24 * _HOURS, 72 * _HOURS)


@dataclass(frozen=True)
class RiskFlag:
    """`due_at` is by when the next step has to be done: to take it, then to record what was done."""

    id: UUID
    patient_id: UUID
    referral_id: UUID
    urgency: Urgency
    raised_at: datetime
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    paged_at: datetime | None = None
    risk: Risk = Risk.PRESENT
    assessment_id: UUID | None = None
    due_at: datetime | None = None
    disposed_within: timedelta = HISTORICAL_WITHIN.disposed
    disposition: Disposition = Disposition.PENDING
    disposition_note: str = ""
    disposed_by: str | None = None
    disposed_at: datetime | None = None
    fallback_at: datetime | None = None


@dataclass(frozen=True)
class Acknowledged:
    flag_id: UUID
    patient_id: UUID
    by: str
    at: datetime


@dataclass(frozen=True)
class Disposed:
    flag_id: UUID
    patient_id: UUID
    at: datetime


def urgency_of(risk: Risk, *, age: timedelta) -> Urgency | None:
    """A sign of danger pages somebody, whatever the total; one left unanswered is never a no."""
    if risk is Risk.NONE:
        return None
    return Urgency.PAGE if risk in _PAGED and age <= HISTORICAL else Urgency.REVIEW


def flag_of(risk: Risk, raised: RiskFlag, *, age: timedelta, within: Mapping[Risk, Within] = WITHIN) -> RiskFlag | None:
    """The flag that these answers raise, from one that says whose they are and when; None when there is no danger."""
    urgency = urgency_of(risk, age=age)
    if urgency is None:
        return None
    times = within[risk] if age <= HISTORICAL else HISTORICAL_WITHIN
    due_at = raised.raised_at + times.taken
    return replace(raised, urgency=urgency, risk=risk, due_at=due_at, disposed_within=times.disposed)


def acknowledge(flag: RiskFlag, *, by: str, at: datetime) -> tuple[RiskFlag, Acknowledged | None]:
    """Somebody has taken it; of two acknowledgements the earlier one counts, in whichever order they are heard.

    Only the first that is heard is announced.
    """
    if flag.acknowledged_at is not None and (flag.acknowledged_at, flag.acknowledged_by or "") <= (at, by):
        return flag, None
    taken, acknowledged = _taken(flag, by, at)
    return taken, acknowledged if flag.acknowledged_at is None else None


def take(flag: RiskFlag, *, by: str, at: datetime) -> tuple[RiskFlag, Acknowledged]:
    """Raises Conflict (RISK_FLAG_ALREADY_ACKNOWLEDGED)."""
    if flag.acknowledged_at is not None:
        raise Conflict("RISK_FLAG_ALREADY_ACKNOWLEDGED", "Somebody has taken it; the flag says who.")
    return _taken(flag, by, at)


def _taken(flag: RiskFlag, by: str, at: datetime) -> tuple[RiskFlag, Acknowledged]:
    taken = replace(flag, acknowledged_at=at, acknowledged_by=by, due_at=at + flag.disposed_within)
    return taken, Acknowledged(flag.id, flag.patient_id, by, at)


def dispose(flag: RiskFlag, disposition: Disposition, note: str, *, by: str, at: datetime) -> tuple[RiskFlag, Disposed]:
    """Raises Conflict (RISK_FLAG_NOT_ACKNOWLEDGED, RISK_DISPOSITION_ALREADY_RECORDED)."""
    if flag.disposition is not Disposition.PENDING:
        raise Conflict("RISK_DISPOSITION_ALREADY_RECORDED", "What was done is on record; the flag says it.")
    if flag.acknowledged_at is None:
        raise Conflict("RISK_FLAG_NOT_ACKNOWLEDGED", "Take the flag first.")
    disposed = replace(flag, disposition=disposition, disposition_note=note, disposed_by=by, disposed_at=at)
    return disposed, Disposed(flag.id, flag.patient_id, at)


def paged(flag: RiskFlag, *, at: datetime) -> RiskFlag:
    """A channel has taken a page about it."""
    return replace(flag, paged_at=at)


def fallen_back(flag: RiskFlag, *, at: datetime) -> RiskFlag:
    """The site's emergency address was written to, since no channel had taken a page."""
    return replace(flag, fallback_at=at)
