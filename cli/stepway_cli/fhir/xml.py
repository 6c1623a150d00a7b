"""From FHIR XML to the JSON of the same document; no entity is expanded and nothing is fetched.

A document type declaration is refused, and without one XML has no entities but its five own. What repeats and what is
no string is in tables here, for the resources that are read; elsewhere a wrong guess is refused by its path.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

from stepway_cli.findings import Unusable

FHIR = "http://hl7.org/fhir"
XHTML = "http://www.w3.org/1999/xhtml"

# https://hl7.org/fhir/R4/xml.html: elements that may repeat are lists in JSON, whatever their number.
_REPEATING = """
    address answer answerOption basedOn category coding communication component contact contained derivedFrom entry
    extension generalPractitioner given hasMember identifier item modifierExtension note prefix profile reasonCode
    reasonReference relationship suffix telecom
"""
_LISTS = frozenset(_REPEATING.split())
_LISTS_IN = {("Patient", "name"), ("RelatedPerson", "name"), ("Questionnaire", "code"), ("item", "code")}
_FLAGS = frozenset({"active", "deceasedBoolean", "doNotPerform", "preferred", "valueBoolean"})
_NUMBERS = frozenset({"rank", "valueDecimal", "valueInteger"})
_NUMBERS_IN = {("valueQuantity", "value")}
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")


@dataclass
class _Open:
    """An element that has begun."""

    name: str
    said: str | None = None  # the attribute that holds the value of what is no structure
    fields: dict[str, object] = field(default_factory=dict)

    @property
    def is_resource(self) -> bool:
        """It stands in `resource` or `contained`, or is the document."""
        return self.name[:1].isupper()


def document(text: str, *, deepest: int) -> dict[str, object]:
    """Raises Unusable."""
    building = _Building(deepest)
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = building.begin
    parser.EndElementHandler = building.end
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError:
        raise Unusable("NOT_XML", "send one whole XML document in each file") from None
    return building.root.fields


def _refuse_doctype(*_: object) -> None:
    raise Unusable("XML_DOCTYPE", "FHIR has no document type declaration: leave it out, entities with it")


class _Building:
    """The JSON document while its XML is being read."""

    def __init__(self, deepest: int) -> None:
        self.root = _Open("")
        self._open: list[_Open] = [self.root]
        self._deepest = deepest
        self._narrative = 0  # how many elements of XHTML are open

    def begin(self, name: str, attributes: Mapping[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        if self._narrative or namespace == XHTML:
            self._narrative += 1
            return
        if namespace != FHIR:
            raise Unusable("NOT_FHIR", f"every element has to be of the namespace {FHIR}")
        if len(self._open) > self._deepest:
            raise Unusable("TOO_DEEP", f"nothing in FHIR is nested more than {self._deepest} levels deep")
        begun = _Open(local, attributes.get("value"))
        if begun.is_resource:
            begun.fields["resourceType"] = local
        begun.fields |= {key: attributes[key] for key in ("id", "url") if key in attributes}
        self._open.append(begun)

    def end(self, _: str) -> None:
        if self._narrative:
            self._narrative -= 1
            return
        done, parent = self._open.pop(), self._open[-1]
        if done.is_resource:
            parent.fields = done.fields
        else:
            _put(parent, done)


def _put(parent: _Open, done: _Open) -> None:
    within = parent.name
    value = _value(within, done)
    if done.name in _LISTS or (within, done.name) in _LISTS_IN:
        values = parent.fields.setdefault(done.name, [])
        if isinstance(values, list):
            values.append(value)
    elif value is not None:
        again = done.name in parent.fields  # that is for whoever reads it to refuse
        parent.fields[done.name] = [parent.fields[done.name], value] if again else value


def _value(within: str, done: _Open) -> object:
    """Null for an element without a value, such as one whose absence an extension explains, and for a narrative."""
    if done.said is None:
        return done.fields if done.fields.keys() - {"id", "extension"} and done.name != "text" else None
    if done.name in _FLAGS:
        return {"true": True, "false": False}.get(done.said, done.said)
    if done.name in _NUMBERS or (within, done.name) in _NUMBERS_IN:
        return _number(done.said)
    return done.said


def _number(said: str) -> object:
    """What is no number stays a string, and is refused by its path."""
    if _WHOLE.fullmatch(said):
        return int(said)
    return float(said) if _DECIMAL.fullmatch(said) else said
