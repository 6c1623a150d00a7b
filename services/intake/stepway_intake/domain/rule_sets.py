"""Rule sets as data: read, checked to the last value, and chosen: a payer's at this site, the site's own, or ours.

    level_of_care:
      rule_set: {name: ours/1, needs: [...], otherwise: outpatient, fresh_days: 30, rules: [{code, level, text, when}]}
      payers: {some-payer: {as above}}

`when` is {fact, from}, {all: [...]} or {any: [...]}. There is no "not" and no upper limit, so that what is worse, and
what becomes known, never asks for less care.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any as Anything

from stepway_chassis.errors import InvalidInput
from stepway_intake.domain.default_rules import DEFAULT
from stepway_intake.domain.facts import GRADES, RISK, SCALES, Facts
from stepway_intake.domain.levels_of_care import LevelOfCare
from stepway_intake.domain.rules import All, Any, Condition, From, Rule, RuleSet, is_above, weigh

SETTING = "level_of_care"
MOST_RULES, MOST_CONDITIONS, DEEPEST, LONGEST_TEXT, MOST_DAYS, MOST_PAYERS = 200, 20, 4, 300, 365, 100
CODE = re.compile(r"[a-z][a-z0-9_]{0,59}")
NAME = re.compile(r"[a-z][a-z0-9-]{0,39}/[1-9][0-9]{0,5}")
PAYER = re.compile(r"[a-z][a-z0-9-]{0,39}")


def rule_set_for(settings: Mapping[str, Anything], payer: str = "") -> RuleSet:
    """Whose rules count at a site for this payer. Raises InvalidInput (SITE_SETTING_INVALID), naming the place."""
    own = _Place(settings.get(SETTING, {}), SETTING).only("rule_set", "payers")
    payers = own.get("payers", {}).mapping(PAYER, MOST_PAYERS)
    return _rule_set(payers.get(payer) or own.get("rule_set", DEFAULT))


def check(settings: Mapping[str, Anything]) -> None:
    """Read every rule set of a site. Raises InvalidInput (SITE_SETTING_INVALID), naming the place."""
    rule_set_for(settings)
    for payer in settings.get(SETTING, {}).get("payers", {}):
        rule_set_for(settings, payer)


@dataclass(frozen=True)
class _Place:
    """A value of the settings, and where it stands there."""

    value: Anything
    path: str

    def wrong(self, message: str) -> InvalidInput:
        return InvalidInput("SITE_SETTING_INVALID", message, field=self.path)

    def only(self, *names: str) -> "_Place":
        """Nothing stands here but these names and their values."""
        if not isinstance(self.value, dict):
            raise self.wrong(f"Write {', '.join(names)}, each with its value.")
        for name in self.value:
            if name not in names:
                raise self.wrong(f"Write nothing here but {', '.join(names)}.")
        return self

    def get(self, name: str, otherwise: Anything = None) -> "_Place":
        return _Place(self.value.get(name, otherwise), f"{self.path}.{name}")

    def mapping(self, names: re.Pattern[str], most: int) -> "dict[str, _Place]":
        if not isinstance(self.value, dict) or len(self.value) > most:
            raise self.wrong(f"Write at most {most} names, each with its value.")
        if not all(isinstance(name, str) and names.fullmatch(name) for name in self.value):
            raise self.wrong(f"Write names like {names.pattern}.")
        return {name: self.get(name) for name in self.value}

    def each(self, least: int, most: int) -> "list[_Place]":
        if not isinstance(self.value, list) or not least <= len(self.value) <= most:
            raise self.wrong(f"Write a list of {least} to {most}.")
        return [_Place(value, f"{self.path}[{number}]") for number, value in enumerate(self.value)]

    def text(self, pattern: re.Pattern[str]) -> str:
        if not isinstance(self.value, str) or not pattern.fullmatch(self.value):
            raise self.wrong(f"Write a text like {pattern.pattern}.")
        return self.value

    def sentence(self) -> str:
        if not isinstance(self.value, str) or not 0 < len(self.value.strip()) <= LONGEST_TEXT or "\0" in self.value:
            raise self.wrong(f"Write a sentence of at most {LONGEST_TEXT} characters.")
        return self.value

    def number(self, lowest: int, highest: int) -> int:
        if type(self.value) is not int or not lowest <= self.value <= highest:
            raise self.wrong(f"Write a whole number from {lowest} to {highest}.")
        return self.value

    def one_of(self, *words: str) -> str:
        if not isinstance(self.value, str) or self.value not in words:
            raise self.wrong(f"Write one of {', '.join(words)}.")
        return self.value


def _rule_set(at: _Place) -> RuleSet:
    at.only("name", "needs", "otherwise", "fresh_days", "rules")
    rule_set = RuleSet(
        needs=frozenset(fact.one_of(*SCALES) for fact in at.get("needs", []).each(0, len(SCALES))),
        otherwise=_level(at.get("otherwise")),
        fresh_days=at.get("fresh_days").number(1, MOST_DAYS),
        rules=tuple(_rule(each) for each in at.get("rules").each(1, MOST_RULES)),
        version=f"{at.get('name').text(NAME)}@{_digest(at.value)}",
    )
    _must_name_each_rule_once(at, rule_set)
    _must_ask_for_more(at, rule_set)
    _must_heed_risk(at, rule_set)
    return rule_set


def _digest(value: Anything) -> str:
    """Of a value that has been read, and so holds nothing but names, texts and numbers."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _level(at: _Place) -> LevelOfCare:
    return LevelOfCare(at.one_of(*LevelOfCare))


def _rule(at: _Place) -> Rule:
    at.only("code", "level", "text", "when")
    return Rule(
        at.get("code").text(CODE), _level(at.get("level")), at.get("text").sentence(), _condition(at.get("when"))
    )


def _condition(at: _Place, depth: int = 1) -> Condition:
    if depth > DEEPEST:
        raise at.wrong(f"Write conditions at most {DEEPEST} deep.")
    at.only("fact", "from", "all", "any")
    names = set(at.value)
    if names == {"all"}:
        return All(_conditions(at.get("all"), depth))
    if names == {"any"}:
        return Any(_conditions(at.get("any"), depth))
    if names == {"fact", "from"}:
        return _from(at)
    raise at.wrong("Write fact and from, or all, or any.")


def _conditions(at: _Place, depth: int) -> tuple[Condition, ...]:
    return tuple(_condition(each, depth + 1) for each in at.each(1, MOST_CONDITIONS))


def _from(at: _Place) -> From:
    fact = at.get("fact").one_of(*SCALES)
    scale, value = SCALES[fact], at.get("from")
    if isinstance(scale, range):
        return From(fact, value.number(scale[1], scale[-1]))
    return From(fact, value.one_of(*(str(each) for each in scale[1:])))


def _must_name_each_rule_once(at: _Place, rule_set: RuleSet) -> None:
    codes: set[str] = set()
    for number, rule in enumerate(rule_set.rules):
        if rule.code in codes:
            raise InvalidInput("SITE_SETTING_INVALID", "Use each code once.", field=f"{at.path}.rules[{number}].code")
        codes.add(rule.code)


def _must_ask_for_more(at: _Place, rule_set: RuleSet) -> None:
    for number, rule in enumerate(rule_set.rules):
        if not is_above(rule.level, rule_set.otherwise):
            message = "Write a level above otherwise: what asks for no more than that needs no rule."
            raise InvalidInput("SITE_SETTING_INVALID", message, field=f"{at.path}.rules[{number}].level")


def _must_heed_risk(at: _Place, rule_set: RuleSet) -> None:
    """Whoever is in danger needs more than the least, whatever else a site thinks."""
    best = {fact: scale[0] for fact, scale in SCALES.items()}
    at_least = weigh(rule_set, Facts({**best, RISK: GRADES[-1]})).at_least
    if at_least is None:
        raise at.get("rules").wrong("Add a rule for which a high risk alone is enough.")
