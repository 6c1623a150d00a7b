"""Groups that are still to come, and whose story an invitation belongs to."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from stepway_chassis.errors import InvalidInput
from stepway_family.domain import Expected, Group, Origin, invite, later, plan

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
EVENING = NOON + timedelta(hours=6)


def an_origin(at: datetime, causation: str = "1") -> Origin:
    return Origin(at, "journey", causation, {})


@pytest.mark.parametrize("starts_at", [NOON, NOON - timedelta(days=1)])
def test_a_group_is_planned_for_a_time_that_is_still_to_come(starts_at: datetime) -> None:
    assert plan(Group(UUID(int=1), EVENING, 90, 8), now=NOON).starts_at == EVENING
    with pytest.raises(InvalidInput) as refused:
        plan(Group(UUID(int=1), starts_at, 90, 8), now=NOON)
    assert (refused.value.reason, refused.value.field) == ("STARTS_IN_PAST", "starts_at")


def test_an_invitation_belongs_to_the_event_that_made_the_pair_whole_in_whichever_order() -> None:
    first, last = an_origin(NOON), an_origin(EVENING)
    assert later(first, last) == later(last, first) == last
    one, other = an_origin(NOON, "1"), an_origin(NOON, "2")
    assert later(one, other) == later(other, one)


def test_an_invitation_says_who_is_expected_where_and_when() -> None:
    who = Expected(UUID(int=1), UUID(int=2), UUID(int=3), an_origin(NOON))
    made = invite(who, Group(UUID(int=4), EVENING, 90, 8), id=UUID(int=5), now=NOON)
    assert (made.family_member_id, made.patient_id, made.family_group_id) == (UUID(int=2), UUID(int=3), UUID(int=4))
    assert (made.starts_at, made.invited_at) == (EVENING, NOON)
