"""From coded answers, of a QuestionnaireResponse or of Observations, to sheets that intake can score."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from stepway.intake.v1 import assessment_pb2
from stepway_cli import instruments
from stepway_cli.fhir.elements import Element
from stepway_cli.findings import Note, Unusable
from stepway_cli.times import Times
from stepway_intake.instruments.definition import Definition

LOINC = "http://loinc.org"
ORDINAL_VALUES = frozenset(
    {
        "http://hl7.org/fhir/StructureDefinition/ordinalValue",
        "http://hl7.org/fhir/StructureDefinition/itemWeight",
    }
)
_NUMBER = re.compile(r"[0-9]{1,4}(\.0{1,4})?")
_LOINC = re.compile(r"[0-9]{3,7}-[0-9]")


@dataclass(frozen=True)
class Said:
    """One item as it was answered, or left open: by answer code, by a number, or both; a code is worth more.

    It is answered and has neither when the answer is something else, as free text is.
    """

    path: str
    code: str  # LOINC, or the item's number on the form
    answered: bool
    answer_codes: tuple[str, ...] = field(default=(), repr=False)
    number: int | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Sheet:
    """One instrument as one person has answered it; an unanswered item is left out."""

    name: str
    instrument: assessment_pb2.Instrument
    answers: Mapping[int, int] = field(repr=False)
    answered_at: datetime
    stated_total: int | None = field(default=None, repr=False)


def weight(extensions: Iterable[Element]) -> int | None:
    """What an option counts, as an extension of FHIR says."""
    given = (each.decimal("valueDecimal") for each in extensions if each.text("url") in ORDINAL_VALUES)
    return _whole(next(given, None))


def loinc_of(concepts: Iterable[Element]) -> list[str]:
    """The LOINC codes of Codings."""
    return [coding.text("code") for coding in concepts if coding.text("system") == LOINC and coding.text("code")]


def is_loinc(text: str) -> bool:
    return bool(_LOINC.fullmatch(text))


def answer(path: str, code: str, holder: Element, weights: Mapping[str, int] | None = None) -> Said:
    """What value[x] of an answer or an Observation says."""
    said = Said(path, code, any(key.startswith("value") for key in holder.fields))
    codings = [holder.one("valueCoding"), *holder.one("valueCodeableConcept").many("coding")]
    codes = tuple(filter(None, (coding.text("code") for coding in codings)))
    if not codes:
        return replace(said, number=_number(holder))
    known = (_weight(coding, weights or {}) for coding in codings)
    return replace(said, answer_codes=codes, number=next((one for one in known if one is not None), None))


def _weight(coding: Element, weights: Mapping[str, int]) -> int | None:
    """What an answer counts, as it says itself or as the Questionnaire says."""
    own = weight(coding.many("extension"))
    return weights.get(coding.text("code")) if own is None else own


def _number(holder: Element) -> int | None:
    """The whole number that is given, however it is written; a yes is 1."""
    if (flag := holder.flag("valueBoolean")) is not None:
        return int(flag)
    given = (
        holder.decimal("valueInteger"),
        holder.decimal("valueDecimal"),
        holder.one("valueQuantity").decimal("value"),
    )
    for number in given:
        if number is not None:
            return _whole(number)
    written = holder.text("valueString")
    return int(float(written)) if _NUMBER.fullmatch(written) else None


def _whole(number: float | None) -> int | None:
    whole = isinstance(number, int) or (number is not None and number.is_integer())
    return int(number) if whole and number is not None else None


def sheets(
    name: str, said: Sequence[Said], forms: Sequence[Definition], answered_at: datetime, notes: list[Note]
) -> list[Sheet]:
    """One sheet for each instrument of the form that has an answer. Raises Unusable.

    Items go by their LOINC codes; where not one has such a code, by their numbers on a form of one instrument.
    """
    found, taken = [], set[str]()
    for form in forms:
        numbers = instruments.items_of(form)
        if not any(each.code in numbers for each in said):
            numbers = {str(item.number): item.number for item in form.items}
        if sheet := _sheet(name, said, form, numbers, answered_at):
            found.append(sheet)
        taken |= {*numbers, form.total_loinc}
    if not found:
        raise Unusable("NO_ANSWERS", "nothing is answered")
    notes.extend(
        Note(f"{name} {each.path}", "left out: its code is of no item of the instrument")
        for each in said
        if each.code not in taken and each.answered
    )
    return found


def _sheet(
    name: str, said: Sequence[Said], form: Definition, numbers: Mapping[str, int], answered_at: datetime
) -> Sheet | None:
    """None when nothing in it is answered."""
    answers: dict[int, int] = {}
    for each in said:
        if each.answered and each.code in numbers:
            _take(answers, numbers[each.code], _value(form, numbers[each.code], each), each.path)
    totals = [each.number for each in said if form.total_loinc and each.code == form.total_loinc]
    instrument = instruments.in_contract(form)
    return Sheet(name, instrument, answers, answered_at, next(iter(totals), None)) if answers else None


def _take(answers: dict[int, int], item: int, value: int, path: str) -> None:
    if item in answers:
        raise Unusable("ITEM_REPEATED", f"{path}: answered twice, give every item one answer")
    answers[item] = value


def _value(form: Definition, item: int, said: Said) -> int:
    coded = (form.answer_codes[code] for code in said.answer_codes if code in form.answer_codes)
    value = next(coded, said.number)
    if value is None:
        reason = "ANSWER_CODE_UNKNOWN" if said.answer_codes else "ANSWER_UNREADABLE"
        raise Unusable(reason, f"{said.path}: give an answer code of this instrument, or a whole number")
    if value not in instruments.takes(form.name, item):
        raise Unusable("ANSWER_OUT_OF_RANGE", f"{said.path}: give an answer that the item takes")
    return value


def answered_at(element: Element, keys: Sequence[str], times: Times) -> datetime:
    """When the person answered. Raises Unusable ANSWERED_AT_MISSING: a guess could page somebody, or nobody."""
    for key in keys:
        if at := element.moment(key, times):
            return at
    if times.otherwise:
        return times.otherwise
    raise Unusable("ANSWERED_AT_MISSING", f"give {keys[0]}, or --answered for all that have none")


def must_be(element: Element, key: str, taken: Iterable[str], reason: str) -> None:
    """Raises Unusable for any other status."""
    if element.text(key) not in taken:
        raise Unusable(reason, f"only one whose {key} is {' or '.join(sorted(taken))} is taken")


def unknown(what: str) -> Unusable:
    return Unusable("INSTRUMENT_UNKNOWN", f"{what} of no instrument that intake can score")
