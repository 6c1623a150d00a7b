"""Answers as other systems write them: LOINC codes of items, and LOINC answer codes or numbers."""

from collections.abc import Mapping

from stepway_chassis.errors import InvalidInput
from stepway_intake.instruments.catalogue import CURRENT
from stepway_intake.instruments.definition import Definition

Coded = Mapping[str, str | int]
"""By LOINC code of the item, the LOINC answer code or the value itself."""


def read(coded: Coded, *, panel: str = "") -> tuple[Definition, dict[int, int]]:
    """The instrument that these are answers to, and the answers by item; a total among them is left out.

    Raises InvalidInput LOINC_UNKNOWN or ANSWER_CODE_UNKNOWN.
    """
    definition = _asked(set(coded), panel)
    numbers = {item.loinc: item.number for item in definition.items if item.loinc}
    return definition, {numbers[code]: _value(definition, said) for code, said in coded.items() if code in numbers}


def _asked(codes: set[str], panel: str) -> Definition:
    """Of those that know every code the shortest: the items of AUDIT-C are the first ones of AUDIT."""
    of_them = [each for each in CURRENT.values() if codes <= _codes(each) and codes - {each.total_loinc}]
    known = [each for each in of_them if panel in ("", each.panel_loinc)]
    if not known:
        message = "Send the items of one instrument of the catalogue, by its LOINC codes."
        raise InvalidInput("LOINC_UNKNOWN", message, field="coded_answers")
    return min(known, key=lambda each: len(each.items))


def _codes(definition: Definition) -> set[str]:
    return {item.loinc for item in definition.items if item.loinc} | {definition.total_loinc} - {""}


def _value(definition: Definition, said: str | int) -> int:
    if isinstance(said, int):
        return said
    if said not in definition.answer_codes:
        message = "Send an answer code of this instrument's LOINC answer list, or the value."
        raise InvalidInput("ANSWER_CODE_UNKNOWN", message, field="coded_answers")
    return definition.answer_codes[said]
