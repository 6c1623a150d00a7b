"""What a Questionnaire says about its items: which LOINC code each has, and what its options count."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stepway_cli import instruments
from stepway_cli.fhir.elements import Element
from stepway_cli.fhir.sheets import is_loinc, loinc_of, weight
from stepway_intake.instruments.catalogue import CURRENT
from stepway_intake.instruments.definition import Definition


@dataclass(frozen=True)
class Form:
    """LOINC codes by linkId; for each linkId what an answer code counts; and the panel, if it has a code."""

    panel: str
    codes: Mapping[str, str]
    weights: Mapping[str, Mapping[str, int]]


NOTHING_KNOWN = Form("", {}, {})


def form(questionnaire: Element) -> Form:
    codes: dict[str, str] = {}
    weights: dict[str, Mapping[str, int]] = {}
    for item in _items(questionnaire):
        link = item.text("linkId")
        for code in loinc_of(item.many("code"))[:1]:
            codes[link] = code
        if counted := _weights(item):
            weights[link] = counted
    return Form(next(iter(loinc_of(questionnaire.many("code"))), ""), codes, weights)


def _items(holder: Element) -> Iterator[Element]:
    for item in holder.many("item"):
        yield item
        yield from _items(item)


def _weights(item: Element) -> dict[str, int]:
    counted: dict[str, int] = {}
    for option in item.many("answerOption"):
        coding = option.one("valueCoding")
        counts = weight([*option.many("extension"), *coding.many("extension")])
        if counts is not None and coding.text("code"):
            counted[coding.text("code")] = counts
    return counted


def code_of(link: str, known: Form) -> str:
    """What an item goes by: its LOINC code in the Questionnaire, or the last part of its linkId."""
    return known.codes.get(link) or link.rstrip("/").rpartition("/")[2]


def instrument_of(canonical: str, known: Form) -> Definition | None:
    """The instrument that a questionnaire is as a whole, by its code or by how its address ends."""
    ending = canonical.partition("|")[0].rstrip("/").rpartition("/")[2]
    panel = known.panel or (ending if is_loinc(ending) else "")
    return instruments.PANELS.get(panel) or CURRENT.get(ending.lower())
