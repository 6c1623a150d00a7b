"""Treatment plans: opened when somebody has a seat, due soon after."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from stepway_chassis.errors import InvalidInput

DEFAULT_DUE_HOURS = 72
"""The initial plan is commonly asked for within 72 hours; payers and states differ, so a site sets its own."""
LONGEST_DUE_HOURS = 30 * 24


class Status(StrEnum):
    DRAFT = "draft"


@dataclass(frozen=True)
class Plan:
    """What a patient and their clinicians have agreed to work on."""

    id: UUID
    patient_id: UUID
    enrollment_id: UUID
    status: Status
    drafted_at: datetime
    due_at: datetime


def plan_due(settings: Mapping[str, Any]) -> timedelta:
    """How long after the seat the initial plan has to be there. Raises InvalidInput (SITE_SETTING_INVALID)."""
    hours = settings.get("plan_due_hours", DEFAULT_DUE_HOURS)
    if type(hours) is not int or not 1 <= hours <= LONGEST_DUE_HOURS:
        message = f"Write a whole number of hours from 1 to {LONGEST_DUE_HOURS}."
        raise InvalidInput("SITE_SETTING_INVALID", message, field="plan_due_hours")
    return timedelta(hours=hours)


def draft(
    *, id: UUID, patient_id: UUID, enrollment_id: UUID, seated_at: datetime, due: timedelta, now: datetime
) -> Plan:
    return Plan(id, patient_id, enrollment_id, Status.DRAFT, drafted_at=now, due_at=seated_at + due)
