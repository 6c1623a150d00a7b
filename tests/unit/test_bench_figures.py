"""The arithmetic of the bench: what a spread, a percentile and a ratio are, and when an aim is met."""

import pytest

from tests.bench.figures import Aim, Figure, Findings, Ratio, Spread, percentile, ratio, share, spread
from tests.bench.report import document, shown


def calls(*rounds: float) -> Figure:
    return Figure("calls", "calls/s", rounds)


def test_a_spread_has_the_middle_of_all_rounds_not_their_mean() -> None:
    assert spread([5.0, 1.0, 90.0]) == Spread(1.0, 5.0, 90.0)


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (0, 1)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: float) -> None:
    assert percentile([*range(100, 0, -1)], percent) == value


def test_the_percentile_of_few_values_is_the_largest_of_them() -> None:
    assert percentile([3.0, 7.0], 99) == 7.0


def test_rounds_are_divided_one_by_one() -> None:
    assert ratio(calls(10.0, 30.0), calls(20.0, 10.0)).rounds == [0.5, 3.0]


def test_figures_of_different_rounds_have_no_ratio() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio(calls(1.0), calls(1.0, 2.0))


def test_a_share_is_what_the_rest_lacks_in_hundredths_of_the_whole() -> None:
    assert share(calls(200.0), calls(150.0), name="less").rounds == [pytest.approx(25.0)]


@pytest.mark.parametrize(
    ("aim", "value", "met"),
    [(Aim(least=0.5), 0.5, True), (Aim(least=0.5), 0.49, False), (Aim(most=2), 2.0, True), (Aim(most=2), 2.1, False)],
)
def test_an_aim_is_met_at_its_edge(aim: Aim, value: float, met: bool) -> None:
    assert aim.met(value) is met


def test_the_document_judges_an_aim_by_the_median_and_keeps_every_round() -> None:
    found = Findings([Ratio("ours ÷ floor", [0.4, 0.6, 0.9], Aim(least=0.5))], [calls(1.0)])
    written = document({"calls": found}, {"cores": 2})
    assert written["ratios"] == [
        {"part": "calls", "name": "ours ÷ floor", "unit": "", "min": 0.4, "median": 0.6, "max": 0.9}
        | {"aim": "≥ 0.5", "met": True, "rounds": [0.4, 0.6, 0.9]}
    ]
    assert written["figures"][0]["unit"] == "calls/s"
    assert [*written] == ["ratios", "figures", "facts"]


@pytest.mark.parametrize(("value", "text"), [(0.4567, "0.457"), (12.34, "12.3"), (1234.5, "1,234"), (-3.21, "-3.21")])
def test_a_number_is_shown_with_the_digits_that_count(value: float, text: str) -> None:
    assert shown(value) == text
