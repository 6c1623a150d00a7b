"""Where a referral can go from where, what is due by then, and that nothing else ever happens to one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stepway_chassis.errors import Conflict, InvalidInput
from stepway_intake.domain import referrals
from stepway_intake.domain.people import Label, Patient, Person
from stepway_intake.domain.referrals import DUE_HOURS, LONGEST_DUE_HOURS, Action, Moved, Referral, Status

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
PACE = referrals.pace_of({})
HOUR = timedelta(hours=1)
S = Status
OPEN = {S.RECEIVED, S.CONTACTED, S.SCREENING, S.ASSESSMENT, S.DECIDED, S.WAITLISTED}
LEGAL = {
    S.RECEIVED: {S.CONTACTED, S.SCREENING, S.ASSESSMENT},
    S.CONTACTED: {S.SCREENING, S.ASSESSMENT},
    S.SCREENING: {S.ASSESSMENT, S.DECIDED},
    S.ASSESSMENT: {S.DECIDED},
    S.DECIDED: {S.ADMITTED, S.REFERRED_OUT},
    S.WAITLISTED: {S.ADMITTED, S.REFERRED_OUT},
    S.ADMITTED: {S.WAITLISTED},
    S.REFERRED_OUT: {S.DECIDED, S.WAITLISTED, S.ADMITTED},
    S.DECLINED: set(),
    S.UNREACHABLE: (OPEN - {S.RECEIVED}) | {S.ADMITTED},
}
ENDS = {S.DECLINED, S.UNREACHABLE}
STOOD: dict[Status, set[Status]] = {
    S.UNREACHABLE: OPEN | {S.ADMITTED},
    S.REFERRED_OUT: {S.DECIDED, S.WAITLISTED, S.ADMITTED},
}
TO_DO = {S.REFERRED_OUT: Action.CONFIRM_HAND_OFF}
STEPS: dict[str, Callable[..., Referral]] = {
    "reach": partial(referrals.contact, reached=True),
    "try": partial(referrals.contact, reached=False),
    "screen": lambda referral, at: referrals.screen(referral),
    "begin": referrals.begin_assessment,
    "complete": referrals.complete_assessment,
    "decide": lambda referral, at: referrals.decide(referral, offered=True),
    "decide on another level": lambda referral, at: referrals.decide(referral, offered=False),
    "admit": referrals.admit,
    "wait": lambda referral, at: referrals.wait_for_seat(referral),
    "sit": lambda referral, at: referrals.take_seat(referral),
    "refer out": lambda referral, at: referrals.refer_out(referral, due_at=at + 2 * HOUR),
    "hand off": lambda referral, at: referrals.confirm_hand_off(referral),
    "come to nothing": lambda referral, at: referrals.end_hand_off(referral, offered=True),
    "come to nothing, and the level is not offered": lambda referral, at: referrals.end_hand_off(
        referral, offered=False
    ),
    "a seat": lambda referral, at: referrals.follow_seat(referral, waits=False),
    "no seat": lambda referral, at: referrals.follow_seat(referral, waits=True),
    "decline": lambda referral, at: referrals.close(referral, S.DECLINED, reason="no"),
    "lose": lambda referral, at: referrals.close(referral, S.UNREACHABLE, reason="no answer"),
    "assign": lambda referral, at: referrals.assign(referral, "staff-2041"),
}


def a_referral(**changes: Any) -> Referral:
    person = Person("Quillan", "Vexmoor", "", "ADMINISTRATIVE_GENDER_UNSPECIFIED", (), "")
    received = Referral(UUID(int=1), Patient(UUID(int=2), person, Label.PART2), S.RECEIVED, (), "", NOON)
    return replace(referrals.receive(received, PACE), **changes)


class OneReferral(RuleBasedStateMachine):
    """Any steps in any order: what is legal happens and is announced once, and anything else changes nothing."""

    @initialize()
    def receive(self) -> None:
        self.referral, self.now, self.announced = a_referral(), NOON, list[Moved]()
        self.spoken_with: datetime | None = None

    @rule(name=st.sampled_from(list(STEPS)), hours=st.integers(0, 200))
    def step(self, name: str, hours: int) -> None:
        self.now += hours * HOUR
        before = self.referral
        try:
            after = STEPS[name](before, at=self.now)
        except Conflict:
            return
        self.referral, moved = referrals.settle(before, after, PACE, at=self.now)
        assert (moved is not None) is (self.referral.status is not before.status)
        if name == "reach" or (moved and moved.status is S.ASSESSMENT):
            self.spoken_with = self.spoken_with or self.now
        if moved:
            self.announced.append(moved)
            allowed = LEGAL[before.status] | (ENDS if before.status in OPEN else set())
            assert moved == Moved(before.id, before.patient.id, self.referral.status, self.now)
            assert moved.status in allowed, (before.status, moved.status)

    @invariant()
    def something_is_due_exactly_while_something_is_to_be_done(self) -> None:
        referral = self.referral
        waits = referral.next_action is not None and referral.status is not S.UNREACHABLE
        assert (referral.due_at is not None) is waits
        assert referral.status not in OPEN or waits
        assert referral.due_at is None or referral.due_at <= self.now + max(PACE.values())

    @invariant()
    def times_are_those_of_the_first_time(self) -> None:
        referral = self.referral
        assert referral.contacted_at == self.spoken_with
        for length in (referral.time_to_first_contact, referral.time_to_admission):
            assert length is None or timedelta() <= length <= self.now - NOON

    @invariant()
    def where_it_stands_is_what_was_said_last(self) -> None:
        assert self.referral.status is (self.announced[-1].status if self.announced else S.RECEIVED)


TestOneReferral = OneReferral.TestCase


def test_every_state_is_in_the_table_and_every_way_of_it_can_be_gone() -> None:
    assert set(LEGAL) == set(S)
    gone: set[tuple[Status, Status]] = set()
    for status in S:
        for stood in STOOD.get(status, {None}):
            for step in STEPS.values():
                gone |= went(a_referral(status=status, stood=stood, missed=1, next_action=TO_DO.get(status)), step)
    legal = {(before, after) for before, ways in LEGAL.items() for after in ways}
    assert gone == legal | {(before, after) for before in OPEN for after in ENDS}


def went(referral: Referral, step: Callable[..., Referral]) -> set[tuple[Status, Status]]:
    try:
        after = step(referral, at=NOON)
    except Conflict:
        return set()
    return {(referral.status, after.status)} - {(referral.status, referral.status)}


@pytest.mark.parametrize("status", sorted(set(S) - OPEN - {S.UNREACHABLE}))
def test_what_has_ended_is_contacted_assigned_and_closed_no_more(status: Status) -> None:
    over = a_referral(status=status, next_action=None)
    for step in ("reach", "try", "assign", "decline", "lose"):
        with pytest.raises(Conflict) as refused:
            STEPS[step](replace(over, missed=1), at=NOON)
        admitted = status is S.ADMITTED and step in {"decline", "lose"}
        assert refused.value.reason == ("ALREADY_ADMITTED" if admitted else "REFERRAL_CLOSED")


@pytest.mark.parametrize("steps", [(), ("reach",), ("try", "reach")])
def test_nobody_is_given_up_before_somebody_has_tried_in_vain_since_they_were_reached(
    steps: Sequence[str],
) -> None:
    referral = a_referral()
    for step in steps:
        referral = STEPS[step](referral, at=NOON)
    with pytest.raises(Conflict) as refused:
        STEPS["lose"](referral, at=NOON)
    assert refused.value.reason == "CONTACT_NOT_TRIED"
    assert STEPS["lose"](STEPS["try"](referral, at=NOON), at=NOON).status is S.UNREACHABLE


@pytest.mark.parametrize("offered", [True, False])
def test_whoever_calls_back_is_taken_up_where_they_stood_with_what_was_to_be_done(offered: bool) -> None:
    decided = referrals.decide(a_referral(status=S.SCREENING, missed=2), offered=offered)
    lost = referrals.close(decided, S.UNREACHABLE, reason="no answer")
    assert referrals.settle(decided, lost, PACE, at=NOON)[0].due_at is None
    back = referrals.contact(lost, reached=True, at=NOON + HOUR)
    assert (back.status, back.next_action) == (S.DECIDED, Action.ADMIT if offered else Action.REFER_OUT)
    assert (back.stood, back.closing_reason, back.contacted_at) == (None, "", NOON + HOUR)


def test_whoever_was_given_up_before_a_first_contact_and_calls_is_contacted() -> None:
    lost = referrals.close(a_referral(missed=1), S.UNREACHABLE, reason="no answer")
    assert referrals.contact(lost, reached=True, at=NOON).status is S.CONTACTED
    assert referrals.contact(lost, reached=False, at=NOON).status is S.UNREACHABLE


def test_the_first_contact_counts_and_later_ones_do_not() -> None:
    first = referrals.contact(a_referral(), reached=True, at=NOON + HOUR)
    again = referrals.contact(first, reached=True, at=NOON + 9 * HOUR)
    assert (again.time_to_first_contact, again.attempts) == (HOUR, 2)


def test_whoever_is_assessed_before_any_call_is_in_contact_from_then_on() -> None:
    begun = referrals.begin_assessment(a_referral(missed=1), at=NOON + HOUR)
    rung = referrals.contact(begun, reached=True, at=NOON + 480 * HOUR)
    assert (rung.time_to_first_contact, begun.missed) == (HOUR, 0)
    assert referrals.screen(a_referral()).contacted_at is None


def test_a_call_puts_off_what_it_was_about_and_nothing_else() -> None:
    tried = referrals.settle(a_referral(), STEPS["try"](a_referral(), at=NOON + HOUR), PACE, at=NOON + HOUR)[0]
    assert tried.due_at == NOON + HOUR + PACE[Action.CONTACT]
    screened = a_referral(status=S.SCREENING, next_action=Action.ASSESS, due_at=NOON)
    assert referrals.settle(screened, STEPS["reach"](screened, at=NOON), PACE, at=NOON + HOUR)[0].due_at == NOON
    waiting = a_referral(status=S.WAITLISTED, next_action=Action.KEEP_IN_TOUCH, due_at=NOON)
    called = referrals.settle(waiting, STEPS["reach"](waiting, at=NOON), PACE, at=NOON)[0]
    assert called.due_at == NOON + timedelta(days=7)


def test_an_assessment_that_is_whole_waits_for_a_decision() -> None:
    begun = referrals.begin_assessment(a_referral(status=S.SCREENING), at=NOON)
    assert (begun.status, begun.next_action) == (S.ASSESSMENT, Action.ASSESS)
    whole = referrals.complete_assessment(begun, at=NOON)
    assert (whole.status, whole.next_action) == (S.ASSESSMENT, Action.DECIDE)
    settled, moved = referrals.settle(begun, whole, PACE, at=NOON)
    assert (settled.due_at, moved) == (NOON + timedelta(hours=24), None)


@pytest.mark.parametrize("status", sorted({S.DECIDED, S.WAITLISTED, S.ADMITTED, S.REFERRED_OUT, *ENDS}))
def test_an_assessment_that_is_repeated_later_moves_a_referral_nowhere(status: Status) -> None:
    later = a_referral(status=status)
    for step in ("screen", "begin", "complete"):
        assert STEPS[step](later, at=NOON) == later


def test_an_admission_keeps_its_time_while_its_seat_comes_and_goes() -> None:
    admitted = referrals.admit(a_referral(status=S.DECIDED), at=NOON + HOUR)
    waiting = referrals.wait_for_seat(admitted)
    assert referrals.wait_for_seat(waiting) == waiting
    seated = referrals.take_seat(waiting)
    assert (seated.status, seated.time_to_admission) == (S.ADMITTED, HOUR)
    assert referrals.take_seat(seated) == seated
    with pytest.raises(Conflict) as refused:
        referrals.admit(waiting, at=NOON)
    assert refused.value.reason == "ALREADY_ADMITTED"


@pytest.mark.parametrize("status", sorted({S.UNREACHABLE, S.REFERRED_OUT}))
def test_a_seat_takes_nobody_up_who_is_not_on_their_way_but_is_there_once_they_are(status: Status) -> None:
    leave = {S.UNREACHABLE: "lose", S.REFERRED_OUT: "refer out"}[status]
    back = {S.UNREACHABLE: "reach", S.REFERRED_OUT: "come to nothing"}[status]
    admitted = referrals.admit(a_referral(status=S.DECIDED, missed=1), at=NOON)
    away = STEPS[leave](referrals.follow_seat(admitted, waits=True), at=NOON)
    assert STEPS[back](away, at=NOON).status is S.WAITLISTED
    seated = referrals.follow_seat(away, waits=False)
    assert seated.status is status
    taken_up = STEPS[back](seated, at=NOON)
    assert (taken_up.status, taken_up.next_action) == (S.ADMITTED, None)


def test_a_seat_changes_nothing_about_whoever_has_declined() -> None:
    declined = STEPS["decline"](referrals.wait_for_seat(a_referral(status=S.ADMITTED)), at=NOON)
    for waits in (True, False):
        assert referrals.follow_seat(declined, waits=waits) == declined


@pytest.mark.parametrize(
    ("stood", "offered", "next_action"),
    [
        (S.DECIDED, False, Action.REFER_OUT),
        (S.DECIDED, True, Action.ADMIT),
        (S.WAITLISTED, True, Action.KEEP_IN_TOUCH),
        (S.WAITLISTED, False, Action.REFER_OUT),
    ],
)
def test_whom_no_provider_takes_is_where_they_stood(stood: Status, offered: bool, next_action: Action) -> None:
    back = referrals.end_hand_off(STEPS["refer out"](a_referral(status=stood), at=NOON), offered=offered)
    assert (back.status, back.next_action, back.stood) == (stood, next_action, None)


def seated(referral: Referral) -> Referral:
    return referrals.follow_seat(referral, waits=False)


def test_a_seat_takes_up_nobody_who_is_decided_on_for_elsewhere_until_that_is_taken_back() -> None:
    waits = referrals.wait_for_seat(a_referral(status=S.ADMITTED))
    worse = referrals.decide(waits, offered=False)
    assert seated(worse) == worse
    lost = STEPS["lose"](STEPS["try"](worse, at=NOON), at=NOON)
    assert seated(lost) == lost
    gone = referrals.follow_seat(worse, waits=False, gone=True)
    assert (gone.status, gone.next_action) == (S.ADMITTED, None)
    assert seated(referrals.decide(seated(worse), offered=True)) == replace(waits, status=S.ADMITTED, next_action=None)


def test_a_hand_off_that_comes_to_nothing_leaves_to_be_referred_out_whoever_needs_more_than_their_seat() -> None:
    worse = referrals.decide(a_referral(status=S.WAITLISTED), offered=False)
    out = seated(STEPS["refer out"](worse, at=NOON))
    back = referrals.end_hand_off(out, offered=False)
    assert (back.status, back.next_action, back.stood) == (S.WAITLISTED, Action.REFER_OUT, None)
    gone = referrals.end_hand_off(replace(out, stood=S.ADMITTED), offered=False, gone=True)
    assert (gone.status, gone.next_action, gone.stood) == (S.ADMITTED, None, None)


def test_nobody_is_referred_out_before_a_clinician_has_decided() -> None:
    with pytest.raises(Conflict) as refused:
        STEPS["refer out"](a_referral(), at=NOON)
    assert refused.value.reason == "LEVEL_OF_CARE_UNDECIDED"


def test_a_provider_says_once_that_somebody_has_come() -> None:
    out = STEPS["refer out"](a_referral(status=S.DECIDED), at=NOON)
    assert (out.status, out.next_action) == (S.REFERRED_OUT, Action.CONFIRM_HAND_OFF)
    assert referrals.settle(a_referral(status=S.DECIDED), out, PACE, at=NOON)[0].due_at == NOON + 2 * HOUR
    come = referrals.confirm_hand_off(out)
    assert come.next_action is None
    with pytest.raises(Conflict) as refused:
        referrals.confirm_hand_off(come)
    assert refused.value.reason == "REFERRAL_NOT_REFERRED_OUT"


def test_a_site_sets_its_own_pace() -> None:
    pace = referrals.pace_of({"referral_due_hours": {"contact": 4}})
    assert pace == PACE | {Action.CONTACT: timedelta(hours=4)}
    assert set(PACE) == set(DUE_HOURS) == set(Action) - {Action.CONFIRM_HAND_OFF}


@pytest.mark.parametrize(
    "hours",
    [
        *([], 24, "24", None),
        *({"contact": 0}, {"contact": 1.5}, {"contact": True}, {"contact": "4"}),
        *({"contact": LONGEST_DUE_HOURS + 1}, {"call": 4}, {"confirm_hand_off": 4}, {1: 4}),
    ],
)
def test_a_pace_that_is_none_is_refused_by_name(hours: object) -> None:
    with pytest.raises(InvalidInput) as refused:
        referrals.pace_of({"referral_due_hours": hours})
    assert (refused.value.reason, refused.value.field) == ("SITE_SETTING_INVALID", "referral_due_hours")


@pytest.mark.parametrize(
    ("zone", "now", "end"),
    [
        ("UTC", "2026-11-25T12:00+00:00", "2026-11-26T00:00+00:00"),
        ("America/New_York", "2026-11-25T04:59+00:00", "2026-11-25T05:00+00:00"),
        ("America/New_York", "2026-11-25T05:00+00:00", "2026-11-26T05:00+00:00"),
        ("America/New_York", "2026-11-01T04:00+00:00", "2026-11-02T05:00+00:00"),  # a day of 25 hours
        ("America/New_York", "2026-03-08T05:00+00:00", "2026-03-09T04:00+00:00"),  # and one of 23
    ],
)
def test_a_day_ends_at_the_sites_midnight(zone: str, now: str, end: str) -> None:
    assert referrals.end_of_day(zone, datetime.fromisoformat(now)) == datetime.fromisoformat(end)


@pytest.mark.parametrize("length", [timedelta(0), -HOUR, timedelta(days=367)])
def test_a_period_that_is_none_or_endless_is_refused(length: timedelta) -> None:
    with pytest.raises(InvalidInput) as refused:
        referrals.period(NOON, NOON + length)
    assert (refused.value.reason, refused.value.field) == ("PERIOD_INVALID", "until")
