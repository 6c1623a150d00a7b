"""What a set of answers adds up to, and whether it speaks of danger."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from stepway_chassis.errors import InvalidInput
from stepway_intake.instruments.definition import Band, Definition, Syndrome


class Finding(StrEnum):
    """What a diagnostic algorithm suggests; never a diagnosis."""

    NONE = "none"
    OTHER = "other"
    MAJOR = "major"


class Risk(StrEnum):
    """What the risk item says."""

    NONE = "none"
    PRESENT = "present"
    UNANSWERED = "unanswered"  # never taken for a no


@dataclass(frozen=True)
class Score:
    """A total with its band, or neither when too many items are unanswered."""

    total: int | None
    band: Band | None
    missing: int
    rule: str
    algorithm: Finding | None = None


def score(definition: Definition, answers: Mapping[int, int]) -> Score:
    """Add up answers, given as item number to value; an unanswered item is left out.

    Raises InvalidInput ITEM_UNKNOWN or ANSWER_OUT_OF_RANGE.
    """
    _check(definition, answers)
    total = _total(definition, answers)
    return Score(
        total=total,
        band=None if total is None else band_of(definition, total),
        missing=len(definition.items) - len(answers),
        rule=definition.rule,
        algorithm=_algorithm(definition, answers),
    )


def risk_of(definition: Definition, answers: Mapping[int, int]) -> Risk:
    """Read the risk item alone, whatever the total and however many items are unanswered.

    Raises InvalidInput ITEM_UNKNOWN or ANSWER_OUT_OF_RANGE.
    """
    _check(definition, answers)
    if definition.risk_item is None:
        return Risk.NONE
    if definition.risk_item not in answers:
        return Risk.UNANSWERED
    return Risk.PRESENT if answers[definition.risk_item] >= 1 else Risk.NONE


def band_of(definition: Definition, total: int) -> Band:
    """The band whose cut-off the total has reached."""
    return [band for lowest, band in definition.bands if total >= lowest][-1]


def _check(definition: Definition, answers: Mapping[int, int]) -> None:
    allowed = {item.number: item.values for item in definition.items}
    for item, value in answers.items():
        if item not in allowed:
            raise InvalidInput("ITEM_UNKNOWN", f"{definition.name} has no such item", field="answers")
        if value not in allowed[item]:
            values = ", ".join(map(str, allowed[item]))
            raise InvalidInput("ANSWER_OUT_OF_RANGE", f"the item takes one of {values}", field=f"answers.{item}")


def _total(definition: Definition, answers: Mapping[int, int]) -> int | None:
    items, answered = len(definition.items), len(answers)
    if answered == 0 or items - answered > definition.proratable:
        return None
    return _divided_half_up(sum(answers.values()) * items, answered)


def _divided_half_up(dividend: int, divisor: int) -> int:
    return (2 * dividend + divisor) // (2 * divisor)


def _algorithm(definition: Definition, answers: Mapping[int, int]) -> Finding | None:
    if definition.syndrome is None or len(answers) < len(definition.items):
        return None
    return _finding(definition.syndrome, answers)


def _finding(syndrome: Syndrome, answers: Mapping[int, int]) -> Finding:
    thresholds = syndrome.endorsed_from_in
    endorsed = {item for item, value in answers.items() if value >= thresholds.get(item, syndrome.endorsed_from)}
    if not endorsed & syndrome.core_items or len(endorsed) < syndrome.other_from:
        return Finding.NONE
    return Finding.MAJOR if len(endorsed) >= syndrome.major_from else Finding.OTHER
