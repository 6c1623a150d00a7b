"""People in contracts: who they are, how they can be reached, how confidential their record is."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from stepway.intake.v1 import events_pb2, person_pb2, person_service_pb2, referral_pb2
from stepway.privacy.v1 import label_pb2
from stepway_chassis.times import to_proto
from stepway_intake.domain import people
from stepway_intake.domain.people import (
    Candidate,
    ContactPoint,
    Fact,
    Key,
    Label,
    Merged,
    Patient,
    Person,
    RelatedPerson,
    Updated,
)

_FACT_OF = {person_pb2.PersonFact.Value(f"PERSON_FACT_{fact.name}"): fact for fact in Fact}
_LABEL = {Label.GENERAL: label_pb2.LABEL_GENERAL, Label.PART2: label_pb2.LABEL_PART2}


def sought(request: person_service_pb2.FindPeopleRequest) -> Key:
    """Raises InvalidInput (NAME_UNREADABLE)."""
    if request.HasField("name"):
        return people.sought_name(request.name)
    if request.HasField("phone"):
        return people.contact_key(ContactPoint("phone", request.phone))
    return people.contact_key(ContactPoint("email", request.email))


def registered(found: Patient) -> person_pb2.RegisteredPerson:
    told, etag = person(found.person), people.etag(found.person)
    return person_pb2.RegisteredPerson(patient_id=str(found.id), person=told, etag=etag)


def corrected(request: person_service_pb2.UpdatePersonRequest) -> tuple[Person, list[Fact]]:
    """The person as they should be on record, and what of it is to be taken over."""
    return new_person(request.person), [_FACT_OF[fact] for fact in request.facts]


def patient_updated(done: Updated) -> events_pb2.PatientUpdated:
    return events_pb2.PatientUpdated(
        patient_id=str(done.patient_id),
        facts=[f"PERSON_FACT_{fact.name}" for fact in done.facts],
        updated_at=to_proto(done.at),
    )


def candidate(found: Candidate) -> person_pb2.DuplicateCandidate:
    return person_pb2.DuplicateCandidate(
        person=registered(found.patient),
        reasons=[f"DUPLICATE_REASON_{reason.name}" for reason in found.reasons],
        birth_dates_differ=found.birth_dates_differ,
    )


def patient_merged(done: Merged) -> events_pb2.PatientMerged:
    return events_pb2.PatientMerged(
        merged_patient_id=str(done.merged), patient_id=str(done.into), merged_at=to_proto(done.at)
    )


def patient_label_raised(id: UUID, at: datetime) -> events_pb2.PatientLabelRaised:
    return events_pb2.PatientLabelRaised(patient_id=str(id), raised_at=to_proto(at))


def new_person(person: referral_pb2.Person) -> Person:
    return Person(
        given_name=person.given_name,
        family_name=person.family_name,
        birth_date=person.birth_date,
        gender=referral_pb2.AdministrativeGender.Name(person.gender),
        contact_points=_new_contact_points(person.contact_points),
        language=person.language,
    )


def new_related_person(related: referral_pb2.RelatedPerson) -> RelatedPerson:
    return RelatedPerson(
        given_name=related.given_name,
        family_name=related.family_name,
        relationship=related.relationship,
        contact_points=_new_contact_points(related.contact_points),
    )


def _new_contact_points(points: Iterable[referral_pb2.ContactPoint]) -> tuple[ContactPoint, ...]:
    return tuple(
        ContactPoint("phone", point.phone) if point.HasField("phone") else ContactPoint("email", point.email)
        for point in points
    )


def person(found: Person) -> referral_pb2.Person:
    return referral_pb2.Person(
        given_name=found.given_name,
        family_name=found.family_name,
        birth_date=found.birth_date,
        gender=found.gender,
        contact_points=contact_points(found.contact_points),
        language=found.language,
    )


def related_person(related: RelatedPerson) -> referral_pb2.RelatedPerson:
    return referral_pb2.RelatedPerson(
        given_name=related.given_name,
        family_name=related.family_name,
        relationship=related.relationship,
        contact_points=contact_points(related.contact_points),
    )


def contact_points(points: Iterable[ContactPoint]) -> list[referral_pb2.ContactPoint]:
    return [referral_pb2.ContactPoint(**{point.system: point.value}) for point in points]


def label(known: Label) -> label_pb2.Label:
    return _LABEL[known]
