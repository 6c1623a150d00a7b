"""What drafts of a workup say of danger, or leave open about it: each is flagged when it is new, and no oftener."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from stepway_intake.domain import risk, workups
from stepway_intake.domain.risk import Urgency
from stepway_intake.domain.workups import Workup
from stepway_intake.instruments.catalogue import find
from stepway_intake.instruments.definition import Risk
from tests.drafts import C_SSRS, GAD_7, NOON, PHQ_9, a_workup, completed, excused, ids, saved


def test_what_was_flagged_when_it_was_saved_is_not_flagged_again_at_the_end() -> None:
    workup, flag = saved(a_workup(), PHQ_9, {9: 1})
    assert flag is not None
    whole, again = saved(workup, PHQ_9, dict.fromkeys(range(1, 9), 1))
    c_ssrs, none = saved(whole, C_SSRS, {1: 0, 2: 0, 6: 0})
    assert (again, none) == (None, None)
    assert completed(excused(c_ssrs)).flags == []


def test_a_yes_that_is_taken_back_leaves_the_flag_and_raises_no_other() -> None:
    workup, _ = saved(a_workup(), PHQ_9, {1: 0, 9: 1})
    workup, _ = saved(workup, C_SSRS, {1: 0, 2: 0, 6: 0})
    workup, flag = saved(workup, PHQ_9, {}, withdrawn=[9])
    assert (flag, workup.drafts["phq-9"].flagged) == (None, Risk.PRESENT)
    assert completed(excused(workup)).flags == []


WEEKS = timedelta(weeks=3)


@pytest.mark.parametrize(
    ("first", "age", "again", "urgency"),
    [
        ({9: 2}, timedelta(days=5), {9: 3}, Urgency.PAGE),
        ({9: 2}, timedelta(days=5), {9: 1}, Urgency.PAGE),
        ({9: 2}, timedelta(days=5), {1: 3}, None),
        ({9: 2}, timedelta(hours=47), {9: 3}, None),
        ({9: 2}, timedelta(hours=47), {9: 0}, None),
    ],
)
def test_a_yes_of_now_pages_unless_one_of_the_last_two_days_has(
    first: dict[int, int], age: timedelta, again: dict[int, int], urgency: Urgency | None
) -> None:
    workup, _ = saved(a_workup(), PHQ_9, first, age=age)
    workup, flag = saved(workup, PHQ_9, again)
    assert (flag.urgency if flag else None) == urgency
    workup, _ = saved(workup, C_SSRS, {1: 0, 2: 0, 6: 0})
    assert completed(excused(workup)).flags == []


def test_a_yes_that_is_said_again_weeks_later_is_flagged_again() -> None:
    workup, _ = saved(a_workup(), C_SSRS, {1: 1, 2: 1, 3: 1, 4: 1, 5: 0, 6: 0})
    workup, lower = saved(workup, C_SSRS, {3: 1, 4: 0}, now=NOON + WEEKS)
    workup, higher = saved(workup, C_SSRS, {4: 1}, now=NOON + WEEKS)
    workup, same = saved(workup, C_SSRS, {5: 1}, now=NOON + WEEKS)
    assert [flag and flag.risk for flag in (lower, higher, same)] == [Risk.MODERATE, Risk.HIGH, None]
    _, old = saved(workup, C_SSRS, {4: 1}, age=WEEKS, now=NOON + 2 * WEEKS)
    assert old is None  # it is the form of before that was typed in once more


@pytest.mark.parametrize(
    ("disposed", "again", "flagged"),
    [
        (timedelta(minutes=30), {4: 1, 5: 0}, Risk.HIGH),
        (timedelta(minutes=30), {1: 1}, Risk.HIGH),
        (timedelta(minutes=30), {5: 0}, None),
        (timedelta(hours=2), {4: 1}, None),  # the answers are of before it was seen to
        (None, {4: 1}, None),
    ],
)
def test_a_yes_that_is_said_after_the_flag_was_seen_to_is_flagged_again(
    disposed: timedelta | None, again: dict[int, int], flagged: Risk | None
) -> None:
    workup, first = saved(a_workup(), C_SSRS, {1: 1, 4: 1})
    assert first is not None
    seen_to = replace(first, disposed_at=disposed and NOON + disposed)
    _, flag = saved(workup, C_SSRS, again, now=NOON + timedelta(hours=1), raised=[seen_to])
    assert (flag.risk if flag else None) == flagged


def test_low_danger_is_flagged_though_questions_are_open_and_these_when_nobody_comes_back() -> None:
    workup, low = saved(a_workup(), C_SSRS, {1: 1, 2: 1})
    assert low is not None
    assert low.risk is Risk.LOW
    late = NOON + workups.LEFT_ALONE
    assert workups.due_at(workup) == late
    assert workups.flag_left_open(workup, flag_ids=ids(), at=late - timedelta(seconds=1)) == (workup, [])
    workup, flags = workups.flag_left_open(workup, flag_ids=ids(), at=late)
    assert [(flag.risk, flag.urgency) for flag in flags] == [(Risk.UNANSWERED, Urgency.REVIEW)]
    workup, again = saved(workup, C_SSRS, {2: 1}, now=late)
    assert (again, workups.due_at(workup)) == (None, None)
    assert [flag.assessment_id for flag in completed(excused(workup)).flags] == [None]  # the PHQ-9 was never begun


def test_only_a_draft_that_leaves_a_question_about_danger_open_is_waited_for() -> None:
    workup, _ = saved(a_workup(), GAD_7, {1: 1})
    assert workups.due_at(workup) is None
    workup, _ = saved(workup, PHQ_9, {1: 1})
    later, _ = saved(workup, PHQ_9, {2: 1}, now=NOON + timedelta(hours=1))
    assert workups.due_at(later) == NOON + timedelta(hours=1) + workups.LEFT_ALONE
    assert workups.due_at(saved(later, PHQ_9, {9: 0})[0]) is None
    assert workups.due_at(replace(later, completed_at=NOON)) is None


AGAIN = find("c-ssrs-screener", "since-last-contact")


def left_alone(workup: Workup, now: datetime) -> tuple[Workup, list[Risk]]:
    workup, flags = workups.flag_left_open(workup, flag_ids=ids(), at=now + workups.LEFT_ALONE)
    return workup, [flag.risk for flag in flags]


@pytest.mark.parametrize("first", [{1: 0}, {1: 1, 2: 1, 3: 1, 4: 1}])
def test_an_instrument_begun_anew_in_another_version_is_flagged_by_itself(first: dict[int, int]) -> None:
    workup, _ = left_alone(saved(a_workup(), C_SSRS, first)[0], NOON)
    workup, none = saved(workup, AGAIN, {1: 0}, now=NOON + WEEKS)
    assert (none, workups.due_at(workup)) == (None, NOON + WEEKS + workups.LEFT_ALONE)
    assert Risk.UNANSWERED in [flag.risk for flag in completed(excused(workup)).flags if flag.assessment_id]
    assert left_alone(workup, NOON + WEEKS)[1] == [Risk.UNANSWERED]


def test_a_yes_to_another_version_is_flagged_though_one_to_the_first_was() -> None:
    workup, _ = saved(a_workup(), C_SSRS, {4: 1})
    _, flag = saved(workup, AGAIN, {4: 1})
    assert flag is not None
    assert flag.risk is Risk.HIGH


@pytest.mark.parametrize(("after", "flagged"), [(timedelta(hours=47), []), (WEEKS, [Risk.UNANSWERED])])
@pytest.mark.parametrize("first", [{1: 0}, {1: 0, 4: 1}])
def test_what_answers_leave_open_is_flagged_again_unless_a_flag_of_the_last_two_days_was_raised(
    first: dict[int, int], after: timedelta, flagged: list[Risk]
) -> None:
    workup, _ = left_alone(saved(a_workup(), C_SSRS, first)[0], NOON)
    now = NOON + after
    workup, none = saved(workup, C_SSRS, {1: 0}, withdrawn=[4], now=now)
    assert (none, workups.due_at(workup)) == (None, now + workups.LEFT_ALONE if flagged else None)
    workup, risks = left_alone(workup, now)
    assert (risks, workups.due_at(workup)) == (flagged, None)


def test_an_old_form_that_is_typed_in_late_leaves_nothing_open_beyond_what_was_flagged_of_it() -> None:
    workup, _ = saved(a_workup(), C_SSRS, {4: 1}, age=WEEKS)
    workup, _ = saved(workup, C_SSRS, {1: 0}, withdrawn=[4], age=WEEKS)
    assert workups.due_at(workup) is None


def test_a_question_that_was_answered_and_is_open_again_is_flagged_again() -> None:
    workup, _ = left_alone(saved(a_workup(), PHQ_9, {1: 1})[0], NOON)
    workup, _ = saved(workup, PHQ_9, {9: 0}, now=NOON + workups.LEFT_ALONE)
    workup, _ = saved(workup, PHQ_9, {}, withdrawn=[9], now=NOON + workups.LEFT_ALONE)
    assert left_alone(workup, NOON + workups.LEFT_ALONE)[1] == [Risk.UNANSWERED]


def test_answers_of_a_paper_form_of_last_week_ask_for_a_review() -> None:
    _, flag = saved(a_workup(), PHQ_9, {9: 3}, age=timedelta(days=7))
    assert flag is not None
    assert (flag.urgency, flag.due_at) == (Urgency.REVIEW, NOON + risk.HISTORICAL_WITHIN.taken)
