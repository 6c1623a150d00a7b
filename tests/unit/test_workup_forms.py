"""Forms of a workup: what holds together, and which day or year may be named."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepway_chassis.errors import InvalidInput
from stepway_intake.domain import sections
from stepway_intake.domain.sections import Kind

TODAY = date(2026, 11, 25)


def form(kind: Kind, content: dict[str, Any]) -> str:
    """The reason and the field of the refusal, or ""."""
    try:
        sections.check(kind, content, today=TODAY)
    except InvalidInput as refused:
        return f"{refused.reason} {refused.field}"
    return ""


@pytest.mark.parametrize(
    ("kind", "content", "refusal"),
    [
        (Kind.MEDICATIONS, {"medications": [{"name": "x"}, {"started_on": "2026-13-01"}]}, "DATE_IMPOSSIBLE 1"),
        (Kind.MEDICATIONS, {"medications": [{"started_on": "2026-11-25"}]}, ""),
        (Kind.MEDICATIONS, {"medications": [{"started_on": "2026-11-26"}]}, "DATE_IN_FUTURE 0"),
    ],
)
def test_a_date_is_possible_past_and_named_by_its_place(kind: Kind, content: dict[str, Any], refusal: str) -> None:
    reason, _, place = refusal.partition(" ")
    assert form(kind, content) == (reason and f"{reason} section.medications.medications[{place}].started_on")


@pytest.mark.parametrize(
    ("kind", "content", "refusal"),
    [
        (Kind.PSYCHOSOCIAL, {"past_treatments": [{"year": 2027}]}, "DATE_IN_FUTURE"),
        (Kind.MEDICAL, {"conditions": [{"since_year": 2027}], "no_allergies": True}, "DATE_IN_FUTURE"),
        (Kind.MEDICAL, {"no_conditions": True}, "NEITHER_NONE_NOR_SOME"),
        (Kind.MEDICAL, {"no_conditions": True, "no_allergies": True}, ""),
        (Kind.SUBSTANCE_USE, {}, "NEITHER_NONE_NOR_SOME"),
        (Kind.SUBSTANCE_USE, {"none": True, "substances": [{}]}, "NONE_AND_SOME"),
        (Kind.RESPONSIBILITIES, {"availability": [{"from_time": "12:00", "until_time": "12:00"}]}, "WINDOW_REVERSED"),
        (Kind.RESPONSIBILITIES, {"availability": [{"from_time": "09:00", "until_time": "12:00"}]}, ""),
        (Kind.MEDICAL_EVALUATION, {"evaluated_on": "2026-02-29"}, "DATE_IMPOSSIBLE"),
    ],
)
def test_a_form_says_none_in_so_many_words_and_its_times_go_forwards(
    kind: Kind, content: dict[str, Any], refusal: str
) -> None:
    assert form(kind, content).partition(" ")[0] == refusal


@given(st.dates(date(1900, 1, 1), date(2100, 1, 1)))
def test_a_day_is_taken_just_when_it_is_not_to_come(day: date) -> None:
    assert (form(Kind.MEDICAL_EVALUATION, {"evaluated_on": day.isoformat()}) == "") is (day <= TODAY)
