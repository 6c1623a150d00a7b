"""Which resources hold somebody's answers, whose they are, and what they say."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from stepway_cli import instruments
from stepway_cli.fhir import panels, responses
from stepway_cli.fhir.elements import Element
from stepway_cli.fhir.files import REFERRAL_KINDS, Resource
from stepway_cli.fhir.forms import NOTHING_KNOWN, Form, form
from stepway_cli.fhir.parsing import JsonObject
from stepway_cli.fhir.sheets import Sheet
from stepway_cli.fhir.shelf import Shelf
from stepway_cli.findings import Note, Refused, Unusable
from stepway_cli.times import Times

ANSWER_KINDS = ("QuestionnaireResponse", "Observation")


def with_answers(kind: str, fields: JsonObject) -> bool:
    """Whether a resource is part of a referral, or may be of its answers."""
    if kind == "Observation":
        return panels.may_matter(fields)
    return kind in REFERRAL_KINDS or kind in ("QuestionnaireResponse", "Questionnaire")


@dataclass(frozen=True)
class Filled:
    """A sheet of answers, and the resource that it was read from."""

    source: Resource
    sheet: Sheet


@dataclass
class Answered:
    """Questionnaires, and which Observation is part of which panel."""

    shelf: Shelf
    times: Times
    forms: dict[str, Form] = field(default_factory=dict)
    members_of: dict[Resource, list[Resource]] = field(default_factory=dict)

    def learn(self, questionnaire: Resource) -> None:
        """Remember what a Questionnaire says about its items. Raises Unusable."""
        element = element_of(questionnaire)
        known = form(element)
        for address in (element.text("url"), questionnaire.key, questionnaire.url):
            if address:
                self.forms[address] = known

    def link(self) -> Iterator[Note | Refused | Resource]:
        """Say whose parts single Observations are: a Note of what was read elsewhere, or the panels that remain."""
        observations = [each for each in self.shelf.resources if each.kind == "Observation"]
        self.members_of = {each: [] for each in observations if _is_panel(each)}
        parts: set[Resource] = set()
        for panel, members in self.members_of.items():
            members += [each for each in self._members(panel) if each not in parts and each not in self.members_of]
            parts.update(members)
        for panel in self.members_of:
            yield self._already_said(panel) or panel
        for each in observations:
            if each not in parts and each not in self.members_of:
                yield _without_panel(each)

    def sheets(self, source: Resource, notes: list[Note]) -> list[Sheet]:
        """Raises Unusable."""
        element = element_of(source)
        if source.kind == "QuestionnaireResponse":
            return responses.read(element, self._form, self.times, notes)
        return panels.read(element, lambda reference: self._member(source, reference), self.times, notes)

    def _form(self, canonical: str) -> Form:
        return self.forms.get(canonical.partition("|")[0], NOTHING_KNOWN)

    def _members(self, panel: Resource) -> list[Resource]:
        try:
            references = [each.text("reference") for each in element_of(panel).many("hasMember")]
        except Unusable:  # said when the panel is read
            return []
        found = [self.shelf.all_of(reference, panel) for reference in references]
        return [each[0] for each in found if len(each) == 1 and each[0].kind == "Observation"]

    def _member(self, panel: Resource, reference: Element) -> Element:
        found = self.shelf.all_of(reference.text("reference"), panel)
        if len(found) != 1 or found[0].kind != "Observation":
            raise Unusable("MEMBER_NOT_FOUND", f"{reference.path}: send the Observation that it names along with it")
        if self._patients(found[0]) != self._patients(panel):
            raise Unusable("MEMBER_OF_ANOTHER", f"{reference.path}: panel and member name different patients")
        return element_of(found[0], path=reference.path)

    def _patients(self, source: Resource) -> list[Resource]:
        return self.shelf.all_of(element_of(source).one("subject").text("reference"), source)

    def _already_said(self, panel: Resource) -> Note | None:
        """The panel repeats a QuestionnaireResponse that came along."""
        try:
            references = [each.text("reference") for each in element_of(panel).many("derivedFrom")]
        except Unusable:  # it is not read for anything else
            return None
        for found in (each for reference in references for each in self.shelf.all_of(reference, panel)):
            if found.kind == "QuestionnaireResponse":
                set_aside = 1 + len(self.members_of[panel])
                return Note(panel.name, f"derived from {found.at}, which is read instead", set_aside, panel.place)
        return None


def element_of(resource: Resource, *, path: str = "") -> Element:
    return Element(resource.name, path, resource.fields)


def _is_panel(observation: Resource) -> bool:
    try:
        return panels.is_panel(element_of(observation))
    except Unusable:
        return True


def _without_panel(observation: Resource) -> Refused | Note:
    try:
        codes = panels.codes_of(element_of(observation))
    except Unusable as problem:
        return problem.named(observation.name, observation.place)
    if instruments.KNOWN_CODES & set(codes):
        message = "send the panel that has it as a member: an item alone is no assessment"
        return Refused(observation.name, "PANEL_MISSING", message, observation.place)
    return Note(observation.name, "not part of a referral: 1 Observation", 1, observation.place)
