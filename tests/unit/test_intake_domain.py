"""Intake's rules: which dates are possible, what a record's label is, what must not wait, and who has taken it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepway_chassis.errors import Conflict, InvalidInput
from stepway_intake.domain.assessments import CLOCK_SKEW, Assessment, assess
from stepway_intake.domain.levels_of_care import LevelOfCare, decide
from stepway_intake.domain.people import Label, Patient, Person, label_for
from stepway_intake.domain.referrals import Action, Referral, Status, pace_of, receive, screen
from stepway_intake.domain.risk import HISTORICAL, WITHIN, Acknowledged, RiskFlag, Urgency, acknowledge, paged
from stepway_intake.instruments.catalogue import GAD_7, PHQ_9
from stepway_intake.instruments.definition import Definition, Risk

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
PACE = pace_of({})
REFERRAL, PATIENT, ASSESSMENT, FLAG = (UUID(int=number) for number in range(1, 5))


def a_person(**changes: Any) -> Person:
    person = Person("Quillan", "Vexmoor", "1990-04-01", "ADMINISTRATIVE_GENDER_UNSPECIFIED", (), "")
    return replace(person, **changes)


def a_referral(*, born: str = "1990-04-01", **changes: Any) -> Referral:
    patient = Patient(PATIENT, a_person(birth_date=born), Label.PART2)
    return replace(Referral(REFERRAL, patient, Status.RECEIVED, (), "wants help", NOON), **changes)


def a_flag(**changes: Any) -> RiskFlag:
    return replace(RiskFlag(FLAG, PATIENT, REFERRAL, Urgency.PAGE, NOON), **changes)


def phq_9(*, item_9: int | None = 0, others: int = 0) -> dict[int, int]:
    answers = dict.fromkeys(range(1, 9), others)
    return answers if item_9 is None else {**answers, 9: item_9}


def assessed(
    answers: dict[int, int],
    definition: Definition = PHQ_9,
    *,
    age: timedelta = timedelta(0),
    by_patient: bool = False,
    **changes: Any,
) -> tuple[Assessment, RiskFlag | None]:
    return assess(
        a_referral(**changes),
        definition,
        answers,
        assessment_id=ASSESSMENT,
        flag_id=FLAG,
        answered_at=NOON - age,
        now=NOON,
        by_patient=by_patient,
    )


def urgency(answers: dict[int, int], definition: Definition = PHQ_9, **how: Any) -> Urgency | None:
    flag = assessed(answers, definition, **how)[1]
    return flag.urgency if flag else None


@pytest.mark.parametrize("born", ["", "1900", "1900-01", "1900-01-01", "2024-02-29", "2000-02-29", "2026", "2026-11"])
def test_a_date_that_can_be_a_birth_date_is_taken_however_much_of_it_is_known(born: str) -> None:
    assert receive(a_referral(born=born), PACE) == a_referral(born=born, due_at=NOON + timedelta(hours=24))


@pytest.mark.parametrize(
    "born",
    [
        *("0000", "0001-01-01", "1899", "1899-12", "1899-12-31"),
        *("2027", "2026-12", "2026-11-22"),
        *("1990-00", "1990-13", "1990-04-00", "1990-04-31", "1990-12-32"),
        *("1900-02-29", "2023-02-29", "2024-02-30"),
    ],
)
def test_a_date_that_cannot_be_a_birth_date_is_refused_and_the_field_is_named_but_not_its_value(born: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        receive(a_referral(born=born), PACE)
    assert (refused.value.reason, refused.value.field) == ("BIRTH_DATE_IMPOSSIBLE", "person.birth_date")
    assert born not in refused.value.message


def test_somebody_may_be_born_on_the_day_of_the_referral() -> None:
    assert receive(a_referral(born="2026-11-21"), PACE)


def test_a_record_is_part_2_unless_the_site_said_that_its_programme_is_not() -> None:
    assert [label_for(part2_program=said) for said in (True, False)] == [Label.PART2, Label.GENERAL]


def test_a_referral_with_a_recorded_instrument_is_in_screening() -> None:
    assessment, _ = assessed(phq_9(others=1))
    assert screen(a_referral()) == a_referral(status=Status.SCREENING, next_action=Action.ASSESS)
    assert (assessment.id, assessment.referral_id, assessment.patient_id) == (ASSESSMENT, REFERRAL, PATIENT)
    assert (assessment.instrument, assessment.score.total, assessment.answered_at) == ("phq-9", 8, NOON)


@pytest.mark.parametrize("status", [Status.SCREENING, Status.DECIDED, Status.ADMITTED])
def test_an_instrument_that_is_repeated_later_moves_a_referral_nowhere(status: Status) -> None:
    assert screen(a_referral(status=status)).status is status


@pytest.mark.parametrize("item_9", [1, 2, 3])
@pytest.mark.parametrize("others", [0, 1, 3])
def test_any_yes_to_item_9_pages_whatever_the_total(item_9: int, others: int) -> None:
    assert urgency(phq_9(item_9=item_9, others=others)) is Urgency.PAGE


def test_a_patients_own_clock_makes_nothing_a_thing_of_the_past() -> None:
    assert urgency(phq_9(item_9=3), age=timedelta(days=3)) is Urgency.REVIEW
    assert urgency(phq_9(item_9=3), age=timedelta(days=3), by_patient=True) is Urgency.PAGE


def test_a_yes_to_item_9_pages_although_nothing_else_was_answered() -> None:
    assessment, flag = assessed({9: 1})
    assert assessment.score.total is None
    assert flag == a_flag(assessment_id=ASSESSMENT, due_at=NOON + WITHIN[Risk.PRESENT].taken, disposed_within=HOUR)


@pytest.mark.parametrize("others", [0, 1, 3])
def test_item_9_left_open_asks_for_a_review_whatever_the_total(others: int) -> None:
    assert urgency(phq_9(item_9=None, others=others)) is Urgency.REVIEW


def test_no_answers_at_all_ask_for_a_review() -> None:
    assert urgency({}) is Urgency.REVIEW


@pytest.mark.parametrize("others", [0, 1, 3])
def test_a_clear_no_to_item_9_flags_nobody_whatever_the_total(others: int) -> None:
    assert urgency(phq_9(item_9=0, others=others)) is None


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(0), Urgency.PAGE),
        (HISTORICAL, Urgency.PAGE),
        (HISTORICAL + INSTANT, Urgency.REVIEW),
        (timedelta(days=3650), Urgency.REVIEW),
    ],
)
def test_an_answer_older_than_48_hours_asks_for_a_review_and_never_pages(age: timedelta, expected: Urgency) -> None:
    assert timedelta(hours=48) == HISTORICAL
    assert urgency(phq_9(item_9=3), age=age) is expected


@given(st.dictionaries(st.integers(1, 7), st.integers(0, 3)), st.timedeltas(timedelta(0), timedelta(days=30)))
def test_a_gad_7_never_flags_anybody(answers: dict[int, int], age: timedelta) -> None:
    assert urgency(answers, GAD_7, age=age) is None


def test_an_answer_from_the_future_is_refused_beyond_what_clocks_differ() -> None:
    assert assessed(phq_9(), age=-CLOCK_SKEW)
    with pytest.raises(InvalidInput) as refused:
        assessed(phq_9(), age=-CLOCK_SKEW - INSTANT)
    assert (refused.value.reason, refused.value.field) == ("ANSWERED_IN_FUTURE", "answered_at")


@pytest.mark.parametrize(("answers", "reason"), [({11: 1}, "ITEM_UNKNOWN"), ({9: 4}, "ANSWER_OUT_OF_RANGE")])
def test_answers_that_the_instrument_does_not_have_are_refused(answers: dict[int, int], reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        assessed(answers)
    assert refused.value.reason == reason


def test_a_flag_that_is_acknowledged_says_by_whom_and_when() -> None:
    taken, said = acknowledge(a_flag(disposed_within=HOUR), by="staff-2041", at=NOON)
    assert (taken.acknowledged_by, taken.acknowledged_at, taken.due_at) == ("staff-2041", NOON, NOON + HOUR)
    assert said == Acknowledged(FLAG, PATIENT, "staff-2041", NOON)


acknowledgements = st.tuples(
    st.sampled_from(["anna", "bert", "carl"]), st.integers(0, 3).map(lambda hours: NOON + hours * HISTORICAL)
)


@given(st.lists(acknowledgements, min_size=1, max_size=3))
def test_the_earliest_acknowledgement_wins_in_whichever_order_they_are_heard_and_however_often(
    heard: list[tuple[str, datetime]],
) -> None:
    by, at = min(heard, key=lambda each: (each[1], each[0]))
    for order in permutations([*heard, heard[0]]):
        taken, said = reduce(_heard, order, (a_flag(disposed_within=HOUR), 0))
        assert taken == a_flag(acknowledged_by=by, acknowledged_at=at, due_at=at + HOUR, disposed_within=HOUR)
        assert said == 1


def _heard(so_far: tuple[RiskFlag, int], each: tuple[str, datetime]) -> tuple[RiskFlag, int]:
    """The flag, and how often an acknowledgement of it was announced."""
    flag, acknowledged = acknowledge(so_far[0], by=each[0], at=each[1])
    return flag, so_far[1] + (acknowledged is not None)


def test_a_flag_that_a_channel_was_told_of_is_watched_no_more() -> None:
    assert paged(a_flag(), at=NOON) == a_flag(paged_at=NOON)


def decided(status: Status, level: LevelOfCare = LevelOfCare.INTENSIVE_OUTPATIENT) -> tuple[Referral, Any]:
    return decide(a_referral(status=status), id=FLAG, level=level, rationale="seen", by="staff-1", at=NOON)


def test_a_screened_referral_is_decided_on() -> None:
    referral, decision = decided(Status.SCREENING)
    assert referral.status is Status.DECIDED
    assert (decision.referral_id, decision.patient_id, decision.decided_by) == (REFERRAL, PATIENT, "staff-1")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (Status.RECEIVED, "REFERRAL_NOT_SCREENED"),
        (Status.ADMITTED, "LEVEL_OF_CARE_ALREADY_DECIDED"),
    ],
)
def test_a_referral_in_another_state_is_not_decided(status: Status, reason: str) -> None:
    with pytest.raises(Conflict) as refused:
        decided(status)
    assert refused.value.reason == reason
