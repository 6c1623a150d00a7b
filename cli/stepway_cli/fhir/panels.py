"""From a panel of FHIR Observations, as members or as components, to a sheet of answers."""

from collections.abc import Callable, Iterator

from stepway_cli import instruments
from stepway_cli.fhir import sheets
from stepway_cli.fhir.elements import Element
from stepway_cli.fhir.parsing import JsonObject
from stepway_cli.fhir.sheets import Said, Sheet
from stepway_cli.findings import Note, Unusable
from stepway_cli.times import Times

_TAKEN = ("final", "amended", "corrected")
_SURVEY = "survey"


def codes_of(observation: Element) -> list[str]:
    return sheets.loinc_of(observation.one("code").many("coding"))


def may_matter(fields: JsonObject) -> bool:
    """Whether an Observation is of an instrument, or may be a member of one; anything malformed may be."""
    try:
        element = Element("", "", fields)
        categories = [coding for concept in element.many("category") for coding in concept.many("coding")]
        surveyed = any(coding.text("code") == _SURVEY for coding in categories)
        return surveyed or bool(instruments.KNOWN_CODES & set(codes_of(element)))
    except Unusable:
        return True


def is_panel(observation: Element) -> bool:
    """A code of a panel, or members or components of which one is an item of an instrument."""
    has_parts = bool(observation.many("hasMember") or observation.many("component"))
    return has_parts or bool(set(instruments.PANELS) & set(codes_of(observation)))


def read(panel: Element, member_of: Callable[[Element], Element], times: Times, notes: list[Note]) -> list[Sheet]:
    """What was answered in it; `member_of` finds the Observation that a reference means. Raises Unusable."""
    sheets.must_be(panel, "status", _TAKEN, "OBSERVATION_NOT_FINAL")
    said = [*_components(panel), *_members(panel, member_of)]
    whole = [instruments.PANELS[code] for code in codes_of(panel) if code in instruments.PANELS]
    forms = whole[:1] or instruments.asked({each.code for each in said})
    if not forms:
        raise sheets.unknown("its members are")
    at = sheets.answered_at(panel, ("effectiveDateTime", "effectiveInstant", "issued"), times)
    return sheets.sheets(panel.name, said, forms, at, notes)


def _components(panel: Element) -> Iterator[Said]:
    for component in panel.many("component"):
        code = next(iter(sheets.loinc_of(component.one("code").many("coding"))), "")
        yield sheets.answer(component.path, code, component)


def _members(panel: Element, member_of: Callable[[Element], Element]) -> Iterator[Said]:
    for reference in panel.many("hasMember"):
        member = member_of(reference)
        sheets.must_be(member, "status", _TAKEN, "OBSERVATION_NOT_FINAL")
        code = next(iter(codes_of(member)), "")
        yield sheets.answer(reference.path, code, member)
