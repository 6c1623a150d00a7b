"""When the first plan is due."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from stepway_care.domain import Status, draft, plan_due
from stepway_chassis.errors import InvalidInput

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_a_plan_is_due_three_days_after_the_seat_unless_the_site_says_otherwise() -> None:
    assert plan_due({}) == timedelta(hours=72)
    assert plan_due({"plan_due_hours": 24}) == timedelta(hours=24)


@pytest.mark.parametrize("hours", [0, -1, 721, 1.5, "72", True, None])
def test_a_number_of_hours_that_is_none_is_refused_and_named(hours: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        plan_due({"plan_due_hours": hours})
    assert (refused.value.reason, refused.value.field) == ("SITE_SETTING_INVALID", "plan_due_hours")


def test_time_runs_from_the_seat_and_not_from_when_it_was_heard_of() -> None:
    later = NOON + timedelta(hours=5)
    plan = draft(
        id=UUID(int=1),
        patient_id=UUID(int=2),
        enrollment_id=UUID(int=3),
        seated_at=NOON,
        due=timedelta(hours=72),
        now=later,
    )
    assert (plan.status, plan.drafted_at, plan.due_at) == (Status.DRAFT, later, NOON + timedelta(hours=72))
