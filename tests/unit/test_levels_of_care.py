"""A clinician's decision on a level of care: beside a suggestion, against it, and with what a licensed tool said."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepway_chassis.errors import Conflict, InvalidInput, Refusal
from stepway_intake.domain.levels_of_care import (
    CLOCK_SKEW,
    Decision,
    LevelOfCare,
    Override,
    OverrideReason,
    Suggested,
    ToolResult,
    ToolScore,
    decide,
)
from stepway_intake.domain.referrals import Action, Referral, Status
from tests.unit.test_intake_domain import INSTANT, NOON, a_referral

DECISION, SUGGESTION, OLDER, EARLIER = (UUID(int=number) for number in range(11, 15))
LEVELS = list(LevelOfCare)
DAYS, HOME = LevelOfCare.PARTIAL_HOSPITALIZATION, LevelOfCare.OUTPATIENT
AGAINST = Override(OverrideReason.PATIENT_CHOICE, "wants to stay near home")


def suggested(level: LevelOfCare | None = DAYS, at_least: LevelOfCare | None = DAYS) -> Suggested:
    return Suggested(SUGGESTION, level, at_least, "ours/1@abc")


def a_result(**changes: Any) -> ToolResult:
    given: dict[str, Any] = {
        "tool": "a tool",
        "edition": "4",
        "scores": (ToolScore("first", "3"),),
        "level": "two",
        "evaluator": "Dr. Ovelzhuk",
        "evaluated_at": NOON,
    }
    return ToolResult(**{**given, **changes})


def decided(level: LevelOfCare = DAYS, **how: Any) -> tuple[Referral, Decision]:
    referral = a_referral(status=Status.SCREENING)
    return decide(referral, id=DECISION, level=level, rationale="seen", by="staff-1", at=NOON, **how)


def reason(level: LevelOfCare = DAYS, **how: Any) -> str:
    try:
        decided(level, **how)
    except Refusal as refused:
        return refused.reason
    return ""


def test_what_is_suggested_is_decided_on_without_more_words_and_kept_beside_the_decision() -> None:
    referral, decision = decided(suggested=suggested(), seen=SUGGESTION)
    assert referral.status is Status.DECIDED
    assert (decision.suggested, decision.override) == (suggested(), None)


def test_another_level_than_suggested_needs_an_override() -> None:
    assert reason(HOME, suggested=suggested()) == "OVERRIDE_MISSING"
    assert decided(HOME, suggested=suggested(), override=AGAINST)[1].override == AGAINST


@given(
    st.sampled_from(LEVELS),
    st.one_of(st.none(), st.sampled_from(LEVELS)),
    st.one_of(st.none(), st.sampled_from(LEVELS)),
    st.booleans(),
)
def test_an_override_is_there_exactly_where_the_decision_goes_against_what_the_rules_had_said(
    level: LevelOfCare, said: LevelOfCare | None, at_least: LevelOfCare | None, overridden: bool
) -> None:
    too_low = said is None and at_least is not None and LEVELS.index(level) < LEVELS.index(at_least)
    against = level is not said if said else too_low
    told = reason(level, suggested=suggested(said, at_least), override=AGAINST if overridden else None)
    assert told == {(True, False): "OVERRIDE_MISSING", (False, True): "NOTHING_TO_OVERRIDE"}.get(
        (against, overridden), ""
    )


def test_without_a_suggestion_a_clinician_decides_alone_and_overrides_nothing() -> None:
    assert decided()[1].suggested is None
    assert reason(override=AGAINST) == "NOTHING_TO_OVERRIDE"


@pytest.mark.parametrize("newest", [None, suggested()])
def test_whoever_has_seen_another_suggestion_than_the_newest_has_to_look_again(newest: Suggested | None) -> None:
    assert reason(suggested=newest, seen=OLDER) == "SUGGESTION_OUTDATED"


@pytest.mark.parametrize("seen", [None, SUGGESTION])
def test_nobody_decides_on_a_suggestion_that_a_sign_of_danger_has_overtaken(seen: UUID | None) -> None:
    overtaken = replace(suggested(), overtaken=True)
    assert reason(suggested=overtaken, seen=seen) == "SUGGESTION_OUTDATED"
    assert reason(HOME, suggested=overtaken, override=AGAINST) == "SUGGESTION_OUTDATED"


def again(status: Status = Status.DECIDED, level: LevelOfCare = DAYS, **how: Any) -> tuple[Referral, Decision]:
    """A clinician decides for somebody for whom one has decided."""
    how = {"stands": EARLIER, "replaces": EARLIER, **how}
    return decide(a_referral(status=status), id=DECISION, level=level, rationale="worse", by="staff-2", at=NOON, **how)


def refusal(**how: Any) -> Conflict:
    with pytest.raises(Conflict) as refused:
        again(**how)
    return refused.value


def test_a_decision_that_was_made_is_told_before_anything_else() -> None:
    told = refusal(replaces=None, seen=OLDER)
    assert told.reason == "LEVEL_OF_CARE_ALREADY_DECIDED"
    assert str(EARLIER) in told.message


@pytest.mark.parametrize(
    ("status", "level", "comes_next"),
    [
        (Status.DECIDED, DAYS, Action.REFER_OUT),
        (Status.DECIDED, LevelOfCare.INTENSIVE_OUTPATIENT, Action.ADMIT),
        (Status.WAITLISTED, DAYS, Action.REFER_OUT),
        (Status.WAITLISTED, LevelOfCare.INTENSIVE_OUTPATIENT, Action.KEEP_IN_TOUCH),
    ],
)
def test_a_clinician_decides_again_before_somebody_is_admitted_or_while_they_wait(
    status: Status, level: LevelOfCare, comes_next: Action
) -> None:
    referral, decision = again(status, level)
    assert (referral.status, referral.next_action) == (status, comes_next)
    assert (decision.level, decision.replaces, decision.replaced_by) == (level, EARLIER, None)


def test_whoever_decides_again_names_the_decision_that_stands_and_hears_which_that_is() -> None:
    told = refusal(replaces=OLDER)
    assert (told.reason, str(EARLIER) in told.message, str(OLDER) in told.message) == ("DECISION_OUTDATED", True, False)
    assert reason(replaces=EARLIER) == "DECISION_OUTDATED"
    assert reason() == ""


def test_a_decision_again_is_held_against_the_suggestion_like_any_other() -> None:
    assert refusal(level=HOME, suggested=suggested()).reason == "OVERRIDE_MISSING"
    assert refusal(suggested=replace(suggested(), overtaken=True)).reason == "SUGGESTION_OUTDATED"


def test_nobody_decides_again_for_whoever_was_admitted_or_is_not_on_their_way() -> None:
    assert refusal(status=Status.ADMITTED).reason == "LEVEL_OF_CARE_ALREADY_DECIDED"
    for status in (Status.REFERRED_OUT, Status.DECLINED, Status.UNREACHABLE):
        assert refusal(status=status).reason == "REFERRAL_CLOSED"


def test_somebody_who_waits_and_has_come_from_another_site_is_decided_on_like_anybody() -> None:
    assert again(Status.WAITLISTED, stands=None, replaces=None)[1].replaces is None


def test_what_a_licensed_tool_said_is_kept_as_it_was_told() -> None:
    results = (a_result(), a_result(tool="another", evaluated_at=NOON + CLOCK_SKEW))
    assert decided(tool_results=results)[1].tool_results == results


def test_no_tool_was_filled_in_tomorrow_and_the_one_that_says_so_is_named() -> None:
    late = a_result(evaluated_at=NOON + CLOCK_SKEW + INSTANT)
    with pytest.raises(InvalidInput) as refused:
        decided(tool_results=(a_result(evaluated_at=NOON - timedelta(days=400)), late))
    assert (refused.value.reason, refused.value.field) == ("EVALUATED_IN_FUTURE", "tool_results[1].evaluated_at")
