"""Who somebody is, how they can be reached, how confidential their record is, and whether it is there twice."""

import hashlib
import json
import unicodedata
from calendar import monthrange
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from stepway_chassis.errors import Conflict, InvalidInput

_PLAIN = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "ـ": None})
_POINTS = range(10, 37)  # Unicode's combining classes of Hebrew and Arabic vowel points
_ACCENTS = 200  # and from here on of accents
MOST_CANDIDATES = 50
OLDEST_BIRTH_YEAR = 1900
_UNSAID = ("ADMINISTRATIVE_GENDER_UNSPECIFIED", "ADMINISTRATIVE_GENDER_UNKNOWN")


class KeyKind(StrEnum):
    """What two records can have in common."""

    NAME = "name"
    BIRTH_DATE = "birth_date"
    PHONE = "phone"
    EMAIL = "email"


class Fact(StrEnum):
    """What can be put right by itself."""

    NAME = "name"
    BIRTH_DATE = "birth_date"
    GENDER = "gender"
    CONTACT_POINTS = "contact_points"
    LANGUAGE = "language"


_FIELDS: Mapping[Fact, tuple[str, ...]] = {Fact.NAME: ("given_name", "family_name")}
"""Of a person; any other fact is one field of the same name."""


class Label(StrEnum):
    """How confidential a record is; `PART2` is 42 CFR Part 2."""

    GENERAL = "general"
    PART2 = "part2"


@dataclass(frozen=True)
class ContactPoint:
    """`system` is phone (an E.164 number) or email."""

    system: str
    value: str


@dataclass(frozen=True)
class Person:
    """`birth_date` is a FHIR date, perhaps without day or month, or empty."""

    given_name: str
    family_name: str
    birth_date: str
    gender: str
    contact_points: tuple[ContactPoint, ...]
    language: str


@dataclass(frozen=True)
class RelatedPerson:
    given_name: str
    family_name: str
    relationship: str
    contact_points: tuple[ContactPoint, ...]


@dataclass(frozen=True)
class Patient:
    """`merged_into` is whose record has become one with this one."""

    id: UUID
    person: Person
    label: Label
    merged_into: UUID | None = None


@dataclass(frozen=True)
class Key:
    """Something that people are found by, written in one way only."""

    kind: KeyKind
    value: str


@dataclass(frozen=True)
class Candidate:
    """A record that may be of the same person as another, and why; a human decides."""

    patient: Patient
    reasons: tuple[KeyKind, ...]
    birth_dates_differ: bool


@dataclass(frozen=True)
class Merged:
    """Whatever is kept under `merged` is `into`'s."""

    merged: UUID
    into: UUID
    at: datetime


@dataclass(frozen=True)
class Updated:
    """These facts about a patient are other than before."""

    patient_id: UUID
    facts: tuple[Fact, ...]
    at: datetime


def label_for(*, part2_program: bool) -> Label:
    """The label of a new record: Part 2 unless the site has said that its programme is none (42 CFR 2.11)."""
    return Label.PART2 if part2_program else Label.GENERAL


def keys_of(person: Person) -> frozenset[Key]:
    """All that this person is found by. A name is there whole, and without the given names after the first."""
    return frozenset(_keys_of(person))


def _keys_of(person: Person) -> Iterator[Key]:
    first, *_ = [*_words(person.given_name), ""]
    for given in (person.given_name, first):
        if name := name_key(f"{given} {person.family_name}"):
            yield name
    if person.birth_date:
        yield Key(KeyKind.BIRTH_DATE, person.birth_date)
    yield from (contact_key(point) for point in person.contact_points)


def name_key(name: str) -> Key | None:
    """The words of a name in no particular order; none for one without a letter or a digit."""
    words = sorted(set(_words(name)))
    return Key(KeyKind.NAME, " ".join(words)) if words else None


def sought_name(name: str) -> Key:
    """Raises InvalidInput (NAME_UNREADABLE)."""
    key = name_key(name)
    if key is None:
        raise InvalidInput("NAME_UNREADABLE", "Give a name that has a letter in it.", field="name")
    return key


def contact_key(point: ContactPoint) -> Key:
    return Key(KeyKind(point.system), point.value.casefold())


def _words(name: str) -> list[str]:
    """Without case, accents, vowel points and signs; a hyphen divides words, an apostrophe does not."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold()).translate(_PLAIN)
    kept = "".join(_folded(letter) for letter in folded)
    return unicodedata.normalize("NFC", kept).split()


def _folded(letter: str) -> str:
    """Signs that change the consonant or are a vowel themselves stay: Indic, Thai, and the marks of kana."""
    kind, mark = unicodedata.category(letter), unicodedata.combining(letter)
    if mark in _POINTS or mark >= _ACCENTS or kind == "Cf" or letter in "'’ʼ`´":
        return ""
    return letter if kind[0] in "LMN" else " "


def candidates(patient: Patient, others: Iterable[tuple[Patient, frozenset[KeyKind]]]) -> list[Candidate]:
    """Of others, each with the kinds of the keys shared, who may be the same person, the likeliest first.

    A birth date alone says nothing, and a name alone nothing against another birth date; a shared telephone is a
    reason to look, since families share one.
    """
    found = [candidate for each in others if (candidate := _candidate(patient, *each)) is not None]
    found.sort(key=lambda each: (each.birth_dates_differ, -len(each.reasons), each.patient.id))
    return found[:MOST_CANDIDATES]


def _candidate(patient: Patient, other: Patient, shared: frozenset[KeyKind]) -> Candidate | None:
    differ = _differ(patient.person.birth_date, other.person.birth_date)
    if not shared - {KeyKind.BIRTH_DATE} or (shared == {KeyKind.NAME} and differ):
        return None
    return Candidate(other, tuple(kind for kind in KeyKind if kind in shared), differ)


def born(birth_date: str) -> tuple[date, date]:
    """The first and the last day that it can be: FHIR dates may lack the day, or the month, too. Raises ValueError."""
    year, *rest = (int(part) for part in birth_date.split("-"))
    if len(rest) == 2:
        return date(year, *rest), date(year, *rest)
    first, last = (rest[0], rest[0]) if rest else (1, 12)
    return date(year, first, 1), date(year, last, monthrange(year, last)[1])


def _differ(one: str, other: str) -> bool:
    """Of a date that is known in part, what is known counts."""
    return not (one.startswith(other) or other.startswith(one))


def check_person(person: Person, today: date) -> None:
    """Raises InvalidInput (NAME_MISSING, BIRTH_DATE_IMPOSSIBLE)."""
    if all(unicodedata.category(each)[0] in "CZ" for each in person.family_name):  # controls, formats and blanks
        raise InvalidInput("NAME_MISSING", "Give a family name, in any script.", field="person.family_name")
    if person.birth_date and not _possible(person.birth_date, today):
        message = "Give a date that exists, not in the future and not before 1900; leave it empty if it is not known."
        raise InvalidInput("BIRTH_DATE_IMPOSSIBLE", message, field="person.birth_date")


def _possible(birth_date: str, today: date) -> bool:
    try:
        first, _ = born(birth_date)
    except ValueError:
        return False
    return first.year >= OLDEST_BIRTH_YEAR and first <= today


def etag(person: Person) -> str:
    """Another one whenever anything that is on record about the person is other than before."""
    return hashlib.sha256(json.dumps(asdict(person)).encode()).hexdigest()[:32]


def correct(
    patient: Patient, right: Person, facts: Collection[Fact], *, read: str, at: datetime
) -> tuple[Patient, Updated | None]:
    """The patient of whom these facts are as they are in `right`; nothing to announce where they were so before.

    `read` is the etag of what the corrector has seen. Raises Conflict (PERSON_CHANGED) and what `check_person` raises.
    """
    if etag(patient.person) != read:
        raise Conflict("PERSON_CHANGED", "Somebody has changed this record since; read it again first.")
    person = replace(patient.person, **{name: getattr(right, name) for fact in facts for name in _fields(fact)})
    check_person(person, at.date())
    changed = tuple(fact for fact in Fact if _said(person, fact) != _said(patient.person, fact))
    return replace(patient, person=person), Updated(patient.id, changed, at) if changed else None


def _fields(fact: Fact) -> tuple[str, ...]:
    return _FIELDS.get(fact, (fact,))


def _said(person: Person, fact: Fact) -> tuple[object, ...]:
    return tuple(getattr(person, name) for name in _fields(fact))


def merge(kept: Patient, gone: Patient, *, both_admitted: bool, at: datetime) -> tuple[Patient, Patient, Merged]:
    """The record that stays, with what it lacked; the other, which is part of it from now on.

    `both_admitted` tells whether each has an admission that is not over: nobody is admitted twice at a time, and which
    seat stays is not ours to choose. Raises InvalidInput (SAME_PATIENT) and Conflict (PATIENT_ALREADY_MERGED,
    PATIENT_ADMITTED_TWICE).
    """
    if kept.id == gone.id:
        raise InvalidInput("SAME_PATIENT", "Name two records.", field="merged_patient_id")
    for each in (kept, gone):
        if each.merged_into is not None:
            message = "One of the records has become part of another; read it to see which, and merge that one."
            raise Conflict("PATIENT_ALREADY_MERGED", message)
    if both_admitted:
        raise Conflict(
            "PATIENT_ADMITTED_TWICE", "Both records have an admission that is not over; end one of them first."
        )
    label = max(kept.label, gone.label, key=list(Label).index)
    stays = replace(kept, person=_completed(kept.person, gone.person), label=label)
    return stays, replace(gone, merged_into=kept.id), Merged(gone.id, kept.id, at)


def _completed(kept: Person, gone: Person) -> Person:
    """Of two values the kept one stays: the other may be an address that is no longer safe to write to."""
    systems = {point.system for point in kept.contact_points}
    more = tuple(point for point in gone.contact_points if point.system not in systems)
    known = {name: getattr(kept, name) or getattr(gone, name) for name in ("given_name", "language")}
    known["birth_date"] = (gone if gone.birth_date.startswith(kept.birth_date) else kept).birth_date
    known["gender"] = next((each.gender for each in (kept, gone) if each.gender not in _UNSAID), kept.gender)
    return replace(kept, **known, contact_points=kept.contact_points + more)
