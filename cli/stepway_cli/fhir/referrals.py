"""From files of FHIR R4 JSON to the referrals that intake can receive, and an account of everything else."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date

from stepway.intake.v1 import referral_pb2, referral_service_pb2
from stepway_cli.fhir import orders, people
from stepway_cli.fhir.elements import Element
from stepway_cli.fhir.files import REFERRAL_KINDS, Resource, resources_in
from stepway_cli.fhir.shelf import Shelf, counted
from stepway_cli.findings import Note, Refused, Unusable

MOST_RELATED_PEOPLE = 20
_ANY_REQUEST_ID = "00000000-0000-4000-8000-000000000000"  # the contract asks for one; the caller sets its own


@dataclass(frozen=True)
class Ready:
    """One referral to send; its request_id is still empty."""

    name: str
    request: referral_service_pb2.ReceiveReferralRequest = field(repr=False)
    made_of: tuple[str, ...]  # the name of every resource in it


@dataclass(frozen=True)
class Import:
    """Everything that was read: each resource is in one Ready, one Refused or one Note's count."""

    referrals: list[Ready]
    refused: list[Refused]
    notes: list[Note]
    read: int  # resources, and files or entries that none could be read from


@dataclass
class _Asked:
    """What belongs to one patient, by the name of the resource that says it."""

    reasons: dict[str, str] = field(default_factory=dict)
    relatives: dict[str, referral_pb2.RelatedPerson] = field(default_factory=dict)
    turned_away: bool = False  # an order for them was refused


def read_referrals(documents: Iterable[tuple[str, bytes]], *, today: date) -> Import:
    """Join (file name, content) pairs into one referral for each patient; nothing in them makes this raise.

    A patient with an accepted ServiceRequest, or with none at all, becomes a referral. Messages name resources and
    paths, never what is in them.
    """
    return _Reading(today).of(documents)


class _Reading:
    """One import while it is being put together."""

    def __init__(self, today: date) -> None:
        self._today = today
        self._shelf = Shelf()
        self._asked: dict[Resource, _Asked] = defaultdict(_Asked)
        self._referrals: list[Ready] = []
        self._refused: list[Refused] = []
        self._notes: list[Note] = []

    def of(self, documents: Iterable[tuple[str, bytes]]) -> Import:
        found = [entry for file, content in documents for entry in resources_in(file, content)]
        self._refused += [entry for entry in found if isinstance(entry, Refused)]
        self._shelve([entry for entry in found if isinstance(entry, Resource)])
        self._each("ServiceRequest", self._take_order)
        self._each("RelatedPerson", self._take_relative)
        self._each("Patient", self._take_patient)
        self._refuse_those_without_patient()
        return Import(self._referrals, self._refused, self._notes, read=len(found))

    def _shelve(self, resources: list[Resource]) -> None:
        for resource in resources:
            if resource.kind in REFERRAL_KINDS:
                self._say(self._shelf.put(resource))
        self._notes += counted(resource for resource in resources if resource.kind not in REFERRAL_KINDS)

    def _each(self, kind: str, take: Callable[[Resource], None]) -> None:
        for resource in self._shelf.resources:
            if resource.kind == kind:
                try:
                    take(resource)
                except Unusable as problem:
                    self._refused.append(problem.named(resource.name))

    def _take_order(self, order: Resource) -> None:
        element = Element(order.name, "", order.fields)
        patient = self._patient_or_none(order, "subject")
        try:
            orders.check_referral(element)
            reason = orders.reason_of(element)
        except Unusable:
            if patient:
                self._asked[patient].turned_away = True
            raise
        self._asked[patient or self._patient(order, "subject")].reasons[order.name] = reason

    def _take_relative(self, relative: Resource) -> None:
        asked = self._asked[self._patient(relative, "patient")]
        notes: list[Note] = []
        person = people.related_person(Element(relative.name, "", relative.fields), self._today, notes)
        if len(asked.relatives) == MOST_RELATED_PEOPLE:
            raise Unusable("TOO_MANY_RELATED_PEOPLE", f"a referral names at most {MOST_RELATED_PEOPLE}")
        asked.relatives[relative.name] = person
        self._notes += notes

    def _take_patient(self, patient: Resource) -> None:
        asked = self._asked[patient]
        if asked.turned_away and not asked.reasons:
            raise Unusable("NO_REFERRAL_ORDER", "every order for this patient was refused: mend one or leave them out")
        notes: list[Note] = []
        request = self._request(patient, asked, notes)
        made_of = (patient.name, *asked.reasons, *asked.relatives)
        self._referrals.append(Ready(patient.name, request, made_of))
        self._notes += notes
        del self._asked[patient]

    def _request(
        self, patient: Resource, asked: _Asked, notes: list[Note]
    ) -> referral_service_pb2.ReceiveReferralRequest:
        request = referral_service_pb2.ReceiveReferralRequest(
            request_id=_ANY_REQUEST_ID,
            person=people.person(Element(patient.name, "", patient.fields), self._today, notes),
            related_people=asked.relatives.values(),
            reason=orders.joined(asked.reasons.values(), patient.name, notes),
        )
        people.valid(request).ClearField("request_id")
        return request

    def _refuse_those_without_patient(self) -> None:
        """Whatever still waits belongs to a patient who was refused."""
        for patient, asked in self._asked.items():
            for name in (*asked.reasons, *asked.relatives):
                self._refused.append(Refused(name, "SUBJECT_REFUSED", f"its patient was refused: {patient.name}"))

    def _patient(self, source: Resource, key: str) -> Resource:
        reference = Element(source.name, "", source.fields).one(key).text("reference")
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

    def _say(self, finding: Note | Refused | None) -> None:
        if isinstance(finding, Refused):
            self._refused.append(finding)
        elif finding:
            self._notes.append(finding)
