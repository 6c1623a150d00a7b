"""Admissions: who may be admitted, which course can be agreed on, and how far the seat has got."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from functools import reduce
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepway_chassis.errors import Conflict, InvalidInput
from stepway_intake.domain.admissions import (
    Admission,
    Authorization,
    AvailableTime,
    Course,
    Daypart,
    Ending,
    Population,
    Prescription,
    Seat,
    Status,
    admit,
    agree,
    end,
    floor_of,
    follow,
    label_of,
    waits,
)
from stepway_intake.domain.levels_of_care import LevelOfCare
from stepway_intake.domain.people import Label
from stepway_intake.domain.referrals import Action, Referral, close, follow_seat
from stepway_intake.domain.referrals import Status as ReferralStatus
from tests.unit.test_intake_domain import NOON, PATIENT, REFERRAL, a_referral

TODAY = date(2026, 11, 21)
ADMISSION, EARLIER, ENROLLMENT = (UUID(int=number) for number in range(11, 14))
IOP = LevelOfCare.INTENSIVE_OUTPATIENT


def an_admission(**changes: Any) -> Admission:
    return replace(Admission(ADMISSION, REFERRAL, PATIENT, (Daypart.EVENING,), NOON), **changes)


def admitted(
    status: ReferralStatus, level: LevelOfCare | None, earlier: Admission | None = None
) -> tuple[Referral, Admission]:
    return admit(a_referral(status=status), level, an_admission(), earlier=earlier)


def test_whoever_needs_what_is_offered_is_admitted() -> None:
    referral, admission = admitted(ReferralStatus.DECIDED, IOP)
    assert referral.status is ReferralStatus.ADMITTED
    assert (admission.status, admission.earlier_admission_id) == (Status.ADMITTED, None)


def test_whoever_comes_back_is_linked_to_the_episode_before() -> None:
    left = an_admission(id=EARLIER, status=Status.ENDED, ending=Ending.LEFT, ended_at=NOON)
    assert admitted(ReferralStatus.DECIDED, IOP, left)[1].earlier_admission_id == EARLIER


@pytest.mark.parametrize(
    ("status", "level", "earlier", "reason"),
    [
        (ReferralStatus.SCREENING, None, None, "LEVEL_OF_CARE_UNDECIDED"),
        (ReferralStatus.ADMITTED, IOP, None, "ALREADY_ADMITTED"),
        (ReferralStatus.DECIDED, IOP, Status.WAITLISTED, "PATIENT_ALREADY_ADMITTED"),
        *(
            (ReferralStatus.DECIDED, level, None, "LEVEL_OF_CARE_NOT_OFFERED")
            for level in LevelOfCare
            if level is not IOP
        ),
    ],
)
def test_nobody_else_is_admitted(
    status: ReferralStatus, level: LevelOfCare | None, earlier: Status | None, reason: str
) -> None:
    with pytest.raises(Conflict) as refused:
        admitted(status, level, an_admission(status=earlier) if earlier else None)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("course", "age_group", "floor", "hours"),
    [
        (Course(), None, None, 9),
        (Course(population=Population.ADOLESCENT), None, None, 6),
        (Course(population=Population.ADOLESCENT), "adult", None, 9),
        (Course(population=Population.DUAL), "adolescent", None, 6),
        (Course(population=Population.SUBSTANCE_USE, weekly_hours=6), "adolescent", None, 6),
        (Course(population=Population.ADOLESCENT), "adolescent", 7, 7),
        (Course(weekly_hours=12), None, 7, 12),
    ],
)
def test_a_course_has_at_least_the_hours_that_the_level_of_care_asks_for_at_that_age(
    course: Course, age_group: str | None, floor: int | None, hours: int
) -> None:
    assert agree(course, age_group=age_group, floor=floor, today=TODAY) == replace(course, weekly_hours=hours)


def test_no_adult_is_agreed_on_the_hours_of_the_young() -> None:
    course = Course(population=Population.ADOLESCENT, weekly_hours=6)
    with pytest.raises(InvalidInput) as refused:
        agree(course, age_group="adult", floor=None, today=TODAY)
    assert refused.value.reason == "WEEKLY_HOURS_TOO_FEW"


def a_time(from_minute: int, until_minute: int, weekday: int = 1) -> AvailableTime:
    return AvailableTime(weekday, from_minute, until_minute)


DBT = Prescription("dbt_skills", 270)


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"start_latest": "2026-11-20"}, "START_WINDOW_IMPOSSIBLE", "start_latest"),
        ({"start_latest": "2027-02-29"}, "START_WINDOW_IMPOSSIBLE", "start_latest"),
        ({"start_earliest": "2026-13-01"}, "START_WINDOW_IMPOSSIBLE", "start_earliest"),
        ({"start_earliest": "2026-12-02", "start_latest": "2026-12-01"}, "START_WINDOW_IMPOSSIBLE", "start_latest"),
        ({"available_times": (a_time(600, 600),)}, "AVAILABILITY_IMPOSSIBLE", "available_times"),
        ({"available_times": (a_time(600, 700), a_time(540, 601))}, "AVAILABILITY_IMPOSSIBLE", "available_times"),
        ({"weekly_hours": 8}, "WEEKLY_HOURS_TOO_FEW", "weekly_hours"),
        ({"weekly_hours": 5, "population": Population.ADOLESCENT}, "WEEKLY_HOURS_TOO_FEW", "weekly_hours"),
        ({"modalities": (DBT, DBT)}, "MODALITY_REPEATED", "modalities"),
        ({"modalities": (DBT, Prescription("cbt", 271))}, "PRESCRIPTION_TOO_LONG", "modalities"),
        (
            {"authorization": Authorization("A-1", 20, "2026-12-02", "2026-12-01")},
            "AUTHORIZATION_SPAN_IMPOSSIBLE",
            "authorization.last_day",
        ),
        (
            {"authorization": Authorization("A-1", 20, "2026-12-32", "2027-01-01")},
            "AUTHORIZATION_SPAN_IMPOSSIBLE",
            "authorization.first_day",
        ),
    ],
)
def test_a_course_that_cannot_be_is_refused(changes: dict[str, Any], reason: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        agree(Course(**changes), age_group=None, floor=None, today=TODAY)
    assert (refused.value.reason, refused.value.field) == (reason, f"course.{field}")


def test_a_course_that_can_be_is_agreed() -> None:
    course = Course(
        Population.DUAL,
        9,
        "2026-11-21",
        "2026-11-21",
        (a_time(600, 700), a_time(700, 760), a_time(600, 700, weekday=2)),
        (DBT, Prescription("cbt", 270)),
        Authorization("A-1", 20, "2026-12-01", "2026-12-01"),
    )
    assert agree(course, age_group=None, floor=None, today=TODAY) == course


@given(*[st.sampled_from(Label)] * 2, st.sampled_from(Population))
def test_a_label_never_falls_and_substance_use_is_part_2(known: Label, asked: Label, population: Population) -> None:
    label = label_of(known, asked, population)
    assert label in (known, Label.PART2)
    part2 = asked is Label.PART2 or population in (Population.SUBSTANCE_USE, Population.DUAL)
    assert (label is Label.PART2) is (part2 or known is Label.PART2)


def test_the_least_hours_are_the_sites() -> None:
    assert (floor_of({}), floor_of({"weekly_hours_floor": 8})) == (None, 8)
    with pytest.raises(InvalidInput):
        floor_of({"weekly_hours_floor": 0})


def a_seat(status: Status) -> Seat:
    confirmed = NOON if status in (Status.ENROLLED, Status.ENDED) else None
    return Seat(ENROLLMENT, ADMISSION, status, confirmed, NOON if status is Status.ENDED else None)


HEARD = (Status.WAITLISTED, Status.ENROLLED, Status.ENDED)


@given(st.lists(st.sampled_from(HEARD), min_size=1, max_size=4))
def test_an_admission_is_as_far_as_its_seat_in_whichever_order_that_is_heard(heard: list[Status]) -> None:
    furthest = max(heard, key=HEARD.index)
    for order in permutations(heard):
        after = reduce(lambda admission, status: follow(admission, a_seat(status)), order, an_admission())
        assert after == follow(an_admission(), a_seat(furthest))
        assert after.status is furthest


@pytest.mark.parametrize("how", [Ending.LEFT, Ending.TRANSFERRED])
def test_what_has_ended_stays_so_whatever_becomes_of_the_seat(how: Ending) -> None:
    over = end(an_admission(), how, at=NOON)
    assert (over.status, over.ending, over.ended_at) == (Status.ENDED, how, NOON)
    assert all(follow(over, a_seat(status)) == over for status in HEARD)
    left = follow(an_admission(), a_seat(Status.ENDED))
    assert end(left, how, at=NOON + timedelta(days=1)) == left


LEFT_THE_LINE = replace(a_seat(Status.ENDED), enrolled_at=None)
ON_THE_WAY = (ReferralStatus.WAITLISTED, Action.KEEP_IN_TOUCH)


@pytest.mark.parametrize(
    ("heard", "stands"),
    [
        ([a_seat(Status.WAITLISTED)], ON_THE_WAY),
        ([a_seat(Status.WAITLISTED), LEFT_THE_LINE], ON_THE_WAY),
        ([a_seat(Status.WAITLISTED), a_seat(Status.ENDED)], (ReferralStatus.ADMITTED, None)),
    ],
)
def test_whoever_leaves_the_line_without_a_seat_is_not_lost_in_whichever_order_that_is_heard(
    heard: list[Seat], stands: tuple[ReferralStatus, Action | None]
) -> None:
    for order in permutations(heard):
        referral = followed(order)
        assert (referral.status, referral.next_action) == stands
    if stands == ON_THE_WAY:
        assert close(referral, ReferralStatus.DECLINED, reason="").status is ReferralStatus.DECLINED


def followed(heard: Iterable[Seat]) -> Referral:
    """The referral behind an admission that hears this of its seat."""
    admission, referral = an_admission(), a_referral(status=ReferralStatus.ADMITTED, next_action=None)
    for seat in heard:
        before, admission = admission, follow(admission, seat)
        referral = referral if admission == before else follow_seat(referral, waits=waits(admission))
    return referral


def test_whoever_was_handed_over_to_another_site_waits_here_no_more() -> None:
    waiting = an_admission(status=Status.WAITLISTED)
    assert waits(end(waiting, Ending.LEFT, at=NOON))
    assert not waits(end(waiting, Ending.TRANSFERRED, at=NOON))
