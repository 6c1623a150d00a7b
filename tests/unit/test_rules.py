"""What the rules make of facts: for any rules and any facts, nothing is suggested that what is unknown could undo."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any as Anything

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from stepway_intake.domain.authority import Ages
from stepway_intake.domain.facts import (
    AGE,
    BANDS,
    GRADES,
    RISK,
    SCALES,
    STATED,
    Facts,
    age_group,
    bands_in,
    flagged,
    is_known,
    with_record,
)
from stepway_intake.domain.levels_of_care import LevelOfCare
from stepway_intake.domain.rule_sets import rule_set_for
from stepway_intake.domain.rules import LEVELS, All, Any, Condition, Finding, From, Holds, Rule, RuleSet, holds, weigh
from stepway_intake.instruments.definition import Risk

DEFAULT = rule_set_for({})
LEFT_OPEN = flagged({Risk.UNANSWERED})
BEST: Mapping[str, str | int] = {fact: scale[0] for fact, scale in SCALES.items()}
WORST: Mapping[str, str | int] = {fact: scale[-1] for fact, scale in SCALES.items()}


def some(**changes: str | int) -> Facts:
    """Everything is known and at its best, but for what is said."""
    return Facts({**BEST, **changes})


def suggested(facts: Facts, rule_set: RuleSet = DEFAULT) -> Finding:
    return weigh(rule_set, facts)


def without(facts: Facts, *unknown: str) -> Facts:
    return replace(facts, known={fact: value for fact, value in facts.known.items() if fact not in unknown})


def rank(level: LevelOfCare | None) -> int:
    return -1 if level is None else LEVELS.index(level)


VALUES: Mapping[str, SearchStrategy[str | int]] = {fact: st.sampled_from(scale) for fact, scale in SCALES.items()}
LEAVES: Sequence[From] = [From(fact, value) for fact, scale in SCALES.items() for value in scale[1:]]


def _groups(of: SearchStrategy[Condition]) -> SearchStrategy[Condition]:
    several = st.lists(of, min_size=1, max_size=3).map(tuple)
    return st.one_of(several.map(All), several.map(Any))


one_fact: SearchStrategy[Condition] = st.sampled_from(sorted(SCALES)).flatmap(
    lambda fact: st.sampled_from([leaf for leaf in LEAVES if leaf.fact == fact])
)
conditions = st.one_of(one_fact, _groups(one_fact), _groups(_groups(one_fact)))
rule_sets = st.builds(
    RuleSet,
    version=st.just("drawn/1@0"),
    needs=st.frozensets(st.sampled_from(sorted(SCALES)), max_size=3),
    otherwise=st.sampled_from(LEVELS[:3]),
    fresh_days=st.just(30),
    rules=st.lists(
        st.builds(Rule, st.uuids().map(str), st.sampled_from(LEVELS), st.just("Because."), conditions), max_size=6
    ).map(tuple),
)
all_facts = st.fixed_dictionaries(VALUES)


@st.composite
def facts(draw: DrawFn) -> Facts:
    """Some of them are known, the risk perhaps only as a least."""
    known = draw(st.fixed_dictionaries({}, optional=VALUES))
    least = draw(st.booleans()) and known.get(RISK, GRADES[-1]) != GRADES[-1]
    return Facts(known, frozenset({RISK}) if least else frozenset())


def completed(some_known: Facts, others: Mapping[str, str | int]) -> Facts:
    """What is unknown turns out to be as in `others`, and what may be worse is that or worse."""
    worse = {
        fact: max(some_known.known[fact], others[fact], key=list(SCALES[fact]).index)
        for fact in some_known.may_be_worse
    }
    return Facts({**others, **some_known.known, **worse})


@given(rule_sets, facts(), all_facts)
def test_what_is_suggested_stands_whatever_the_unknown_turns_out_to_be(
    rule_set: RuleSet, known: Facts, truth: Mapping[str, str | int]
) -> None:
    level = suggested(known, rule_set).level
    assume(level is not None)
    assert suggested(completed(known, truth), rule_set).level is level


@given(rule_sets, facts())
def test_nothing_is_suggested_only_while_what_is_missing_could_ask_for_more_or_has_to_be_known(
    rule_set: RuleSet, known: Facts
) -> None:
    found = suggested(known, rule_set)
    assume(found.level is None)
    has_to_be_known = {fact for fact in rule_set.needs | {RISK} if not is_known(fact, known)}
    if not has_to_be_known & set(found.missing):
        best, worst = (suggested(completed(known, others), rule_set).level for others in (BEST, WORST))
        assert rank(worst) > rank(best)


@given(rule_sets, facts(), all_facts)
def test_once_what_is_missing_is_known_there_is_a_suggestion(
    rule_set: RuleSet, known: Facts, truth: Mapping[str, str | int]
) -> None:
    missing = suggested(known, rule_set).missing
    whole = completed(known, truth).known
    asked = Facts({**known.known, **{fact: whole[fact] for fact in missing}}, known.may_be_worse - set(missing))
    assert suggested(asked, rule_set).missing == ()
    assert suggested(asked, rule_set).level is not None


@given(rule_sets, facts())
def test_there_is_either_a_level_or_something_missing(rule_set: RuleSet, known: Facts) -> None:
    found = suggested(known, rule_set)
    assert (found.level is None) is bool(found.missing)
    assert not [fact for fact in found.missing if is_known(fact, known)]


@given(rule_sets, facts())
def test_unknown_risk_is_never_no_risk_whatever_the_rules(rule_set: RuleSet, known: Facts) -> None:
    found = suggested(without(replace(known, may_be_worse=frozenset()), RISK), rule_set)
    assert RISK in found.missing or found.level is LevelOfCare.EMERGENCY


@given(rule_sets, facts())
def test_the_highest_level_that_a_rule_asks_for_counts_and_each_reason_holds(rule_set: RuleSet, known: Facts) -> None:
    found = suggested(known, rule_set)
    fired = {rule.code for rule in rule_set.rules if holds(rule.when, known) is Holds.YES}
    assert {reason.code for reason in found.reasons} == fired
    assert found.at_least == (found.reasons[0].level if fired else None)
    assert [rank(reason.level) for reason in found.reasons] == sorted(map(rank, (r.level for r in found.reasons)))[::-1]
    assert found.level in (None, max(rule_set.otherwise, found.at_least or rule_set.otherwise, key=rank))


@given(rule_sets, facts(), st.data())
def test_a_fact_that_is_worse_never_asks_for_less(rule_set: RuleSet, known: Facts, data: st.DataObject) -> None:
    assume(known.known)
    fact = data.draw(st.sampled_from(sorted(known.known)))
    scale = list(SCALES[fact])
    worse = data.draw(st.sampled_from(scale[scale.index(known.known[fact]) :]))
    before, after = suggested(known, rule_set), suggested(replace(known, known={**known.known, fact: worse}), rule_set)
    assert rank(after.at_least) >= rank(before.at_least)
    if before.level and after.level:
        assert rank(after.level) >= rank(before.level)


@given(rule_sets, facts(), all_facts)
def test_to_know_more_never_asks_for_less(rule_set: RuleSet, known: Facts, truth: Mapping[str, str | int]) -> None:
    more = completed(known, truth)
    assert rank(suggested(more, rule_set).at_least) >= rank(suggested(known, rule_set).at_least)


@given(rule_sets, facts(), st.randoms(use_true_random=False))
def test_the_order_of_the_rules_says_nothing(rule_set: RuleSet, known: Facts, random: Anything) -> None:
    shuffled = list(rule_set.rules)
    random.shuffle(shuffled)
    assert suggested(known, replace(rule_set, rules=tuple(shuffled))) == suggested(known, rule_set)


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({}, "outpatient"),
        ({"responsibilities": "unmanaged"}, "outpatient"),
        ({"hours_needed": 8}, "outpatient"),
        ({"hours_needed": 9}, "intensive_outpatient"),
        ({"hours_needed": 19}, "intensive_outpatient"),
        ({"hours_needed": 5, "age_group": "adolescent"}, "outpatient"),
        ({"hours_needed": 6, "age_group": "adolescent"}, "intensive_outpatient"),
        ({"risk": "moderate"}, "intensive_outpatient"),
        ({"impairment": "moderate"}, "intensive_outpatient"),
        ({"treatment_history": "outpatient_not_enough", "impairment": "low"}, "intensive_outpatient"),
        ({"band.phq-9": "severe"}, "outpatient"),
        ({"band.phq-9": "moderately_severe", "impairment": "low"}, "intensive_outpatient"),
        ({"band.gad-7": "severe", "impairment": "low"}, "intensive_outpatient"),
        ({"hours_needed": 20}, "partial_hospitalization"),
        ({"responsibilities": "unmanaged", "impairment": "moderate"}, "partial_hospitalization"),
        ({"withdrawal_risk": "moderate"}, "partial_hospitalization"),
        ({"supports": "none"}, "outpatient"),
        ({"supports": "none", "impairment": "high"}, "residential"),
        ({"supports": "unsafe", "risk": "moderate"}, "residential"),
        ({"risk": "high"}, "inpatient"),
        ({"withdrawal_risk": "high"}, "inpatient"),
        ({"withdrawal_risk": "moderate", "medical_instability": "moderate"}, "inpatient"),
        ({"psychiatric_instability": "high"}, "inpatient"),
        ({"risk": "high", "supports": "none"}, "emergency"),
        ({"risk": "high", "psychiatric_instability": "high"}, "emergency"),
        ({"medical_instability": "high"}, "emergency"),
    ],
)
def test_our_rules_lead_where_a_clinician_would_expect(changes: dict[str, str | int], level: str) -> None:
    found = suggested(some(**changes))
    assert (found.level, found.missing) == (level, ())


def test_a_rule_that_asks_for_less_than_everybody_gets_lowers_nothing() -> None:
    mild = Rule("mild", LevelOfCare.OUTPATIENT, "Because.", From("impairment", "low"))
    rule_set = replace(DEFAULT, otherwise=LevelOfCare.INTENSIVE_OUTPATIENT, rules=(mild,))
    assert suggested(some(impairment="low"), rule_set).level is LevelOfCare.INTENSIVE_OUTPATIENT


@pytest.mark.parametrize("fact", sorted(DEFAULT.needs))
def test_our_rules_suggest_nothing_while_a_fact_of_danger_is_unknown(fact: str) -> None:
    found = suggested(without(some(hours_needed=9), fact))
    assert (found.level, found.at_least) == (None, LevelOfCare.INTENSIVE_OUTPATIENT)
    assert fact in found.missing


def test_of_somebody_of_whom_nothing_is_known_nothing_is_said_but_what_is_missing() -> None:
    found = suggested(Facts({}))
    assert (found.level, found.at_least, found.reasons) == (None, None, ())
    assert set(found.missing) == {*STATED, AGE, "band.phq-9", "band.gad-7"}


def test_an_emergency_waits_for_no_other_fact() -> None:
    found = suggested(Facts({"medical_instability": "high"}))
    assert (found.level, found.missing) == (LevelOfCare.EMERGENCY, ())


def test_every_rule_of_ours_can_decide_a_suggestion() -> None:
    """None is hidden behind another one that asks for as much."""
    for rule in DEFAULT.rules:
        others = replace(DEFAULT, rules=tuple(each for each in DEFAULT.rules if each is not rule))
        enough = Facts({**BEST, **_least(rule.when)})
        assert suggested(enough).level is rule.level, rule.code
        assert rank(suggested(enough, others).level) < rank(rule.level), rule.code


def _least(condition: Condition) -> Mapping[str, str | int]:
    match condition:
        case From(fact, value):
            return {fact: value}
        case All(of):
            return {fact: value for each in of for fact, value in _least(each).items()}
        case Any(of):
            return _least(of[0])


def test_no_word_on_the_risk_is_the_last_while_a_flag_is_open() -> None:
    for stated in GRADES[:-1]:
        found = suggested(with_record(some(risk=stated), {}, standing=LEFT_OPEN, age_group=None))
        assert (found.level, found.missing) == (None, (RISK,))
    said = with_record(some(risk="high"), {}, standing=LEFT_OPEN, age_group=None)
    assert suggested(said).level == "inpatient"
    assert suggested(with_record(some(risk="none"), {}, age_group=None)).level == "outpatient"


def test_what_matters_only_if_the_risk_is_higher_than_stated_is_asked_for_as_well() -> None:
    worse_alone = All((From("risk", "high"), From("responsibilities", "unmanaged")))
    rule_set = replace(DEFAULT, rules=(Rule("worse_alone", LevelOfCare.EMERGENCY, "Because.", worse_alone),))
    stated = without(some(risk="low"), "responsibilities")
    found = [
        suggested(replace(stated, may_be_worse=least), rule_set) for least in (frozenset({RISK}), frozenset[str]())
    ]
    assert [each.missing for each in found] == [("responsibilities", RISK), ()]


def test_the_bands_on_record_are_facts_and_what_no_rule_could_name_is_none() -> None:
    record = {"phq-9": "severe", "gad-7": "unheard of", "tea-3": "strong"}
    found = with_record(Facts({"risk": "low"}), record, age_group="adult")
    assert found == Facts({"risk": "low", "age_group": "adult", "band.phq-9": "severe"})
    assert bands_in(found) == {"phq-9": "severe"}


@pytest.mark.parametrize(
    ("screened", "stated", "known", "may_be_worse"),
    [
        ("high", None, "high", True),
        ("moderate", None, "moderate", True),
        ("none", None, None, False),
        ("high", "low", "low", False),
    ],
)
def test_a_screening_says_what_risk_there_is_at_least_until_a_clinician_says_what_there_is(
    screened: str, stated: str | None, known: str | None, may_be_worse: bool
) -> None:
    said = Facts({RISK: stated} if stated else {})
    found = with_record(said, {"c-ssrs-screener": screened}, age_group=None)
    assert (found.known.get(RISK), RISK in found.may_be_worse) == (known, may_be_worse)


@pytest.mark.parametrize(
    ("screened", "stated", "known", "last"),
    [("high", "none", "high", False), ("low", "moderate", "moderate", False), ("low", "high", "high", True)],
)
def test_while_a_flag_is_open_no_word_is_below_what_a_screening_has_shown(
    screened: str, stated: str, known: str, last: bool
) -> None:
    found = with_record(some(risk=stated), {"c-ssrs-screener": screened}, standing=LEFT_OPEN, age_group=None)
    assert (found.known[RISK], is_known(RISK, found)) == (known, last)


@pytest.mark.parametrize(
    ("risks", "stated", "known"),
    [
        ({Risk.HIGH}, "low", "high"),
        ({Risk.MODERATE}, "none", "moderate"),
        ({Risk.PRESENT}, "none", "low"),
        ({Risk.LOW, Risk.MODERATE, Risk.UNANSWERED}, "low", "moderate"),
        ({Risk.LOW}, "moderate", "moderate"),
        ({Risk.HIGH}, None, "high"),
        ({Risk.UNANSWERED}, None, None),
    ],
)
@pytest.mark.parametrize("screened", [{}, {"c-ssrs-screener": "none"}])
def test_while_flags_are_open_no_word_and_no_later_answer_is_below_the_worst_of_them(
    risks: set[Risk], stated: str | None, known: str | None, screened: Mapping[str, str]
) -> None:
    said = Facts({RISK: stated} if stated else {})
    found = with_record(said, screened, standing=flagged(risks), age_group=None)
    assert (found.known.get(RISK), is_known(RISK, found)) == (known, False)


def test_what_was_heard_counts_until_a_clinician_says_otherwise() -> None:
    heard = Facts({"supports": "some", "withdrawal_risk": "moderate"}, frozenset({"supports", "withdrawal_risk"}))
    found = with_record(Facts({"supports": "unsafe"}), {}, interviews=heard, age_group=None)
    assert found == Facts({"supports": "unsafe", "withdrawal_risk": "moderate"}, frozenset({"withdrawal_risk"}))


def test_the_same_questions_under_another_name_say_the_same() -> None:
    bands = {"phq-9m": "severe"}
    found = with_record(Facts({}), bands, age_group=None)
    assert bands_in(found) == {"phq-9": "severe", "phq-9m": "severe"}


@pytest.mark.parametrize(("phq_9", "phq_9m"), [("mild", "severe"), ("severe", "mild"), ("severe", "severe")])
def test_of_two_forms_of_the_same_questions_the_milder_hides_nothing(phq_9: str, phq_9m: str) -> None:
    found = with_record(Facts({}), {"phq-9": phq_9, "phq-9m": phq_9m}, age_group=None)
    assert bands_in(found) == {"phq-9": "severe", "phq-9m": phq_9m}


@pytest.mark.parametrize(
    ("born", "group"),
    [
        ("", None),
        ("2008-11-25", "adult"),
        ("2008-11-26", "adolescent"),
        ("2008-12-01", "adolescent"),
        ("2008-02-29", "adult"),
        ("2008-11", None),
        ("2008-10", "adult"),
        ("2008-12", "adolescent"),
        ("2008", None),
        ("2007", "adult"),
        ("2009", "adolescent"),
    ],
)
def test_somebody_is_of_age_from_the_birthday_on_and_where_the_date_is_too_vague_that_is_unknown(
    born: str, group: str | None
) -> None:
    assert age_group(born, Ages(), date(2026, 11, 25)) == group


def test_the_law_of_the_site_says_when_somebody_is_of_age() -> None:
    assert [age_group("2007-11-26", Ages(majority), date(2026, 11, 25)) for majority in (18, 19)] == [
        "adult",
        "adolescent",
    ]


def test_how_old_somebody_is_matters_only_where_the_hours_leave_it_open() -> None:
    missing = [suggested(without(some(hours_needed=hours), "age_group")).missing for hours in (5, 6, 8, 9)]
    assert missing == [(), ("age_group",), ("age_group",), ()]


def test_each_scale_has_a_best_and_a_worst_and_its_values_once() -> None:
    assert STATED.keys().isdisjoint(BANDS)
    assert all(len(set(scale)) == len(scale) >= 2 for scale in SCALES.values())
