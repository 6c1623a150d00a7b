"""The instruments of intake as other systems name them: by LOINC code, by panel, by item. Intake alone defines them."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import cast

from stepway.intake.v1 import assessment_pb2
from stepway_intake.instruments.catalogue import ALL, CURRENT
from stepway_intake.instruments.definition import Definition

PANELS = {each.panel_loinc: each for each in CURRENT.values() if each.panel_loinc}
TOTALS = frozenset(each.total_loinc for each in CURRENT.values() if each.total_loinc)
_ITEMS = {each.name: {item.loinc: item.number for item in each.items if item.loinc} for each in CURRENT.values()}
KNOWN_CODES = frozenset(PANELS) | TOTALS | {code for items in _ITEMS.values() for code in items}


def items_of(definition: Definition) -> Mapping[str, int]:
    """The number of each item that has a LOINC code."""
    return _ITEMS[definition.name]


def asked(codes: Iterable[str]) -> list[Definition]:
    """The instruments whose items these LOINC codes are, the shortest that has them: one form may hold several."""
    left, found = set(codes), []
    while left:
        best = max(CURRENT.values(), key=lambda each: (len(left & _ITEMS[each.name].keys()), -len(each.items)))
        if not left & _ITEMS[best.name].keys():
            break
        left -= _ITEMS[best.name].keys()
        found.append(best)
    return found


@cache
def takes(instrument: str, number: int) -> frozenset[int]:
    """What an item takes in any version of its instrument; intake knows which one a site uses."""
    items = (item for each in ALL if each.name == instrument for item in each.items if item.number == number)
    return frozenset(value for item in items for value in item.values)


def in_contract(definition: Definition) -> assessment_pb2.Instrument:
    name = f"INSTRUMENT_{definition.name.upper().replace('-', '_')}"
    return cast(assessment_pb2.Instrument, assessment_pb2.Instrument.Value(name))
