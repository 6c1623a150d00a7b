"""Every instrument of the catalogue: our own cases, and what holds for whatever is answered."""

from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepway_chassis.errors import InvalidInput
from stepway_intake.instruments import coded
from stepway_intake.instruments.battery import BATTERIES
from stepway_intake.instruments.catalogue import ALL, CURRENT, find
from stepway_intake.instruments.definition import TOTAL, Band, Definition, Licence, Risk, Scale, Sex
from stepway_intake.instruments.files import definition as read_file
from stepway_intake.instruments.scoring import risk_of, score, unanswered
from stepway_intake.instruments.words import SHIPPED
from tests.conftest import SOAK
from tests.data import REPOSITORY
from tests.golden import answers

EXAMPLES = 5000 if SOAK else 6  # of each definition
every_definition = pytest.mark.parametrize("definition", ALL, ids=lambda each: f"{each.name} {each.version}")
C_SSRS, SINCE = CURRENT["c-ssrs-screener"], find("c-ssrs-screener", "since-last-contact")
AUDIT, AUDIT_C, MDQ, PCL_5 = (CURRENT[name] for name in ("audit", "audit-c", "mdq", "pcl-5"))


@st.composite
def some_answers(draw: st.DrawFn, definition: Definition) -> dict[int, int]:
    """Mostly whole: a form with many holes has no total to speak of."""
    holes = draw(st.sets(st.sampled_from([item.number for item in definition.items]), max_size=3))
    return {item.number: draw(st.sampled_from(item.values)) for item in definition.items if item.number not in holes}


def always(definition: Definition, check: Callable[[dict[int, int]], None]) -> None:
    settings(max_examples=EXAMPLES)(given(some_answers(definition))(check))()


@every_definition
def test_a_total_stays_on_its_scale_and_is_missing_just_when_too_much_is(definition: Definition) -> None:
    def holds(given_answers: dict[int, int]) -> None:
        scored = score(definition, given_answers)
        totals = {**scored.scales, TOTAL: scored.total}
        for scale in definition.scales:
            values = [definition.by_number[item].values for item in scale.items]
            total, left_open = totals[scale.name], set(scale.items) & unanswered(definition, given_answers)
            assert (total is None) == (len(left_open) > scale.proratable)
            assert total is None or 0 <= total <= sum(each[-1] for each in values)
            assert total is None or left_open or total == _plain_sum(definition, scale, given_answers)
        assert scored.missing == len(unanswered(definition, given_answers))

    always(definition, holds)


def _plain_sum(definition: Definition, scale: Scale, given_answers: dict[int, int]) -> int:
    """Written another way: passed over is nought, and a reversed item is counted from the other end."""
    turned = {item: definition.by_number[item].values[::-1] for item in scale.reversed}
    values = definition.by_number
    return sum(
        turned[item][values[item].values.index(given_answers.get(item, 0))]
        if item in turned
        else given_answers.get(item, 0)
        for item in scale.items
    )


@every_definition
def test_a_higher_answer_never_lowers_a_total_or_the_danger(definition: Definition) -> None:
    reversed_items = {item for scale in definition.scales for item in scale.reversed}

    def holds(lower: dict[int, int]) -> None:
        before, danger = score(definition, lower), risk_of(definition, lower)
        for item in lower.keys() - reversed_items:
            higher = lower | {item: max(definition.by_number[item].values)}
            after = score(definition, higher)
            assert danger is Risk.UNANSWERED or risk_of(definition, higher).rank >= danger.rank
            if before.total is not None and after.total is not None:
                assert after.total >= before.total

    always(definition, holds)


@every_definition
def test_what_is_left_open_never_makes_a_danger_less_and_is_never_a_clear_no(definition: Definition) -> None:
    def holds(given_answers: dict[int, int]) -> None:
        asked = {
            item for _, when in definition.risks for alternative in when for each in alternative for item in each.items
        }
        if asked & unanswered(definition, given_answers):
            assert risk_of(definition, given_answers) is not Risk.NONE

    always(definition, holds)


@every_definition
def test_an_answer_beyond_the_form_is_refused_by_item(definition: Definition) -> None:
    for item in definition.items:
        with pytest.raises(InvalidInput) as refused:
            score(definition, {item.number: max(item.values) + 1})
        assert (refused.value.reason, refused.value.field) == ("ANSWER_OUT_OF_RANGE", f"answers.{item.number}")
    with pytest.raises(InvalidInput, match="ITEM_UNKNOWN"):
        score(definition, {max(definition.by_number) + 1: 0})


@every_definition
def test_a_definition_says_what_it_is_and_names_no_item_twice(definition: Definition) -> None:
    assert [item.number for item in definition.items] == list(range(1, len(definition.items) + 1))
    codes = [item.loinc for item in definition.items if item.loinc]
    assert len(set(codes)) == len(codes)
    assert definition.title
    assert definition.credit


def test_a_rule_and_a_version_are_each_named_once_and_one_version_of_each_is_current() -> None:
    assert len({each.rule for each in ALL}) == len(ALL)
    assert len({(each.name, each.version) for each in ALL}) == len(ALL)
    assert sum(each.current for each in ALL) == len(CURRENT) == 13


def test_what_needs_permission_is_as_the_holders_say() -> None:
    closed = {each.name for each in CURRENT.values() if each.licence is Licence.PERMISSION_REQUIRED}
    assert closed == {"c-ssrs-screener", "dast-10", "mdq", "whodas-12", "ede-qs", "scoff"}


@pytest.mark.parametrize("recent", [0, 1, None])
def test_of_all_ways_to_answer_the_c_ssrs_the_worst_category_wins(recent: int | None) -> None:
    for yes in product((0, 1), repeat=6):
        said = {**answers(*yes), **({} if recent is None else {7: recent})}
        expected = _worst(*yes, recent=recent)
        assert score(C_SSRS, said).band == expected, yes
        assert risk_of(C_SSRS, said) == (Risk.HIGH if expected is None else Risk(expected)), yes


def _worst(q1: int, q2: int, q3: int, q4: int, q5: int, q6: int, *, recent: int | None) -> Band | None:
    if q4 or q5 or (q6 and recent == 1):
        return Band.HIGH
    if q6 and recent is None:
        return None  # not asked how long ago
    return Band.MODERATE if q3 or q6 else Band.LOW if q1 or q2 else Band.NONE


def test_after_a_no_to_wishes_the_next_three_need_no_answer_and_a_yes_among_them_still_counts() -> None:
    assert score(C_SSRS, {1: 1, 2: 0, 6: 0}).band is Band.LOW
    assert score(C_SSRS, {1: 0, 2: 0, 5: 1, 6: 0}).band is Band.HIGH
    assert unanswered(C_SSRS, {1: 1, 2: 1, 6: 0}) == {3, 4, 5}


def test_a_question_of_the_c_ssrs_that_was_left_open_is_never_a_none() -> None:
    assert (score(C_SSRS, {1: 0, 2: 0}).band, risk_of(C_SSRS, {1: 0, 2: 0})) == (None, Risk.UNANSWERED)
    assert risk_of(C_SSRS, {1: 1, 2: 1, 6: 0}) is Risk.UNANSWERED
    assert risk_of(C_SSRS, {}) is Risk.UNANSWERED


def test_behaviour_since_the_last_contact_is_recent() -> None:
    assert score(SINCE, {1: 0, 2: 0, 6: 1}).band is Band.HIGH


@pytest.mark.parametrize(("item_12", "item_13"), [(1, 0), (0, 1), (1, 1)])
def test_a_teenager_who_says_yes_to_either_further_question_is_in_danger(item_12: int, item_13: int) -> None:
    phq_9m = CURRENT["phq-9m"]
    said = answers(*(1,) * 8, 0, 0, 0, item_12, item_13)
    assert (score(phq_9m, said).total, risk_of(phq_9m, said)) == (8, Risk.PRESENT)
    assert risk_of(phq_9m, {**dict.fromkeys(range(1, 13), 0)}) is Risk.UNANSWERED


def test_a_single_answer_of_the_audit_lifts_the_zone_without_touching_the_total() -> None:
    scored = score(AUDIT, answers(1, 0, 0, 0, 0, 0, 0, 0, 2, 4))
    assert (scored.total, scored.band, scored.treat_as) == (7, Band.ZONE_1, Band.ZONE_2)
    assert score(AUDIT, answers(*(4,) * 10)).treat_as is Band.ZONE_4
    assert score(AUDIT, answers(*(0,) * 10)).treat_as is None


def test_the_audit_passes_over_what_it_need_not_ask() -> None:
    assert score(AUDIT, {1: 0, 9: 0, 10: 2}).total == 2
    assert score(AUDIT, {1: 1, 2: 0, 3: 0, 9: 0, 10: 0}).total == 1
    assert score(AUDIT, {1: 1, 2: 1, 3: 0, 9: 0, 10: 0}).total is None


@pytest.mark.parametrize(
    ("sex", "found"), [(Sex.FEMALE, "yes"), (Sex.UNKNOWN, "yes"), (Sex.MALE, "no")], ids=lambda each: str(each)
)
def test_the_cut_off_of_the_audit_c_is_by_sex_and_the_lower_one_where_it_is_unknown(sex: Sex, found: str) -> None:
    assert score(AUDIT_C, answers(1, 1, 1), sex=sex).findings["positive"] == found


def test_a_mood_questionnaire_without_its_second_or_third_part_is_indeterminate() -> None:
    thirteen = answers(*(1,) * 13)
    for more in ({}, {14: 1}, {15: 3}):
        assert score(MDQ, {**thirteen, **more}).findings["positive"] is None
    assert score(MDQ, {**thirteen, 14: 1, 15: 2}).findings["positive"] == "yes"


def test_the_two_wordings_of_item_three_of_the_dast_count_opposite_answers() -> None:
    said = answers(*(0,) * 10)
    assert (score(CURRENT["dast-10"], said).total, score(find("dast-10", "reworded"), said).total) == (1, 0)


def test_a_version_that_there_is_not_is_refused() -> None:
    with pytest.raises(InvalidInput) as refused:
        find("dast-10", "2099")
    assert (refused.value.reason, refused.value.field) == ("INSTRUMENT_VERSION_UNKNOWN", "version")


def test_every_battery_asks_about_danger_and_ends_with_a_medical_evaluation() -> None:
    assert len(BATTERIES) == 5
    for battery in BATTERIES.values():
        assert any(CURRENT[name].risks for name in battery.required)
        assert battery.sections[-1] == "medical_evaluation"


# Codes of LOINC

OUR_PANEL = {item.loinc: "LA6569-3" for item in CURRENT["phq-9"].items[:9]}


def test_answers_in_loinc_are_read_and_a_total_among_them_is_left_out() -> None:
    definition, said = coded.read({**OUR_PANEL, "44261-6": 9, "69722-7": "LA6573-5"})
    assert (definition.name, score(definition, said).total, said[10]) == ("phq-9", 9, 1)


def test_the_items_of_the_audit_c_are_those_of_the_audit_unless_the_panel_is_named() -> None:
    three = {"68518-0": 1, "68519-8": "LA15694-5", "68520-6": 0}
    assert coded.read(three)[0].name == "audit-c"
    assert coded.read({**three, "68519-8": 1}, panel="72110-0")[0].name == "audit"


@pytest.mark.parametrize(
    ("said", "panel", "reason"),
    [
        ({}, "", "LOINC_UNKNOWN"),
        ({"44261-6": 9}, "", "LOINC_UNKNOWN"),  # a total alone is no answer
        ({"99999-9": 1}, "", "LOINC_UNKNOWN"),
        ({"44250-9": 1, "69725-0": 1}, "", "LOINC_UNKNOWN"),  # of two instruments
        ({"44250-9": 1}, "72110-0", "LOINC_UNKNOWN"),
        ({"68517-2": 0, "68519-8": "LA15694-5", "68520-6": "LA6270-8"}, "", "LOINC_UNKNOWN"),  # days of bingeing
        ({"44250-9": "LA15694-5"}, "", "ANSWER_CODE_UNKNOWN"),
        ({"44250-9": "Somebody"}, "", "ANSWER_CODE_UNKNOWN"),
    ],
)
def test_a_code_that_no_instrument_has_is_refused_and_not_repeated(
    said: dict[str, str | int], panel: str, reason: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        coded.read(said, panel=panel)
    assert refused.value.reason == reason
    assert not any(str(each) in refused.value.message for each in (*said, *said.values()) if len(str(each)) > 1)


# Files

WHOLE = {
    "name": "tea",
    "version": "1",
    "rule": "tea/1",
    "title": "Tea",
    "window_days": 1,
    "licence": "public",
    "credit": "us",
    "items": [{"numbers": "1-2", "values": "0-3"}],
    "scales": [{"name": "total", "items": "1-2"}],
}


@pytest.mark.parametrize(
    "changes",
    [
        {"scales": [{"name": "total", "items": "1-3"}]},
        {"items": [{"numbers": "1-2", "values": "0-3"}, {"numbers": "2", "values": "0-1"}]},
        {"items": [{"numbers": "1-2", "values": "0-3", "loinc": ["1-1"]}]},
        {"scales": [{"name": "total", "items": "1-2", "bands": {"mild": 1}}]},
        {"scales": [{"name": "total", "items": "1-2", "bands": {"minimal": 0, "mild": 5, "moderate": 4}}]},
        {"scales": [{"name": "total", "items": "1-2", "bands": {"minimal": 0, "dreadful": 5}}]},
        {"findings": [{"name": "positive", "when": [[{"scale": "sum", "at_least": 1}]]}]},
        {"findings": [{"name": "positive", "when": [[{"items": "1", "at_lest": 1}]]}]},
        {"risks": [{"risk": "present", "when": [[{"items": "9", "at_least": 1}]]}]},
        {"licence": "free"},
        {"like": "coffee"},
    ],
)
def test_a_file_that_contradicts_itself_is_refused_by_name(changes: dict[str, object]) -> None:
    assert read_file("tea", {"tea": WHOLE}).name == "tea"
    with pytest.raises(ValueError, match="tea"):
        read_file("tea", {"tea": {**WHOLE, **changes}})


# The page about them


@pytest.mark.parametrize("name", sorted(CURRENT))
def test_the_page_of_licences_has_each_instrument_as_its_file_has_it(name: str) -> None:
    page = (REPOSITORY / "docs" / "instruments.md").read_text()
    (row,) = [line.split(" | ") for line in page.splitlines() if line.startswith(f"| `{name}` |")]
    assert row[2] == CURRENT[name].licence
    assert row[4] == ("en |" if (name, "en") in SHIPPED else WITHOUT_WORDS[CURRENT[name].licence])
    assert {part.strip().split(" ")[0] for part in row[1].split(";")} == {
        each.version for each in ALL if each.name == name
    }


WITHOUT_WORDS = {Licence.PUBLIC: "none yet |", Licence.PERMISSION_REQUIRED: "content pack |"}
