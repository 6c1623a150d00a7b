"""Hand-offs: from the first call to the provider's word, and never closed twice."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stepway_chassis.errors import Conflict, Refusal
from stepway_intake.domain.hand_offs import (
    LONGEST,
    Attempt,
    AttemptOutcome,
    End,
    HandOff,
    Provider,
    Status,
    attempt,
    confirm,
    end,
    start,
)
from stepway_intake.domain.levels_of_care import LevelOfCare
from stepway_intake.domain.referrals import Status as ReferralStatus
from tests.unit.test_intake_domain import INSTANT, NOON, PATIENT, REFERRAL, a_referral

HAND_OFF, ATTEMPT = UUID(int=21), UUID(int=22)
PROVIDER = Provider("Sable Ridge", "+12125550199", "")


def started(**changes: Any) -> HandOff:
    given: dict[str, Any] = {"id": HAND_OFF, "is_open": False, "due_at": NOON + LONGEST, "note": "", "at": NOON}
    status = changes.pop("status", ReferralStatus.DECIDED)
    level = changes.pop("level", LevelOfCare.RESIDENTIAL)
    return start(a_referral(status=status), level, PROVIDER, by="staff-1", **{**given, **changes})


def refusal(**changes: Any) -> str:
    with pytest.raises(Refusal) as refused:
        started(**changes)
    return refused.value.reason


def test_whoever_is_referred_on_is_followed_from_the_first_moment() -> None:
    hand_off = started()
    assert (hand_off.referral_id, hand_off.patient_id, hand_off.level) == (REFERRAL, PATIENT, LevelOfCare.RESIDENTIAL)
    assert (hand_off.status, hand_off.attempts, hand_off.closed_at) == (Status.OPEN, 0, None)
    assert (hand_off.provider_name, hand_off.started_by) == ("Sable Ridge", "staff-1")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"level": None}, "LEVEL_OF_CARE_UNDECIDED"),
        ({"status": ReferralStatus.ADMITTED}, "ALREADY_ADMITTED"),
        ({"is_open": True}, "HAND_OFF_ALREADY_OPEN"),
        ({"due_at": NOON}, "DUE_IN_PAST"),
        ({"due_at": NOON + LONGEST + INSTANT}, "DUE_TOO_LATE"),
    ],
)
def test_nobody_is_referred_on_twice_at_once_or_before_it_was_decided_or_for_ever(
    changes: dict[str, Any], reason: str
) -> None:
    assert refusal(**changes) == reason


class Followed(RuleBasedStateMachine):
    """Whatever staff do in whatever order: closed once, by one of them, and counted right."""

    @initialize()
    def begin(self) -> None:
        self.hand_off = started()
        self.at = NOON
        self.tried: list[Attempt] = []
        self.closings: list[Status] = []

    def _allowed(self) -> bool:
        self.at += timedelta(minutes=1)
        return not self.closings

    def _refused(self, act: Any, **what: Any) -> None:
        before = self.hand_off
        with pytest.raises(Conflict) as refused:
            act(self.hand_off, by="staff-2", at=self.at, **what)
        assert refused.value.reason == "HAND_OFF_ALREADY_CLOSED"
        assert self.hand_off is before

    @rule(outcome=st.sampled_from(AttemptOutcome))
    def try_to_reach(self, outcome: AttemptOutcome) -> None:
        what = {"id": ATTEMPT, "outcome": outcome, "note": ""}
        if not self._allowed():
            return self._refused(attempt, **what)
        self.hand_off, made = attempt(self.hand_off, by="staff-1", at=self.at, **what)  # type: ignore[arg-type]
        assert (made.hand_off_id, made.outcome, made.made_at) == (HAND_OFF, outcome, self.at)
        self.tried.append(made)
        return None

    @rule(appointment=st.booleans())
    def hear_that_they_take_the_person(self, appointment: bool) -> None:
        what = {"confirmed_with": "Nurse Amari", "appointment_at": NOON if appointment else None}
        if not self._allowed():
            return self._refused(confirm, **what)
        self.hand_off = confirm(self.hand_off, by="staff-1", at=self.at, **what)  # type: ignore[arg-type]
        self.closings.append(Status.CONFIRMED)
        return None

    @rule(reason=st.sampled_from(End))
    def give_it_up(self, reason: End) -> None:
        if not self._allowed():
            return self._refused(end, reason=reason, text="as told")
        self.hand_off = end(self.hand_off, reason=reason, text="as told", by="staff-1", at=self.at)
        self.closings.append(Status.ENDED)
        return None

    @invariant()
    def it_says_what_has_happened(self) -> None:
        hand_off, closed = self.hand_off, bool(self.closings)
        assert hand_off.status is (self.closings[0] if closed else Status.OPEN)
        assert (hand_off.closed_at is not None, hand_off.closed_by is not None) == (closed, closed)
        assert (hand_off.confirmed_with is not None) is (hand_off.status is Status.CONFIRMED)
        assert (hand_off.end_reason is not None) is (hand_off.status is Status.ENDED)
        assert hand_off.attempts == len(self.tried)
        assert hand_off.last_attempt_at == (self.tried[-1].made_at if self.tried else None)


TestFollowed = Followed.TestCase
