"""Rules as a site writes them: read whole or refused by place, and chosen by site and payer."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stepway_chassis.errors import InvalidInput
from stepway_cli.sites import SiteError, read_sites
from stepway_intake.domain.default_rules import DEFAULT
from stepway_intake.domain.levels_of_care import LevelOfCare
from stepway_intake.domain.rule_sets import check, rule_set_for
from stepway_intake.domain.rules import All, From, Rule, RuleSet
from stepway_intake.domain.rules import Any as AnyOf
from tests.data import REPOSITORY

MILD = {"fact": "band.phq-9", "from": "mild"}


def a_rule_set(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "name": "ours/3",
        "needs": ["supports"],
        "otherwise": "outpatient",
        "fresh_days": 14,
        "rules": [
            {
                "code": "danger",
                "level": "inpatient",
                "text": "The risk is high.",
                "when": {"fact": "risk", "from": "high"},
            },
            {
                "code": "tired",
                "level": "intensive_outpatient",
                "text": "It is too much.",
                "when": {
                    "all": [{"fact": "hours_needed", "from": 6}, {"any": [{"fact": "band.phq-9", "from": "mild"}]}]
                },
            },
        ],
    }
    return {**given, **changes}


def settings(**payers: Any) -> dict[str, Any]:
    return {"level_of_care": {"rule_set": a_rule_set(), "payers": payers}}


def refusal(changed: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as refused:
        check({"level_of_care": changed})
    assert refused.value.reason == "SITE_SETTING_INVALID"
    return refused.value


def test_what_a_site_writes_is_what_counts() -> None:
    read = rule_set_for(settings())
    assert read == RuleSet(
        version=read.version,
        needs=frozenset({"supports"}),
        otherwise=LevelOfCare.OUTPATIENT,
        fresh_days=14,
        rules=(
            Rule("danger", LevelOfCare.INPATIENT, "The risk is high.", From("risk", "high")),
            Rule(
                "tired",
                LevelOfCare.INTENSIVE_OUTPATIENT,
                "It is too much.",
                All((From("hours_needed", 6), AnyOf((From("band.phq-9", "mild"),)))),
            ),
        ),
    )


def test_a_payer_with_rules_of_its_own_gets_them_and_any_other_those_of_the_site() -> None:
    at_site = settings(**{"north-mutual": a_rule_set(name="north-mutual/1")})
    names = [rule_set_for(at_site, payer).version.partition("@")[0] for payer in ("north-mutual", "south-mutual", "")]
    assert names == ["north-mutual/1", "ours/3", "ours/3"]


def test_a_site_without_rules_has_ours_whether_or_not_a_payer_has_some() -> None:
    ours = rule_set_for({})
    assert ours.version.startswith("stepway/1@")
    assert rule_set_for({"level_of_care": {}}) == ours
    assert rule_set_for({"level_of_care": {"payers": {"north-mutual": a_rule_set()}}}) == ours


def test_rules_that_have_been_through_a_database_are_the_same() -> None:
    assert rule_set_for(json.loads(json.dumps(settings()))) == rule_set_for(settings())
    shuffled = {"level_of_care": {"rule_set": dict(reversed(a_rule_set().items()))}}
    assert rule_set_for(shuffled) == rule_set_for(settings())


def test_whatever_is_changed_in_the_rules_changes_their_version() -> None:
    one_more = a_rule_set()["rules"]
    one_more[1]["when"]["all"][0]["from"] = 7
    changes: list[dict[str, Any]] = [
        {"needs": []},
        {"fresh_days": 15},
        {"rules": a_rule_set()["rules"][:1]},
        {"rules": one_more},
    ]
    versions = {rule_set_for({"level_of_care": {"rule_set": a_rule_set(**change)}}).version for change in changes}
    assert len(versions | {rule_set_for(settings()).version}) == len(changes) + 1


def changed(*path: Any, to: Any) -> dict[str, Any]:
    """The site's rule set with the value at this path replaced, or taken away where `to` is ..."""
    whole = copy.deepcopy(a_rule_set())
    *way, last = path
    inner: Any = whole
    for step in way:
        inner = inner[step]
    if to is ...:
        del inner[last]
    else:
        inner[last] = to
    return {"rule_set": whole}


WHEN = ("rules", 1, "when")


def deep(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"fact": "risk", "from": "low"}
    for _ in range(levels):
        inner = {"all": [inner]}
    return inner


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        (None, ""),
        ([], ""),
        ({"rules": []}, ""),
        ({"rule_set": None}, ".rule_set"),
        ({"payers": None}, ".payers"),
        ({"payers": {"North Mutual": a_rule_set()}}, ".payers"),
        ({"payers": {7: a_rule_set()}}, ".payers"),
        ({"payers": {f"p{n}": a_rule_set() for n in range(101)}}, ".payers"),
        ({"payers": {"north": a_rule_set(otherwise="home")}}, ".payers.north.otherwise"),
        (changed("name", to=...), ".rule_set.name"),
        (changed("name", to="ours"), ".rule_set.name"),
        (changed("name", to="ours/0"), ".rule_set.name"),
        (changed("name", to="ours/1\n"), ".rule_set.name"),
        (changed("tea", to=1), ".rule_set"),
        (changed("needs", to="risk"), ".rule_set.needs"),
        (changed("needs", 0, to="mood"), ".rule_set.needs[0]"),
        (changed("otherwise", to=...), ".rule_set.otherwise"),
        (changed("otherwise", to="emergency"), ".rule_set.rules[0].level"),
        (changed("fresh_days", to=0), ".rule_set.fresh_days"),
        (changed("fresh_days", to=True), ".rule_set.fresh_days"),
        (changed("fresh_days", to=30.0), ".rule_set.fresh_days"),
        (changed("rules", to=[]), ".rule_set.rules"),
        (changed("rules", to={}), ".rule_set.rules"),
        (changed("rules", to=a_rule_set()["rules"] * 101), ".rule_set.rules"),
        (changed("rules", to=a_rule_set()["rules"][1:]), ".rule_set.rules"),
        (changed("rules", 1, to="risk"), ".rule_set.rules[1]"),
        (changed("rules", 1, "code", to="Tired!"), ".rule_set.rules[1].code"),
        (changed("rules", 1, "code", to="danger"), ".rule_set.rules[1].code"),
        (changed("rules", 1, "level", to=2), ".rule_set.rules[1].level"),
        (changed("rules", 1, "level", to="outpatient"), ".rule_set.rules[1].level"),
        (changed("rules", 1, "text", to=" "), ".rule_set.rules[1].text"),
        (changed("rules", 1, "text", to="x" * 301), ".rule_set.rules[1].text"),
        (changed("rules", 1, "text", to="a\0b"), ".rule_set.rules[1].text"),
        (changed("rules", 1, "when", to=...), ".rule_set.rules[1].when"),
        (changed(*WHEN, to={}), ".rule_set.rules[1].when"),
        (changed(*WHEN, to={"not": {}}), ".rule_set.rules[1].when"),
        (changed(*WHEN, to={"fact": "risk"}), ".rule_set.rules[1].when"),
        (changed(*WHEN, to={"all": [], "any": []}), ".rule_set.rules[1].when"),
        (changed(*WHEN, to={"all": []}), ".rule_set.rules[1].when.all"),
        (changed(*WHEN, to={"any": [deep(0)] * 21}), ".rule_set.rules[1].when.any"),
        (changed(*WHEN, to=deep(4)), ".rule_set.rules[1].when.all[0].all[0].all[0].all[0]"),
        (changed(*WHEN, "all", 0, "fact", to="hours"), ".rule_set.rules[1].when.all[0].fact"),
        (changed(*WHEN, "all", 0, "from", to=0), ".rule_set.rules[1].when.all[0].from"),
        (changed(*WHEN, "all", 0, "from", to=169), ".rule_set.rules[1].when.all[0].from"),
        (changed(*WHEN, "all", 0, "from", to="9"), ".rule_set.rules[1].when.all[0].from"),
        (changed(*WHEN, "all", 1, "any", 0, "from", to="minimal"), ".rule_set.rules[1].when.all[1].any[0].from"),
        (changed(*WHEN, "all", 1, "any", 0, "from", to="odd"), ".rule_set.rules[1].when.all[1].any[0].from"),
        (changed(*WHEN, "all", 1, "any", 0, "fact", to="band.tea"), ".rule_set.rules[1].when.all[1].any[0].fact"),
    ],
)
def test_what_is_wrong_is_refused_by_its_place(setting: Any, place: str) -> None:
    assert refusal(setting).field == f"level_of_care{place}"


def test_no_rules_may_overlook_a_high_risk() -> None:
    needs_more = {"all": [{"fact": "risk", "from": "high"}, {"fact": "impairment", "from": "low"}]}
    assert "high risk alone" in refusal(changed("rules", 0, "when", to=needs_more)).message


names = st.one_of(st.text(max_size=5), st.integers())
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.dates()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=5,
)


def _paths(whole: Any, so_far: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = whole.items() if isinstance(whole, dict) else enumerate(whole) if isinstance(whole, list) else ()
    return [path for key, value in inner for path in [(*so_far, key), *_paths(value, (*so_far, key))]]


@given(st.sampled_from(_paths(a_rule_set())), values)
def test_whatever_stands_anywhere_it_is_taken_or_refused_and_never_repeated(path: tuple[Any, ...], value: Any) -> None:
    refused = None
    try:
        check({"level_of_care": changed(*path, to=value)})
    except InvalidInput as refusal:
        refused = refusal
    within = ".rules" if "rules" in path else ""
    assert refused is None or refused.field.startswith(f"level_of_care.rule_set{within}")


def in_a_file(folder: Path, setting: str) -> Path:
    file = folder / "oddbrook.yaml"
    people = "on_call: [{clinician: staff-1, email: one@oddbrook.example.org}]"
    site = "short_name: Oddbrook, phone: 212-555-0177, email: office@oddbrook.example.org"
    file.write_text(
        f"site: oddbrook\nrevision: 1\nzone: UTC\nsettings: {{{site}, {people}, level_of_care: {setting}}}\n"
    )
    return file


def test_what_the_readme_shows_is_what_a_site_may_write() -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "services/intake/README.md").read_text(), re.DOTALL)
    check(yaml.safe_load(example))


def test_a_sites_file_with_a_wrong_rule_is_refused_by_file_and_place(tmp_path: Path) -> None:
    right = json.dumps({"rule_set": a_rule_set()})
    assert read_sites([in_a_file(tmp_path, right)])
    wrong = json.dumps({"payers": {"north": {**a_rule_set(), "fresh_days": 0}}})
    place = re.escape("oddbrook.yaml: settings.level_of_care.payers.north.fresh_days: Write")
    with pytest.raises(SiteError, match=place):
        read_sites([in_a_file(tmp_path, wrong)])


def test_our_own_rules_pass_what_is_asked_of_a_site() -> None:
    check({"level_of_care": {"rule_set": dict(DEFAULT)}})
    assert rule_set_for({"level_of_care": {"rule_set": json.loads(json.dumps(DEFAULT))}}) == rule_set_for({})


def test_our_own_rules_borrow_no_words_of_a_licensed_tool() -> None:
    said = json.dumps(DEFAULT).lower()
    assert not [word for word in ("asam", "locus", "dimension", "criteria", "composite") if word in said]
