"""Facts: what has to be known of somebody before a level of care is suggested, each on a scale from best to worst."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from stepway_intake.domain.authority import Ages, is_minor, reached
from stepway_intake.instruments.catalogue import CURRENT
from stepway_intake.instruments.definition import Definition, Risk

GRADES = ("none", "low", "moderate", "high")
RISK = "risk"
HOURS = "hours_needed"
AGE = "age_group"
AGES = ("adult", "adolescent")
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
    age_group: str | None,
    flag_open: bool,
) -> Facts:
    """What a clinician has said, and what the record adds: bands by instrument, interviews, age, an open risk flag.

    Of what a clinician says and what the record says the clinician's word counts. As long as it is not on record what
    was done about a sign of danger, no word on the risk but the worst is the last one, and none is below what a
    screening has shown. A band that no rule could name is left out.
    """
    measured = {f"{_BAND}{instrument}": band for instrument, band in bands.items()}
    banded = {fact: band for fact, band in measured.items() if band in BANDS.get(fact, ())}
    banded = {_THE_SAME[fact]: banded[fact] for fact in _THE_SAME.keys() & banded.keys()} | banded
    heard = _with_screening(interviews, banded)
    of_age = {} if age_group is None else {AGE: age_group}
    not_the_last = flag_open and stated.known.get(RISK) != GRADES[-1]
    at_least = _worst_risk(heard, stated) if flag_open else {}
    return Facts(
        {**heard.known, **stated.known, **at_least, **of_age, **banded},
        (heard.may_be_worse - stated.known.keys()) | ({RISK} if not_the_last else set()),
    )


def _worst_risk(*said: Facts) -> Mapping[str, str | int]:
    risks = [each.known[RISK] for each in said if RISK in each.known]
    return {RISK: max(risks, key=GRADES.index)} if risks else {}


def _with_screening(heard: Facts, banded: Mapping[str, str]) -> Facts:
    """A screening that shows danger says what risk there is at least; one that shows none says nothing of it."""
    category = banded.get(_SCREENED, GRADES[0])
    if category == GRADES[0]:
        return heard
    return Facts({**heard.known, RISK: category}, heard.may_be_worse | {RISK})


def age_group(birth_date: str, ages: Ages, today: date) -> str | None:
    """By the law of the site, of somebody born on a FHIR date; nothing where it could be either."""
    if reached(birth_date, ages.majority, today):
        return AGES[0]
    return AGES[1] if is_minor(birth_date, ages, today) else None


def bands_in(facts: Facts) -> Mapping[str, str]:
    """The bands by the names of their instruments."""
    return {fact.removeprefix(_BAND): str(value) for fact, value in facts.known.items() if fact.startswith(_BAND)}
