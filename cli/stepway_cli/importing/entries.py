"""What an import sends about one person: a referral, unless intake has it, and sheets of answers."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from stepway.intake.v1.assessment_pb2 import Instrument
from stepway.intake.v1.assessment_service_pb2 import RecordAssessmentRequest
from stepway.intake.v1.referral_pb2 import Person
from stepway.intake.v1.referral_service_pb2 import ReceiveReferralRequest
from stepway_chassis.times import to_proto
from stepway_cli.answers import Answers, PersonAnswers
from stepway_cli.fhir.answered import Filled
from stepway_cli.fhir.referrals import Ready
from stepway_cli.findings import Place, Refused, Unusable
from stepway_cli.importing import identity
from stepway_cli.times import Times


@dataclass(frozen=True)
class Form:
    """One instrument's answers; referral_id and request_id are still empty."""

    name: str
    place: Place
    request: RecordAssessmentRequest = field(repr=False)
    stated_total: int | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Entry:
    """One person; either there is a referral to be received, or the id of one that intake has."""

    name: str
    place: Place
    referral: ReceiveReferralRequest | None = field(repr=False)
    referral_id: str = ""
    forms: tuple[Form, ...] = ()

    @property
    def import_ids(self) -> list[str]:
        of_referral = [self.referral.import_id] if self.referral else []
        return [*of_referral, *(form.request.import_id for form in self.forms)]


def of_fhir(site: str, source: str, ready: Ready) -> Entry:
    referral = ReceiveReferralRequest()
    referral.CopyFrom(ready.request)
    referral.import_content = identity.content(referral)
    resources = [each for each in (ready.patient, *ready.orders) if each]
    referral.import_id = identity.of_resources(site, source, resources)
    forms = tuple(_form(site, source, referral.import_id, filled) for filled in ready.filled)
    return Entry(ready.name, ready.place, referral, forms=forms)


def _form(site: str, source: str, person: str, filled: Filled) -> Form:
    sheet = filled.sheet
    request = _answers(sheet.instrument, sheet.answers, sheet.answered_at)
    named = identity.name_of(filled.source, source)
    parts = (sheet.instrument,) if named else (sheet.instrument, person, sorted(sheet.answers.items()))
    request.import_id = identity.of_resources(site, source, [filled.source], *parts)
    return Form(sheet.name, filled.source.place, request, sheet.stated_total)


def of_rows(site: str, file: str, content: bytes, read: Answers, times: Times) -> Iterator[Entry | Refused]:
    """A row is its place in its file: a file that has changed is another file, row for row.

    One that names no referral becomes a nameless one.
    """
    yield from (replace(each, name=f"{file} {each.name}", place=_in(file, each.place)) for each in read.refused)
    digest = hashlib.sha256(content).hexdigest()
    for person in read.people:
        place = Place(file, person.row_number, "row")
        try:
            yield _row(site, digest, person, place, times)
        except Unusable as problem:
            yield problem.named(f"{file} row {person.row_number}", place)


def _in(file: str, place: Place | None) -> Place:
    return replace(place, file=file) if place else Place(file)


def _row(site: str, digest: str, person: PersonAnswers, place: Place, times: Times) -> Entry:
    at = _answered_at(person, times)
    name = f"{place.file} row {person.row_number}"
    forms = []
    for instrument, answers in person.answers.items():
        request = _answers(instrument, answers, at)
        request.import_id = identity.of_row(site, digest, person.row_number, instrument)
        forms.append(Form(name, place, request))
    if person.referral_id:
        return Entry(name, place, None, person.referral_id, tuple(forms))
    referral = ReceiveReferralRequest(person=Person(family_name=f"Row {person.row_number}"))
    referral.import_id = identity.of_row(site, digest, person.row_number, "referral")
    return Entry(name, place, referral, forms=tuple(forms))


def _answered_at(person: PersonAnswers, times: Times) -> datetime:
    """Raises Unusable."""
    if not person.answered_at:
        if times.otherwise:
            return times.otherwise
        message = "give a column answered_at, or --answered: a guess could page somebody, or nobody"
        raise Unusable("ANSWERED_AT_MISSING", message)
    try:
        return times.read(person.answered_at)
    except (ValueError, OverflowError):
        raise Unusable("TIME_MALFORMED", "answered_at: write a time such as 2026-11-24T09:30Z") from None


def _answers(instrument: Instrument, answers: Mapping[int, int], at: datetime) -> RecordAssessmentRequest:
    in_order = [{"item": item, "value": value} for item, value in sorted(answers.items())]
    content = identity.content(RecordAssessmentRequest(instrument=instrument, answers=in_order))
    return RecordAssessmentRequest(
        instrument=instrument, answers=in_order, answered_at=to_proto(at), import_content=content
    )
