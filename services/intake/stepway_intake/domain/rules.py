"""Rules: what asks for which level of care, and what the known facts make of it while others are unknown."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from stepway_intake.domain.facts import RISK, Facts, is_known, place
from stepway_intake.domain.levels_of_care import LevelOfCare

LEVELS = tuple(LevelOfCare)
"""From the least care to the most."""


class Holds(IntEnum):
    """Whether a condition holds. The least of several is that of all together, the greatest that of any."""

    NO = 0
    OPEN = 1  # it depends on what is not known
    YES = 2


@dataclass(frozen=True)
class From:
    """The fact is at this value or worse."""

    fact: str
    value: str | int


@dataclass(frozen=True)
class All:
    of: tuple["Condition", ...]


@dataclass(frozen=True)
class Any:
    of: tuple["Condition", ...]


Condition = From | All | Any


@dataclass(frozen=True)
class Rule:
    """When it holds, this level is the least that will do. `text` says why to a clinician."""

    code: str
    level: LevelOfCare
    text: str
    when: Condition


@dataclass(frozen=True)
class RuleSet:
    """`needs` are facts without which nothing is suggested, `otherwise` is the level for which no rule is needed.

    Bands count when they are not older than `fresh_days`. `version` changes whenever the same facts could lead
    somewhere else.
    """

    version: str
    needs: frozenset[str]
    otherwise: LevelOfCare
    fresh_days: int
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Reason:
    code: str
    level: LevelOfCare
    text: str


@dataclass(frozen=True)
class Finding:
    """What rules make of facts. `level` is empty while something is `missing` that could ask for more care;
    `at_least` is what the known facts ask for by themselves, empty when they ask for nothing."""

    level: LevelOfCare | None
    at_least: LevelOfCare | None
    reasons: tuple[Reason, ...]
    missing: tuple[str, ...]


def holds(condition: Condition, facts: Facts) -> Holds:
    match condition:
        case From(fact, value):
            return _reaches(facts, fact, value)
        case All(of):
            return min(holds(each, facts) for each in of)
        case Any(of):
            return max(holds(each, facts) for each in of)


def _reaches(facts: Facts, fact: str, value: str | int) -> Holds:
    known = facts.known.get(fact)
    if known is not None and place(fact, known) >= place(fact, value):
        return Holds.YES
    return Holds.NO if is_known(fact, facts) else Holds.OPEN


def weigh(rule_set: RuleSet, facts: Facts) -> Finding:
    """The highest level that any rule asks for, never an average.

    Rules only ever ask for more, so a level is settled once nothing unknown could ask for a higher one. What risk
    there is has to be known, whether a rule speaks of it or not.
    """
    fired = [rule for rule in rule_set.rules if holds(rule.when, facts) is Holds.YES]
    at_least = max((rule.level for rule in fired), key=LEVELS.index, default=None)
    settled = max(at_least or rule_set.otherwise, rule_set.otherwise, key=LEVELS.index)
    missing = sorted({*_unknown(rule_set, facts, settled), *_undecided(rule_set.rules, facts, settled)})
    return Finding(None if missing else settled, at_least, _reasons(fired), tuple(missing))


def is_above(level: LevelOfCare, other: LevelOfCare) -> bool:
    return LEVELS.index(level) > LEVELS.index(other)


def _unknown(rule_set: RuleSet, facts: Facts, settled: LevelOfCare) -> Iterable[str]:
    """What must be known whatever the rules; where more care is not to be had, nothing must."""
    if settled is LEVELS[-1]:
        return ()
    return (fact for fact in rule_set.needs | {RISK} if not is_known(fact, facts))


def _undecided(rules: Iterable[Rule], facts: Facts, settled: LevelOfCare) -> Iterable[str]:
    """What keeps rules open that would ask for more care than is settled."""
    return (fact for rule in rules if is_above(rule.level, settled) for fact in _open_in(rule.when, facts))


def _open_in(condition: Condition, facts: Facts) -> Iterable[str]:
    if holds(condition, facts) is not Holds.OPEN:
        return ()
    if isinstance(condition, From):
        return (condition.fact,)
    return (fact for each in condition.of for fact in _open_in(each, facts))


def _reasons(fired: Iterable[Rule]) -> tuple[Reason, ...]:
    highest_first = sorted(fired, key=lambda rule: (-LEVELS.index(rule.level), rule.code))
    return tuple(Reason(rule.code, rule.level, rule.text) for rule in highest_first)
