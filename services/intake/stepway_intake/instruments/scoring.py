"""What a set of answers adds up to, and whether it speaks of danger."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stepway_chassis.errors import InvalidInput
from stepway_intake.instruments.conditions import Facts, holds, may_hold
from stepway_intake.instruments.definition import TOTAL, Band, Definition, Finding, Risk, Scale, Sex


@dataclass(frozen=True)
class Score:
    """A total with its band, or neither when too many items are unanswered; other scales and findings by name.

    Nor is there a band while a question about danger that the total asks for is open (APA, DSM-5 severity measures).
    `treat_as` is the next band up where single answers ask for it; `permille` is the share of the highest total.
    """

    total: int | None
    band: Band | None
    missing: int
    rule: str
    version: str = "1"
    treat_as: Band | None = None
    permille: int | None = None
    scales: Mapping[str, int | None] = field(default_factory=dict)
    findings: Mapping[str, str | None] = field(default_factory=dict)


def score(definition: Definition, answers: Mapping[int, int], *, sex: Sex = Sex.UNKNOWN) -> Score:
    """Add up answers, given as item number to value; an unanswered item is left out.

    Raises InvalidInput ITEM_UNKNOWN or ANSWER_OUT_OF_RANGE.
    """
    check(definition, answers)
    facts = _facts(definition, answers, sex)
    band = _band(definition, facts)
    return Score(
        total=facts.scales.get(TOTAL),
        band=band,
        missing=len(unanswered(definition, answers)),
        rule=definition.rule,
        version=definition.version,
        treat_as=_treat_as(definition, facts, band),
        permille=_permille(definition, facts.answers),
        scales={scale.name: facts.scales[scale.name] for scale in definition.scales if scale.name != TOTAL},
        findings={finding.name: _finding(finding, facts) for finding in definition.findings},
    )


def risk_of(definition: Definition, answers: Mapping[int, int]) -> Risk:
    """What the answers say of danger; where an open question could make it worse, that counts: it is never a no.

    Raises InvalidInput ITEM_UNKNOWN or ANSWER_OUT_OF_RANGE.
    """
    said = said_of_danger(definition, answers)
    left_open = _left_open(definition, _facts(definition, answers, Sex.UNKNOWN), worse_than=said)
    return max(said, left_open, key=lambda each: each.rank)


def said_of_danger(definition: Definition, answers: Mapping[int, int]) -> Risk:
    """What the items that speak of danger say, whatever the total and whatever is left open.

    Raises InvalidInput ITEM_UNKNOWN or ANSWER_OUT_OF_RANGE.
    """
    check(definition, answers)
    facts = _facts(definition, answers, Sex.UNKNOWN)
    return next((risk for risk, when in definition.risks if may_hold(when, facts)), Risk.NONE)


def speaks_of_substance_use(definition: Definition, answers: Mapping[int, int]) -> bool:
    """Whether these answers, or that they were asked for, make a record one of substance use (42 CFR 2.11).

    A scale is judged by what is answered of it: the rest can only add to that.
    """
    filled = _filled(definition, answers)
    sums = {scale.name: sum(_values(definition, scale, filled)) for scale in definition.scales}
    return bool(answers) and bool(holds(definition.substance_use, Facts(filled, sums, Sex.UNKNOWN)))


def unanswered(definition: Definition, answers: Mapping[int, int]) -> frozenset[int]:
    """The items that have to be answered and are not; what the form passes over is none of them."""
    filled = _filled(definition, answers)
    return frozenset(item.number for item in definition.items if item.required and item.number not in filled)


def check(definition: Definition, answers: Mapping[int, int]) -> None:
    """Raises InvalidInput ITEM_UNKNOWN or ANSWER_OUT_OF_RANGE."""
    for number, value in answers.items():
        item = definition.by_number.get(number)
        if item is None:
            raise InvalidInput("ITEM_UNKNOWN", f"{definition.name} has no such item", field="answers")
        if value not in item.values:
            values = ", ".join(map(str, item.values))
            raise InvalidInput("ANSWER_OUT_OF_RANGE", f"the item takes one of {values}", field=f"answers.{number}")


def band_of(scale: Scale, total: int) -> Band | None:
    """The band whose cut-off the total has reached."""
    return ([None, *(band for lowest, band in scale.bands if total >= lowest)])[-1]


def _left_open(definition: Definition, facts: Facts, *, worse_than: Risk) -> Risk:
    open_ = (holds(when, facts) is None for risk, when in definition.risks if risk.rank > worse_than.rank)
    return Risk.UNANSWERED if any(open_) else Risk.NONE


def _facts(definition: Definition, answers: Mapping[int, int], sex: Sex) -> Facts:
    filled = _filled(definition, answers)
    return Facts(filled, {scale.name: _sum(definition, scale, filled) for scale in definition.scales}, sex)


def _filled(definition: Definition, answers: Mapping[int, int]) -> Mapping[int, int]:
    """The answers, and nought for what the form passes over."""
    facts = Facts(answers, {}, Sex.UNKNOWN)
    skipped = [item for skip in definition.skips if holds(skip.when, facts) for item in skip.items]
    return {**dict.fromkeys(skipped, 0), **answers}


def _sum(definition: Definition, scale: Scale, answers: Mapping[int, int]) -> int | None:
    values = _values(definition, scale, answers)
    items, answered = len(scale.items), len(values)
    if answered == 0 or items - answered > scale.proratable:
        return None
    return _divided_half_up(sum(values) * items, answered)


def _values(definition: Definition, scale: Scale, answers: Mapping[int, int]) -> list[int]:
    return [_counted(definition, scale, item, answers[item]) for item in scale.items if item in answers]


def _counted(definition: Definition, scale: Scale, item: int, value: int) -> int:
    values = definition.by_number[item].values
    return values[0] + values[-1] - value if item in scale.reversed else value


def _divided_half_up(dividend: int, divisor: int) -> int:
    return (2 * dividend + divisor) // (2 * divisor)


def _permille(definition: Definition, answers: Mapping[int, int]) -> int | None:
    """Of what was really answered, before the total is rounded; the lowest total is nought."""
    scale = definition.total
    if scale is None or not scale.percent or _sum(definition, scale, answers) is None:
        return None
    ranges = [definition.by_number[item].values for item in scale.items if item in answers]
    lowest, highest = sum(values[0] for values in ranges), sum(values[-1] for values in ranges)
    return _divided_half_up((sum(_values(definition, scale, answers)) - lowest) * 1000, highest - lowest)


def _band(definition: Definition, facts: Facts) -> Band | None:
    if definition.banded_by_risk:
        cases = tuple((risk.value, when) for risk, when in definition.risks)
        category = _finding(Finding("band", cases, Band.NONE), facts)
        return None if category is None else Band(category)
    total, left_open = facts.scales.get(TOTAL), unanswered(definition, facts.answers) & definition.risk_items
    return None if total is None or definition.total is None or left_open else band_of(definition.total, total)


def _treat_as(definition: Definition, facts: Facts, band: Band | None) -> Band | None:
    if band is None or definition.total is None or not holds(definition.lifted, facts):
        return None
    bands = [each for _, each in definition.total.bands]
    return bands[min(bands.index(band) + 1, len(bands) - 1)]


def _finding(finding: Finding, facts: Facts) -> str | None:
    """The first case that holds; None when one that is left open comes before it."""
    for value, when in finding.cases:
        held = holds(when, facts)
        if held is not False:
            return value if held else None
    return finding.otherwise
