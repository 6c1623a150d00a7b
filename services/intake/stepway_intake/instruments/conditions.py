"""Whether the conditions of a definition hold for some answers: yes, no, or nobody can say."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stepway_intake.instruments.definition import Condition, Sex, When


@dataclass(frozen=True)
class Facts:
    """What conditions are asked about: an unanswered item is left out, a scale without a total is None."""

    answers: Mapping[int, int]
    scales: Mapping[str, int | None]
    sex: Sex


def holds(when: When, facts: Facts) -> bool | None:
    """One alternative is enough for a yes; a no needs all of them, and None is what an unanswered item leaves open."""
    found = [_together(_each(alternative, facts)) for alternative in when]
    return True if True in found else None if None in found else False


def may_hold(when: When, facts: Facts) -> bool:
    """Whether an alternative holds, or what is known of it does and the rest is left open."""
    found = [_each(alternative, facts) for alternative in when]
    return any(True in each and False not in each for each in found)


def _each(alternative: Iterable[Condition], facts: Facts) -> list[bool | None]:
    return [_one(condition, facts) for condition in alternative]


def _together(found: list[bool | None]) -> bool | None:
    return None if None in found else all(found)


def _one(condition: Condition, facts: Facts) -> bool | None:
    if condition.sexes:
        return facts.sex in condition.sexes
    value = facts.scales[condition.scale] if condition.scale else _measured(condition, facts.answers)
    return None if value is None else _within(condition, value)


def _within(condition: Condition, value: int) -> bool:
    enough = condition.at_least is None or value >= condition.at_least
    return enough and (condition.at_most is None or value <= condition.at_most)


def _measured(condition: Condition, answers: Mapping[int, int]) -> int | None:
    if not all(item in answers for item in condition.items):
        return None
    if condition.counted_from is None:
        return sum(answers[item] for item in condition.items)
    own = condition.counted_from_in
    return sum(answers[item] >= own.get(item, condition.counted_from) for item in condition.items)
