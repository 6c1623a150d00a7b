"""Suggestions of a level of care in contracts, and the facts that they are made from."""

from collections.abc import Mapping
from typing import Any

from stepway.intake.v1 import level_of_care_suggestion_pb2 as contract
from stepway_chassis.times import to_proto
from stepway_intake.domain.facts import AGE, HOURS, RISK, STATED, Facts, bands_in
from stepway_intake.domain.rules import Reason
from stepway_intake.domain.suggestions import Suggestion
from stepway_intake.wire.levels_of_care import level_name


def _numbers(fact: str) -> Mapping[str, int]:
    """The contract's number of each value of the fact; "unspecified" is no value."""
    enum: Any = contract.LevelOfCareFacts.DESCRIPTOR.fields_by_name[fact].enum_type
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    return {str(word): enum.values_by_name[f"{prefix}{str(word).upper()}"].number for word in STATED[fact]}


_NUMBERS = {fact: _numbers(fact) for fact in STATED if fact != HOURS}
_WORDS = {fact: {number: word for word, number in numbers.items()} for fact, numbers in _NUMBERS.items()}


def stated(told: contract.LevelOfCareFacts) -> Facts:
    """What is unspecified is not known."""
    known: dict[str, str | int] = {
        fact: words[getattr(told, fact)] for fact, words in _WORDS.items() if getattr(told, fact)
    }
    if told.HasField(HOURS):
        known[HOURS] = told.hours_needed
    return Facts(known)


def _facts(used: Facts) -> contract.LevelOfCareFacts:
    told: dict[str, Any] = {}
    for fact in STATED.keys() & used.known.keys():
        value = used.known[fact]
        told[fact] = value if fact == HOURS else _NUMBERS[fact][str(value)]
    return contract.LevelOfCareFacts(**told)


def suggestion(made: Suggestion) -> contract.LevelOfCareSuggestion:
    bands = sorted(bands_in(made.facts).items())
    return contract.LevelOfCareSuggestion(
        id=str(made.id),
        referral_id=str(made.referral_id),
        patient_id=str(made.patient_id),
        level=level_name(made.finding.level),
        at_least=level_name(made.finding.at_least),
        reasons=[_reason(each) for each in made.finding.reasons],
        missing=made.finding.missing,
        facts=_facts(made.facts),
        bands=[contract.InstrumentBand(instrument=instrument, band=band) for instrument, band in bands],
        risk_may_be_higher=RISK in made.facts.may_be_worse,
        rule_set=made.rule_set,
        payer=made.payer,
        suggested_to=made.suggested_to,
        suggested_at=to_proto(made.suggested_at),
        age_group=f"AGE_GROUP_{str(made.facts.known.get(AGE, 'unspecified')).upper()}",
    )


def _reason(given: Reason) -> contract.SuggestionReason:
    return contract.SuggestionReason(code=given.code, level=level_name(given.level), text=given.text)
