"""From files of FHIR R4 to what intake can receive of each patient, and an account of everything else."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time

from stepway.intake.v1 import referral_pb2, referral_service_pb2
from stepway_cli.fhir import orders, people
from stepway_cli.fhir.answered import ANSWER_KINDS, Answered, Filled, element_of
from stepway_cli.fhir.files import Resource, Wanted, referral_kinds, resources_in
from stepway_cli.fhir.parsing import Content
from stepway_cli.fhir.shelf import Leftovers, Shelf
from stepway_cli.findings import Note, Place, Refused, Unusable
from stepway_cli.times import Times

MOST_RELATED_PEOPLE = 20
_ANY_REQUEST_ID = "00000000-0000-4000-8000-000000000000"  # the contract asks for one; the caller sets its own


@dataclass(frozen=True)
class Ready:
    """One referral to send; its request_id is still empty."""

    name: str
    request: referral_service_pb2.ReceiveReferralRequest = field(repr=False)
    made_of: tuple[str, ...]  # the name of every resource in it
    patient: Resource | None = None
    orders: tuple[Resource, ...] = ()
    filled: tuple[Filled, ...] = ()

    @property
    def place(self) -> Place:
        return self.patient.place if self.patient else Place(self.name)


@dataclass(frozen=True)
class Import:
    """Everything that was read: each resource is in one Ready, one Refused or one Note's count."""

    referrals: list[Ready]
    refused: list[Refused]
    notes: list[Note]
    read: int  # resources, and files or entries that none could be read from


def read_referrals(documents: Iterable[tuple[str, Content]], *, today: date) -> Import:
    """Join (file name, content) pairs into one referral for each patient; nothing in them makes this raise.

    A patient with an accepted ServiceRequest, or with none at all, becomes a referral. Messages name resources and
    paths, never what is in them.
    """
    reading = Reading(documents, today=today)
    referrals = list(reading.ready())
    return Import(referrals, reading.refused, reading.notes, reading.read)


class Reading:
    """One import: what was found is on a shelf, and each patient's part of it is read when their turn comes."""

    def __init__(
        self,
        documents: Iterable[tuple[str, Content]],
        *,
        today: date,
        wanted: Wanted = referral_kinds,
        times: Times | None = None,
    ) -> None:
        """`times` reads when something was answered; without it, as at the end of `today`."""
        self.refused: list[Refused] = []
        self.notes: list[Note] = []
        self.read = 0
        self._today = today
        self._shelf = Shelf()
        self._answered = Answered(self._shelf, times or Times(datetime.combine(today, time.max, UTC)))
        self._belonging: dict[Resource, list[Resource]] = defaultdict(list)  # by patient
        self._turned_away: set[Resource] = set()  # patients for whom an order was refused
        self._shelve(documents, wanted)
        self._link()

    @property
    def patients(self) -> list[Resource]:
        return [each for each in self._shelf.resources if each.kind == "Patient"]

    def ready(self) -> Iterator[Ready]:
        """Every patient who can be received, in the order of the files; what cannot be taken is added to `refused`."""
        for patient in self.patients:
            try:
                yield self._ready(patient)
            except Unusable as problem:
                self._refuse(patient, problem)
        for patient, belonging in self._belonging.items():  # another Patient of the same name was taken
            self._refuse_all(belonging, patient)

    def _shelve(self, documents: Iterable[tuple[str, Content]], wanted: Wanted) -> None:
        leftovers = Leftovers()
        for found in (each for file, content in documents for each in resources_in(file, content, wanted)):
            self.read += 1
            if isinstance(found, Refused):
                self.refused.append(found)
            elif found.packed and found.kind != "Questionnaire":
                self._say(self._shelf.put(found))
            else:
                leftovers.add(found)
                self._learn(found)
        self.notes += leftovers.notes()

    def _learn(self, found: Resource) -> None:
        if found.packed:
            try:
                self._answered.learn(found)
            except Unusable as problem:
                self.notes.append(Note(found.name, f"cannot be read: {problem.message}", place=found.place))

    def _link(self) -> None:
        """Say of everything whose it is."""
        self._each("ServiceRequest", self._take_order)
        self._each("RelatedPerson", lambda each: self._belonging[self._patient(each, "patient")].append(each))
        self._each("QuestionnaireResponse", self._take_answers)
        for found in self._answered.link():
            if isinstance(found, Resource):
                self._trying(found, self._take_answers)
            else:
                self._say(found)

    def _each(self, kind: str, take: Callable[[Resource], None]) -> None:
        for resource in self._shelf.resources:
            if resource.kind == kind:
                self._trying(resource, take)

    def _trying(self, resource: Resource, take: Callable[[Resource], None]) -> None:
        try:
            take(resource)
        except Unusable as problem:
            self._refuse(resource, problem)

    def _take_order(self, order: Resource) -> None:
        patient = self._patient_or_none(order, "subject")
        element = element_of(order)
        try:
            orders.check_referral(element)
            orders.reason_of(element)
        except Unusable:
            if patient:
                self._turned_away.add(patient)
            raise
        self._belonging[patient or self._patient(order, "subject")].append(order)

    def _take_answers(self, source: Resource) -> None:
        self._belonging[self._patient(source, "subject")].append(source)

    def _ready(self, patient: Resource) -> Ready:
        belonging = self._belonging.pop(patient, [])
        notes: list[Note] = []
        reasons = {each: orders.reason_of(element_of(each)) for each in belonging if each.kind == "ServiceRequest"}
        relatives = self._relatives(belonging, notes)
        filled = self._filled(belonging, notes)
        taken = [*reasons, *relatives, *dict.fromkeys(each.source for each in filled)]
        try:
            if patient in self._turned_away and not reasons:
                message = "every order for this patient was refused: mend one or leave them out"
                raise Unusable("NO_REFERRAL_ORDER", message)
            about: list[Note] = []
            request = self._request(patient, reasons.values(), relatives.values(), about)
        except Unusable:
            self._refuse_all(taken, patient)
            raise
        self.notes += [*notes, *_placed(about, patient)]
        parts = [part for each in taken for part in (each, *self._answered.members_of.get(each, ()))]
        return Ready(
            patient.name, request, tuple(each.name for each in (patient, *parts)), patient, tuple(reasons), filled
        )

    def _relatives(self, belonging: list[Resource], notes: list[Note]) -> dict[Resource, referral_pb2.RelatedPerson]:
        found: dict[Resource, referral_pb2.RelatedPerson] = {}

        def take(relative: Resource) -> None:
            about: list[Note] = []
            person = people.related_person(element_of(relative), self._today, about)
            if len(found) == MOST_RELATED_PEOPLE:
                raise Unusable("TOO_MANY_RELATED_PEOPLE", f"a referral names at most {MOST_RELATED_PEOPLE}")
            found[relative] = person
            notes.extend(_placed(about, relative))

        for each in belonging:
            if each.kind == "RelatedPerson":
                self._trying(each, take)
        return found

    def _filled(self, belonging: list[Resource], notes: list[Note]) -> tuple[Filled, ...]:
        found: list[Filled] = []

        def take(source: Resource) -> None:
            about: list[Note] = []
            found.extend(Filled(source, sheet) for sheet in self._answered.sheets(source, about))
            notes.extend(_placed(about, source))

        for each in belonging:
            if each.kind in ANSWER_KINDS:
                self._trying(each, take)
        return tuple(found)

    def _request(
        self,
        patient: Resource,
        reasons: Iterable[str],
        relatives: Iterable[referral_pb2.RelatedPerson],
        notes: list[Note],
    ) -> referral_service_pb2.ReceiveReferralRequest:
        request = referral_service_pb2.ReceiveReferralRequest(
            request_id=_ANY_REQUEST_ID,
            person=people.person(element_of(patient), self._today, notes),
            related_people=relatives,
            reason=orders.joined(reasons, patient.name, notes),
        )
        people.valid(request).ClearField("request_id")
        return request

    def _patient(self, source: Resource, key: str) -> Resource:
        reference = element_of(source).one(key).text("reference")
        if reference.startswith("#"):
            raise Unusable("SUBJECT_NOT_FOUND", "its patient is contained in it: send the Patient on its own")
        found = self._shelf.find(reference, source)
        if found.kind != "Patient":
            raise Unusable("SUBJECT_NOT_FOUND", f"{key} has to refer to a Patient")
        return found

    def _patient_or_none(self, source: Resource, key: str) -> Resource | None:
        try:
            return self._patient(source, key)
        except Unusable:
            return None

    def _refuse_all(self, belonging: Iterable[Resource], patient: Resource) -> None:
        for each in belonging:
            self._refuse(each, Unusable("SUBJECT_REFUSED", f"its patient was refused: {patient.at}"))

    def _refuse(self, resource: Resource, problem: Unusable) -> None:
        """With its members, when it is a panel."""
        self.refused.append(problem.named(resource.name, resource.place))
        for member in self._answered.members_of.get(resource, ()):
            message = f"its panel was refused: {resource.at}"
            self.refused.append(Refused(member.name, "PANEL_REFUSED", message, member.place))

    def _say(self, finding: Note | Refused | None) -> None:
        if isinstance(finding, Refused):
            self.refused.append(finding)
        elif finding:
            self.notes.append(finding)


def _placed(notes: list[Note], source: Resource) -> list[Note]:
    """Notes about parts of a resource, with its place."""
    return [
        replace(note, place=replace(source.place, path=note.name.removeprefix(source.name).strip())) for note in notes
    ]
