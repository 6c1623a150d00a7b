"""Facts: what has to be known of somebody before a level of care is suggested, each on a scale from best to worst."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from stepway_intake.domain.authority import Ages, is_minor, reached
from stepway_intake.instruments.catalogue import CURRENT
from stepway_intake.instruments.definition import Definition, Risk

GRADES = ("none", "low", "moderate", "high")
RISK = "risk"
HOURS = "hours_needed"
AGE = "age_group"
ADULT, ADOLESCENT = AGES = ("adult", "adolescent")
_BAND = "band."

STATED: Mapping[str, Sequence[str | int]] = {
    RISK: GRADES,
    "withdrawal_risk": GRADES,
    "medical_instability": GRADES,
    "psychiatric_instability": GRADES,
    "impairment": GRADES,
    "supports": ("strong", "some", "none", "unsafe"),
    "responsibilities": ("managed", "with_help", "unmanaged"),
    "treatment_history": (
        "no_setback",
        "outpatient_not_enough",
        "intensive_outpatient_not_enough",
        "partial_hospitalization_not_enough",
        "residential_not_enough",
        "inpatient_not_enough",
    ),
    HOURS: range(169),
}
"""What a clinician says, by name."""


def _bands_of(definition: Definition) -> tuple[str, ...]:
    """From best to worst; of an instrument that is banded by risk the categories that it names."""
    if definition.banded_by_risk:
        return (Risk.NONE.value, *(risk.value for risk, _ in reversed(definition.risks)))
    return tuple(band.value for _, band in definition.total.bands) if definition.total else ()


BANDS: Mapping[str, Sequence[str]] = {
    f"{_BAND}{name}": bands for name, each in CURRENT.items() if len(bands := _bands_of(each)) > 1
}
"""What the instruments say, for example band.phq-9."""
_SCREENED = f"{_BAND}c-ssrs-screener"
_THE_SAME = {f"{_BAND}phq-9m": f"{_BAND}phq-9"}
"""Instruments that ask what another asks, in the same bands: who was asked the one need not be asked the other."""
_SHOWN = {Risk.LOW: "low", Risk.PRESENT: "low", Risk.MODERATE: "moderate", Risk.HIGH: "high"}
"""What risk a flag shows at least: of one item alone nobody has asked how much, and what was left open shows none."""
SCALES: Mapping[str, Sequence[str | int]] = {**STATED, AGE: AGES, **BANDS}
"""All of them. Whoever is not of age comes behind adults because a programme of theirs begins with fewer hours."""


@dataclass(frozen=True)
class Facts:
    """What is known. What is not is left out, and never stands for the best of its scale.

    `may_be_worse` names what is known to be at least as bad as it says.
    """

    known: Mapping[str, str | int]
    may_be_worse: frozenset[str] = frozenset()


def is_known(fact: str, facts: Facts) -> bool:
    return fact in facts.known and fact not in facts.may_be_worse


def place(fact: str, value: str | int) -> int:
    """How far from the best a value is."""
    return SCALES[fact].index(value)


_NOTHING = Facts({})


def with_record(
    stated: Facts,
    bands: Mapping[str, str],
    *,
    interviews: Facts = _NOTHING,
    standing: Facts = _NOTHING,
    age_group: str | None,
) -> Facts:
    """What a clinician has said, and what the record adds: bands by instrument, interviews, the age, what is standing.

    Of what a clinician says and what the record says the clinician's word counts. Of what is `standing` the worst that
    anybody has said counts, and no word but the worst there is is the last. A band that no rule could name is left out.
    """
    measured = {f"{_BAND}{instrument}": band for instrument, band in bands.items()}
    banded = _under_both_names({fact: band for fact, band in measured.items() if band in BANDS.get(fact, ())})
    heard = _with_screening(interviews, banded)
    of_age = {} if age_group is None else {AGE: age_group}
    worst = _worst(standing.may_be_worse, heard, stated, standing)
    not_the_last = {fact for fact in standing.may_be_worse if stated.known.get(fact) != SCALES[fact][-1]}
    return Facts(
        {**heard.known, **stated.known, **worst, **of_age, **banded},
        (heard.may_be_worse - stated.known.keys()) | not_the_last,
    )


def _under_both_names(banded: Mapping[str, str]) -> Mapping[str, str]:
    """Of two forms of the same questions the worse one counts, whichever is newer."""
    both = {_THE_SAME[fact]: band for fact, band in banded.items() if fact in _THE_SAME}
    worse = {fact: max(band, banded.get(fact, band), key=BANDS[fact].index) for fact, band in both.items()}
    return {**banded, **worse}


def _worst(facts: Iterable[str], *said: Facts) -> Mapping[str, str | int]:
    values = {fact: [each.known[fact] for each in said if fact in each.known] for fact in facts}
    return {fact: max(found, key=SCALES[fact].index) for fact, found in values.items() if found}


def flagged(risks: Collection[Risk]) -> Facts:
    """What stands while it is not on record what was done about these signs of danger: what they show, or worse."""
    shown = [_SHOWN[risk] for risk in risks if risk in _SHOWN]
    return Facts({RISK: max(shown, key=GRADES.index)} if shown else {}, frozenset({RISK} if risks else ()))


def together(first: Facts, second: Facts) -> Facts:
    """Of different facts."""
    return Facts({**first.known, **second.known}, first.may_be_worse | second.may_be_worse)


def _with_screening(heard: Facts, banded: Mapping[str, str]) -> Facts:
    """A screening that shows danger says what risk there is at least; one that shows none says nothing of it."""
    category = banded.get(_SCREENED, GRADES[0])
    if category == GRADES[0]:
        return heard
    return Facts({**heard.known, RISK: category}, heard.may_be_worse | {RISK})


def age_group(birth_date: str, ages: Ages, today: date) -> str | None:
    """By the law of the site, of somebody born on a FHIR date; nothing where it could be either."""
    if reached(birth_date, ages.majority, today):
        return ADULT
    return ADOLESCENT if is_minor(birth_date, ages, today) else None


def bands_in(facts: Facts) -> Mapping[str, str]:
    """The bands by the names of their instruments."""
    return {fact.removeprefix(_BAND): str(value) for fact, value in facts.known.items() if fact.startswith(_BAND)}
