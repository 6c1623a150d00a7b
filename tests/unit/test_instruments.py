"""Scoring: what the published rules say about answers, whole and incomplete."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepway_chassis.errors import InvalidInput
from stepway_intake.instruments.catalogue import ALL, GAD_7, PHQ_9
from stepway_intake.instruments.definition import Band, Definition
from stepway_intake.instruments.scoring import Finding, Risk, risk_of, score

fixed = settings(derandomize=True, max_examples=25, deadline=None)


def answers(*values: int | None) -> dict[int, int]:
    return {item: value for item, value in enumerate(values, start=1) if value is not None}


def some_answers(definition: Definition) -> st.SearchStrategy[dict[int, int]]:
    size = len(definition.items)
    cells = st.none() | st.integers(0, 3)
    return st.lists(cells, min_size=size, max_size=size).map(lambda values: answers(*values))


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


@pytest.mark.parametrize("definition", ALL, ids=lambda definition: definition.name)
def test_three_unanswered_items_leave_no_total_and_no_band(definition):
    incomplete = {item.number: 3 for item in definition.items[3:]}
    scored = score(definition, incomplete)
    assert (scored.total, scored.band, scored.missing) == (None, None, 3)


def test_no_answers_at_all_leave_no_total():
    assert score(PHQ_9, {}).total is None


def test_a_score_carries_the_version_of_its_rule():
    assert [score(definition, {}).rule for definition in ALL] == ["phq-9/1", "gad-7/1"]


@pytest.mark.parametrize(
    ("values", "finding"),
    [
        ((2, 0, 2, 2, 2, 0, 0, 0, 1), Finding.MAJOR),  # item 9 counts from 1
        ((0, 2, 2, 2, 2, 2, 0, 0, 0), Finding.MAJOR),
        ((0, 0, 2, 2, 2, 2, 2, 2, 2), Finding.NONE),  # neither item 1 nor item 2
        ((1, 1, 3, 3, 3, 3, 3, 3, 3), Finding.NONE),
        ((2, 0, 2, 2, 1, 1, 1, 1, 0), Finding.OTHER),
        ((2, 0, 0, 0, 0, 0, 0, 0, 1), Finding.OTHER),
        ((3, 1, 1, 1, 1, 1, 1, 1, 0), Finding.NONE),  # one item alone
    ],
)
def test_the_phq_9_algorithm_counts_endorsed_items_and_asks_for_a_core_one(values, finding):
    assert score(PHQ_9, answers(*values)).algorithm is finding


def test_the_algorithm_says_nothing_about_incomplete_answers():
    assert score(PHQ_9, answers(3, 3, 3, 3, 3, 3, 3, 3, None)).algorithm is None


def test_an_instrument_without_an_algorithm_has_no_finding():
    assert score(GAD_7, answers(*(3,) * 7)).algorithm is None


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
        ({10: 1}, "ITEM_UNKNOWN", "answers"),
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


@pytest.mark.parametrize("definition", ALL, ids=lambda definition: definition.name)
def test_a_definition_numbers_its_items_from_one_and_covers_every_total(definition):
    assert [item.number for item in definition.items] == list(range(1, len(definition.items) + 1))
    assert definition.bands[0][0] == 0
    assert list(definition.bands) == sorted(definition.bands)
    assert len({item.loinc for item in definition.items}) == len(definition.items)


@pytest.mark.parametrize("definition", ALL, ids=lambda definition: definition.name)
def test_a_total_stays_on_the_scale_and_exists_unless_three_are_missing(definition):
    @fixed
    @given(some_answers(definition))
    def holds(given_answers):
        scored = score(definition, given_answers)
        assert (scored.total is None) == (scored.missing > 2) == (scored.band is None)
        assert scored.total is None or 0 <= scored.total <= 3 * len(definition.items)

    holds()


@pytest.mark.parametrize("definition", ALL, ids=lambda definition: definition.name)
def test_a_higher_answer_never_lowers_total_or_risk(definition):
    @fixed
    @given(some_answers(definition))
    def holds(lower):
        for item in lower:
            higher = lower | {item: min(3, lower[item] + 1)}
            assert (score(definition, lower).total or 0) <= (score(definition, higher).total or 0)
            assert risk_of(definition, lower) in (Risk.NONE, risk_of(definition, higher))

    holds()
