"""Who somebody is, how they can be reached, and how confidential their record is."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


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
    id: UUID
    person: Person
    label: Label


def label_for(*, part2_program: bool) -> Label:
    """The label of a new record: Part 2 unless the site has said that its programme is none (42 CFR 2.11)."""
    return Label.PART2 if part2_program else Label.GENERAL
