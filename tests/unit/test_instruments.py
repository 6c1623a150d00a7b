"""Scoring: what the published rules say about answers, whole and incomplete."""

import pytest

from stepway_chassis.errors import InvalidInput
from stepway_intake.instruments.catalogue import GAD_7, PHQ_9, find
from stepway_intake.instruments.definition import Band, Risk
from stepway_intake.instruments.scoring import risk_of, score


def answers(*values: int | None) -> dict[int, int]:
    return {item: value for item, value in enumerate(values, start=1) if value is not None}


PHQ_9_CASES = [
    ((0,) * 9, 0, Band.MINIMAL),
    ((1, 1, 1, 1, 0, 0, 0, 0, 0), 4, Band.MINIMAL),
    ((1, 1, 1, 1, 1, 0, 0, 0, 0), 5, Band.MILD),
    ((1,) * 9, 9, Band.MILD),
    ((2, 1, 1, 1, 1, 1, 1, 1, 1), 10, Band.MODERATE),
    ((2, 2, 2, 2, 2, 2, 2, 0, 0), 14, Band.MODERATE),
    ((2, 2, 2, 2, 2, 2, 2, 1, 0), 15, Band.MODERATELY_SEVERE),
    ((3, 3, 3, 3, 3, 3, 1, 0, 0), 19, Band.MODERATELY_SEVERE),
    ((3, 3, 3, 3, 3, 3, 2, 0, 0), 20, Band.SEVERE),
    ((3,) * 9, 27, Band.SEVERE),
]

GAD_7_CASES = [
    ((1, 1, 1, 1, 0, 0, 0), 4, Band.MINIMAL),
    ((1, 1, 1, 1, 1, 0, 0), 5, Band.MILD),
    ((2, 2, 1, 1, 1, 1, 1), 9, Band.MILD),
    ((2, 2, 2, 1, 1, 1, 1), 10, Band.MODERATE),
    ((2, 2, 2, 2, 2, 2, 2), 14, Band.MODERATE),
    ((3, 2, 2, 2, 2, 2, 2), 15, Band.SEVERE),
    ((3,) * 7, 21, Band.SEVERE),
]


@pytest.mark.parametrize(("values", "total", "band"), PHQ_9_CASES)
def test_a_phq_9_total_falls_into_its_published_band(values, total, band):
    assert (score(PHQ_9, answers(*values)).total, score(PHQ_9, answers(*values)).band) == (total, band)


@pytest.mark.parametrize(
    ("definition", "left_open"), [(PHQ_9, {9}), (PHQ_9, {9, 10}), (find("phq-9m"), {9}), (find("phq-9m"), {9, 12, 13})]
)
def test_a_total_has_no_band_while_a_question_about_danger_is_open(definition, left_open):
    said = {item.number: 0 for item in definition.items if item.number not in left_open}
    assert (score(definition, said).total, score(definition, said).band) == (0, None)
    assert score(definition, said | {9: 0}).band is Band.MINIMAL


@pytest.mark.parametrize(("values", "total", "band"), GAD_7_CASES)
def test_a_gad_7_total_falls_into_its_published_band(values, total, band):
    assert (score(GAD_7, answers(*values)).total, score(GAD_7, answers(*values)).band) == (total, band)


@pytest.mark.parametrize(
    ("definition", "values", "total"),
    [
        (PHQ_9, (1, 1, 1, 1, 1, 1, 1, 1, None), 9),
        (PHQ_9, (2, 1, 2, 2, None, 1, None, 1, 0), 12),  # 9 x 9 / 7 = 11.57
        (PHQ_9, (1, 1, 1, 1, 0, 0, 0, 0, None), 5),  # 4 x 9 / 8 = 4.5 exactly, so up
        (PHQ_9, (1, 1, 1, 1, 0, 0, 0, None, None), 5),  # 4 x 9 / 7 = 5.14
        (GAD_7, (2, 2, None, 1, 1, 1, 1), 9),  # 8 x 7 / 6 = 9.33
        (GAD_7, (3, None, 0, 0, 0, 0, 0), 4),  # 3 x 7 / 6 = 3.5 exactly, so up
    ],
)
def test_one_or_two_unanswered_items_are_prorated_and_half_rounds_up(definition, values, total):
    assert score(definition, answers(*values)).total == total


@pytest.mark.parametrize("definition", [PHQ_9, GAD_7], ids=lambda definition: definition.name)
def test_three_unanswered_items_leave_no_total_and_no_band(definition):
    incomplete = {item.number: 3 for item in definition.items[3:] if item.required}
    scored = score(definition, incomplete)
    assert (scored.total, scored.band, scored.missing) == (None, None, 3)


def test_no_answers_at_all_leave_no_total():
    assert score(PHQ_9, {}).total is None


def test_a_score_carries_the_version_of_its_rule():
    assert [score(definition, {}).rule for definition in (PHQ_9, GAD_7)] == ["phq-9/1", "gad-7/1"]


@pytest.mark.parametrize(
    ("values", "finding"),
    [
        ((2, 0, 2, 2, 2, 0, 0, 0, 1), "major"),  # item 9 counts from 1
        ((0, 2, 2, 2, 2, 2, 0, 0, 0), "major"),
        ((0, 0, 2, 2, 2, 2, 2, 2, 2), "none"),  # neither item 1 nor item 2
        ((1, 1, 3, 3, 3, 3, 3, 3, 3), "none"),
        ((2, 0, 2, 2, 1, 1, 1, 1, 0), "other"),
        ((2, 0, 0, 0, 0, 0, 0, 0, 1), "other"),
        ((3, 1, 1, 1, 1, 1, 1, 1, 0), "none"),  # one item alone
    ],
)
def test_the_phq_9_algorithm_counts_endorsed_items_and_asks_for_a_core_one(values, finding):
    assert score(PHQ_9, answers(*values)).findings["algorithm"] == finding


def test_the_algorithm_says_nothing_about_incomplete_answers():
    assert score(PHQ_9, answers(3, 3, 3, 3, 3, 3, 3, 3, None)).findings["algorithm"] is None


def test_an_instrument_without_an_algorithm_has_no_finding():
    assert "algorithm" not in score(GAD_7, answers(*(3,) * 7)).findings


@pytest.mark.parametrize("value", [1, 2, 3])
def test_item_nine_above_nought_is_a_risk_whatever_else_is_answered(value):
    assert risk_of(PHQ_9, {9: value}) is Risk.PRESENT
    assert risk_of(PHQ_9, answers(0, 0, 0, 0, 0, 0, 0, 0, value)) is Risk.PRESENT


def test_an_unanswered_item_nine_is_never_taken_for_a_no():
    assert risk_of(PHQ_9, {}) is Risk.UNANSWERED
    assert risk_of(PHQ_9, answers(0, 0, 0, 0, 0, 0, 0, 0, None)) is Risk.UNANSWERED


def test_item_nine_answered_with_nought_is_no_risk_however_high_the_total():
    assert risk_of(PHQ_9, answers(3, 3, 3, 3, 3, 3, 3, 3, 0)) is Risk.NONE


def test_an_instrument_without_a_risk_item_never_speaks_of_risk():
    assert risk_of(GAD_7, {}) is Risk.NONE


@pytest.mark.parametrize("read", [score, risk_of])
@pytest.mark.parametrize(
    ("given_answers", "reason", "field"),
    [
        ({11: 1}, "ITEM_UNKNOWN", "answers"),
        ({0: 1}, "ITEM_UNKNOWN", "answers"),
        ({4: 4}, "ANSWER_OUT_OF_RANGE", "answers.4"),
        ({4: -1}, "ANSWER_OUT_OF_RANGE", "answers.4"),
    ],
)
def test_an_answer_that_the_form_does_not_have_is_refused_by_field(read, given_answers, reason, field):
    with pytest.raises(InvalidInput) as refused:
        read(PHQ_9, given_answers)
    assert (refused.value.reason, refused.value.field) == (reason, field)


def test_a_refused_value_is_not_repeated():
    with pytest.raises(InvalidInput) as refused:
        score(PHQ_9, {4: 8765})
    assert "8765" not in str(refused.value)
