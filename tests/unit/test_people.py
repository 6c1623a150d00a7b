"""The register of people: what somebody is found by, who may be there twice, and what becomes of two records."""

import unicodedata
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepway_chassis.errors import Conflict, InvalidInput
from stepway_intake.domain.people import (
    MOST_CANDIDATES,
    Candidate,
    ContactPoint,
    Fact,
    Key,
    KeyKind,
    Label,
    Patient,
    Person,
    Updated,
    candidates,
    contact_key,
    correct,
    etag,
    keys_of,
    merge,
    name_key,
    sought_name,
)

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
PHONE, EMAIL = ContactPoint("phone", "+12125550142"), ContactPoint("email", "Vexmoor@Example.org")
NAME, BIRTH_DATE = KeyKind.NAME, KeyKind.BIRTH_DATE
names = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


def a_person(given_name: str = "Quillan", family_name: str = "Vexmoor", **changes: Any) -> Person:
    person = Person(given_name, family_name, "1990-04-01", "ADMINISTRATIVE_GENDER_UNSPECIFIED", (PHONE, EMAIL), "")
    return replace(person, **changes)


def a_patient(number: int = 1, person: Person | None = None, **changes: Any) -> Patient:
    return replace(Patient(UUID(int=number), person or a_person(), Label.GENERAL), **changes)


def found(patient: Patient, *others: Patient) -> list[Candidate]:
    """As the store finds them: by the keys that two people share."""
    mine = keys_of(patient.person)
    return candidates(patient, [(each, frozenset(key.kind for key in mine & keys_of(each.person))) for each in others])


def reasons(one: Person, other: Person) -> tuple[KeyKind, ...] | None:
    candidate = found(a_patient(1, one), a_patient(2, other))
    return candidate[0].reasons if candidate else None


def test_a_person_is_found_by_everything_that_is_known_of_them() -> None:
    assert keys_of(a_person("Ana Maria", "Vexmoor")) == {
        Key(NAME, "ana maria vexmoor"),
        Key(NAME, "ana vexmoor"),
        Key(BIRTH_DATE, "1990-04-01"),
        Key(KeyKind.PHONE, "+12125550142"),
        Key(KeyKind.EMAIL, "vexmoor@example.org"),
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("José Núñez", "JOSE NUNEZ"),
        ("Zoë Brontë", "Zoe\u0308 Bronte"),
        ("Łukasz Żółty", "lukasz zolty"),
        ("Søren Æbelø", "Soren Aebelo"),
        ("Işıl Gündoğdu", "ISIL GUNDOGDU"),
        ("Weiß Jürgen", "WEISS Jurgen"),
        ("O’Brien Máire", "O'Brien Maire"),
        ("Smith-Jones Ann", "Ann Smith Jones"),
        ("Nguyễn Thị Hồng", "Nguyen Thi Hong"),
        ("Ёлкина Мария", "ЕЛКИНА МАРИЯ"),
        ("Ανδρέας Παπαδόπουλος", "ΑΝΔΡΕΑΣ ΠΑΠΑΔΟΠΟΥΛΟΣ"),
        ("مُحَمَّد علي", "محمد علـــي"),
        ("שָׁלוֹם כהן", "שלום כהן"),
        ("王 小明", "小明 王"),
        ("ﾀﾅｶ ﾊﾅｺ", "タナカ ハナコ"),
        ("Ｊｏｈｎ Ｄｏｅ", "John Doe"),
        ("김 민수", "\u1100\u1175\u11b7 민수"),
        ("नीला\u200d शर्मा", "नीला शर्मा"),
    ],
)
def test_one_name_in_two_ways_of_writing_is_one_key(one: str, other: str) -> None:
    assert name_key(one) == name_key(other) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("नीला शर्मा", "नील शर्मा"),  # another vowel is another name
        ("สมชาย ใจดี", "สมชาย ใจดู"),
        ("ハナコ", "バナコ"),
        ("Ann Smith", "Anna Smith"),
        ("王 小明", "王 小红"),
    ],
)
def test_two_names_are_two_keys(one: str, other: str) -> None:
    assert name_key(one) != name_key(other)


@given(names, names)
def test_any_text_can_be_a_name_and_is_one_key_however_it_is_written(given_name: str, family_name: str) -> None:
    name = f"{given_name} {family_name}"
    ways = {name_key(way(name)) for way in (str, str.upper, str.lower)} if name.isascii() else {name_key(name)}
    ways |= {name_key(f"{family_name} {given_name}")}
    ways |= {name_key(unicodedata.normalize(form, name)) for form in ("NFC", "NFD", "NFKC")}
    assert len(ways) == 1
    keys_of(a_person(given_name, family_name))


@given(names)
def test_a_key_is_its_own_key(name: str) -> None:
    key = name_key(name)
    assert key is None or name_key(key.value) == key


@pytest.mark.parametrize("name", ["", " ", "—", "???", "\u200d", "😀"])
def test_a_name_without_a_letter_is_found_by_nothing_and_cannot_be_sought(name: str) -> None:
    assert name_key(name) is None
    assert {key.kind for key in keys_of(a_person(name, name))} == set(KeyKind) - {NAME}
    with pytest.raises(InvalidInput) as refused:
        sought_name(name)
    assert (refused.value.reason, refused.value.field) == ("NAME_UNREADABLE", "name")
    assert not name.strip() or name not in refused.value.message


def test_an_email_address_is_one_key_in_capitals_too() -> None:
    assert contact_key(EMAIL) == contact_key(ContactPoint("email", "vexmoor@EXAMPLE.ORG"))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (a_person(), tuple(KeyKind)),
        (a_person(contact_points=()), (NAME, BIRTH_DATE)),
        (a_person(birth_date="", contact_points=()), (NAME,)),
        (a_person(birth_date="1990", contact_points=()), (NAME,)),
        (a_person("Corwin", "Ashgrove", birth_date="1951", contact_points=(PHONE,)), (KeyKind.PHONE,)),
        (a_person("Corwin", "Ashgrove", birth_date="", contact_points=(EMAIL,)), (KeyKind.EMAIL,)),
        (a_person(birth_date="1990-04-02", contact_points=()), None),
        (a_person(birth_date="1991", contact_points=()), None),
        (a_person("Corwin", "Ashgrove", contact_points=()), None),
    ],
)
def test_what_two_records_share_says_whether_a_human_should_look(
    other: Person, expected: tuple[KeyKind, ...] | None
) -> None:
    assert reasons(a_person(), other) == reasons(other, a_person()) == expected


def test_twins_with_one_telephone_are_told_apart_by_what_differs() -> None:
    twin = a_patient(2, a_person("Orla", contact_points=(PHONE,)))
    sister = a_patient(3, a_person("Orla", birth_date="1987-01-01", contact_points=(PHONE,)))
    assert found(a_patient(), sister, twin) == [
        Candidate(twin, (BIRTH_DATE, KeyKind.PHONE), birth_dates_differ=False),
        Candidate(sister, (KeyKind.PHONE,), birth_dates_differ=True),
    ]


def test_the_likeliest_come_first_and_no_more_than_a_human_looks_through() -> None:
    likely = a_patient(999)
    many = [a_patient(number, a_person("Orla", contact_points=(PHONE,))) for number in range(2, 200)]
    shown = found(a_patient(), *many, likely)
    assert shown[0].patient == likely
    assert len(shown) == MOST_CANDIDATES


def test_the_record_that_stays_is_completed_and_nothing_that_it_says_is_replaced() -> None:
    stays = a_patient(1, a_person(birth_date="", contact_points=(PHONE,)))
    goes = a_patient(
        2, a_person("Q.", contact_points=(ContactPoint("phone", "+13125550100"), EMAIL)), label=Label.PART2
    )
    kept, gone, merged = merge(stays, goes, both_admitted=False, at=NOON)
    assert kept.person == a_person(birth_date="1990-04-01", contact_points=(PHONE, EMAIL))
    assert (kept.label, kept.merged_into, gone.merged_into) == (Label.PART2, None, kept.id)
    assert (merged.merged, merged.into, merged.at) == (goes.id, stays.id, NOON)


@pytest.mark.parametrize(
    ("field", "values", "stays"),
    [
        ("gender", ("ADMINISTRATIVE_GENDER_UNSPECIFIED", "ADMINISTRATIVE_GENDER_FEMALE"), 1),
        ("gender", ("ADMINISTRATIVE_GENDER_UNKNOWN", "ADMINISTRATIVE_GENDER_FEMALE"), 1),
        ("gender", ("ADMINISTRATIVE_GENDER_UNKNOWN", "ADMINISTRATIVE_GENDER_UNSPECIFIED"), 0),
        ("gender", ("ADMINISTRATIVE_GENDER_OTHER", "ADMINISTRATIVE_GENDER_FEMALE"), 0),
        ("birth_date", ("1980", "1980-05-03"), 1),
        ("birth_date", ("1980-05-03", "1980"), 0),
        ("birth_date", ("1981", "1980-05-03"), 0),
    ],
)
def test_what_is_said_more_exactly_is_taken_over(field: str, values: tuple[str, str], stays: int) -> None:
    one, other = (a_patient(number, a_person(**{field: value})) for number, value in enumerate(values, start=1))
    kept, _, _ = merge(one, other, both_admitted=False, at=NOON)
    assert getattr(kept.person, field) == values[stays]


@given(st.lists(st.sampled_from(list(Label)), min_size=2, max_size=2))
def test_the_higher_label_stays(labels: list[Label]) -> None:
    kept, _, _ = merge(a_patient(1, label=labels[0]), a_patient(2, label=labels[1]), both_admitted=False, at=NOON)
    assert (kept.label is Label.PART2) is (Label.PART2 in labels)


def test_a_record_is_not_merged_with_itself() -> None:
    with pytest.raises(InvalidInput) as refused:
        merge(a_patient(), a_patient(), both_admitted=False, at=NOON)
    assert (refused.value.reason, refused.value.field) == ("SAME_PATIENT", "merged_patient_id")


@pytest.mark.parametrize("merged", [0, 1])
def test_a_record_that_is_part_of_another_is_merged_no_more(merged: int) -> None:
    records = [a_patient(1), a_patient(2)]
    records[merged] = replace(records[merged], merged_into=UUID(int=9))
    with pytest.raises(Conflict) as refused:
        merge(*records, both_admitted=False, at=NOON)
    assert refused.value.reason == "PATIENT_ALREADY_MERGED"


def test_of_two_who_are_both_in_the_programme_one_has_to_leave_it_first() -> None:
    with pytest.raises(Conflict) as refused:
        merge(a_patient(1), a_patient(2), both_admitted=True, at=NOON)
    assert refused.value.reason == "PATIENT_ADMITTED_TWICE"


A_FACT = {
    Fact.NAME: {"given_name": "Quill", "family_name": "Vexmore"},
    Fact.BIRTH_DATE: {"birth_date": "1991-04-01"},
    Fact.GENDER: {"gender": "ADMINISTRATIVE_GENDER_FEMALE"},
    Fact.CONTACT_POINTS: {"contact_points": (PHONE,)},
    Fact.LANGUAGE: {"language": "uk"},
}
"""Of each, what a person may be corrected to."""


def corrected(right: Person, *facts: Fact, read: Person | None = None) -> tuple[Patient, Updated | None]:
    return correct(a_patient(), right, facts, read=etag(read or a_person()), at=NOON)


@pytest.mark.parametrize("fact", Fact)
def test_what_is_named_is_corrected_and_nothing_else(fact: Fact) -> None:
    right = a_person(**{name: value for change in A_FACT.values() for name, value in change.items()})
    patient, updated = corrected(right, fact)
    assert patient == a_patient(person=a_person(**A_FACT[fact]))
    assert updated == Updated(patient.id, (fact,), NOON)


def test_all_of_a_person_can_be_corrected_at_once_and_what_was_right_is_not_announced() -> None:
    right = a_person("Quill", birth_date="1990-04")
    announced = Updated(UUID(int=1), (Fact.NAME, Fact.BIRTH_DATE), NOON)
    assert corrected(right, *Fact) == (a_patient(person=right), announced)
    assert corrected(a_person(), *Fact) == (a_patient(), None)


@pytest.mark.parametrize("fact", Fact)
def test_whoever_has_read_an_older_record_is_told_and_overwrites_nothing(fact: Fact) -> None:
    with pytest.raises(Conflict) as refused:
        corrected(a_person("Quill"), Fact.NAME, read=a_person(**A_FACT[fact]))
    assert refused.value.reason == "PERSON_CHANGED"


@pytest.mark.parametrize(
    ("right", "fact", "reason"),
    [
        (a_person(family_name=" \u200b"), Fact.NAME, "NAME_MISSING"),
        (a_person(birth_date="2026-11-26"), Fact.BIRTH_DATE, "BIRTH_DATE_IMPOSSIBLE"),
        (a_person(birth_date="1899"), Fact.BIRTH_DATE, "BIRTH_DATE_IMPOSSIBLE"),
        (a_person(birth_date="1991-02-29"), Fact.BIRTH_DATE, "BIRTH_DATE_IMPOSSIBLE"),
    ],
)
def test_nobody_is_corrected_to_what_nobody_can_be(right: Person, fact: Fact, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        corrected(right, fact)
    assert refused.value.reason == reason
    assert right.birth_date not in refused.value.message
    assert corrected(right, Fact.LANGUAGE) == (a_patient(), None)
