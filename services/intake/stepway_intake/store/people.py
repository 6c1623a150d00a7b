"""The tables of patients and what they are found by: who they are, and how somebody is stored wherever one is."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import Column, RowMapping, Table, Text, Uuid, and_, bindparam, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB

from stepway_chassis import merges, records
from stepway_chassis.errors import NotFound
from stepway_chassis.pages import Page
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.people import ContactPoint, Key, KeyKind, Label, Patient, Person, RelatedPerson, keys_of
from stepway_intake.store.tables import METADATA

FOUND_BY = 500  # people who share a key with somebody: more than anybody looks through

patient = records.records(
    "patient",
    METADATA,
    Column("person", JSONB),
    Column("label", Text),
    Column("created_at", TIME),
    Column("merged_into", Uuid),
)
person_key = Table(
    "person_key",
    METADATA,
    Column("site", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("patient_id", Uuid, primary_key=True),
)

_ADD = text("""
    INSERT INTO patient (site, id, person, label, created_at)
    VALUES (:site, :patient_id, :person, :label, :created_at)""").bindparams(bindparam("person", type_=JSONB))
# One text for however many keys, so that it is prepared once.
_FOUND_BY = """
    INSERT INTO person_key (site, patient_id, kind, value)
    SELECT CAST(:site AS text), CAST(:patient_id AS uuid), kind, value
      FROM unnest(CAST(:kinds AS text[]), CAST(:values AS text[])) AS key (kind, value)"""
_KEEP_KEYS = text(f"{_FOUND_BY} ON CONFLICT DO NOTHING")
_DROP_KEYS = text("""
    DELETE FROM person_key AS known
     USING unnest(CAST(:kinds AS text[]), CAST(:values AS text[])) AS key (kind, value)
     WHERE site = :site AND patient_id = :patient_id AND known.kind = key.kind AND known.value = key.value""")
PATIENT = (_ADD.columns().cte("known"), text(_FOUND_BY).columns().cte("found_by"))
"""Adds somebody, and what they are found by, beside a statement that adds what is known of them."""


def patient_values(tx: Tx, new: Patient) -> dict[str, Any]:
    """What PATIENT adds."""
    values = {"person": asdict(new.person), "label": new.label, "created_at": tx.now}
    return {**_found_by(tx, keys_of(new.person), new.id), **values}


def _found_by(tx: Tx, keys: Collection[Key], patient_id: UUID) -> dict[str, Any]:
    kinds, values = [key.kind for key in keys], [key.value for key in keys]
    return {"site": tx.site.name, "patient_id": patient_id, "kinds": kinds, "values": values}


async def find_patient(tx: Tx, id: UUID) -> Patient:
    """Whoever is known by this id by now. Raises NotFound (PATIENT_NOT_FOUND)."""
    row = await records.find(tx, patient, id)
    while row is not None and row["merged_into"] is not None:
        row = await records.find(tx, patient, row["merged_into"])
    if row is None or not tx.reaches(row["id"]):
        raise _nobody()
    return _patient(row)


async def hold_patient(tx: Tx, id: UUID) -> Patient:
    """The same, for whoever writes something of theirs: they become nobody else before the commit."""
    return await find_patient(tx, await merges.current(tx, id))


async def lock_patient(tx: Tx, id: UUID) -> Patient:
    """The same, and nobody else changes them before the commit. Whoever wants something of theirs too takes it later.

    A merge locks the records first, then moves what is kept under them.
    """
    (locked,) = await lock_patients(tx, id)
    return await lock_patient(tx, locked.merged_into) if locked.merged_into else locked


async def kept_under(tx: Tx, ids: Iterable[UUID]) -> dict[UUID, UUID]:
    """Of these, who is known by another id by now, and by which."""
    known_as, left = dict[UUID, UUID](), set(ids)
    while left:
        went = patient.c.id.in_(left) & patient.c.merged_into.is_not(None)
        statement = select(patient.c.id, patient.c.merged_into).where(patient.c.site == tx.site.name, went)
        found = {row.id: row.merged_into for row in await tx.execute(statement)}
        known_as = {id: found.get(now, now) for id, now in known_as.items()} | found
        left = set(found.values())
    return known_as


async def lock_patients(tx: Tx, *ids: UUID) -> list[Patient]:
    """As they are stored, in the order of `ids`; locked in one order by everybody. Raises NotFound."""
    statement = (
        select(patient)
        .where(patient.c.site == tx.site.name, patient.c.id.in_(ids))
        .order_by(patient.c.id)
        .with_for_update(key_share=True)
    )
    found = {row["id"]: _patient(row) for row in (await tx.execute(statement)).mappings()}
    if not all(id in found and tx.reaches(id) for id in ids):
        raise _nobody()
    return [found[id] for id in ids]


def _nobody() -> NotFound:
    return NotFound("PATIENT_NOT_FOUND", "There is no such patient at this site.", field="patient_id")


def _patient(row: RowMapping) -> Patient:
    return Patient(row["id"], person(row["person"]), Label(row["label"]), row["merged_into"])


async def save_person(tx: Tx, before: Patient, after: Patient) -> None:
    """What was wrong is found no more; what somebody is found by since a merge stays."""
    await tx.execute(update(patient).where(records.one(tx, patient, after.id)).values(person=asdict(after.person)))
    was, now = keys_of(before.person), keys_of(after.person)
    await tx.execute(_DROP_KEYS, _found_by(tx, was - now, after.id))
    await tx.execute(_KEEP_KEYS, _found_by(tx, now - was, after.id))


async def save_merge(tx: Tx, kept: Patient, gone: Patient) -> None:
    """One record of two: all that was kept under the id that goes is moved.

    Referrals come first: who writes something beside a referral holds it, so that what they wrote is moved after it.
    """
    await merges.merge(tx, gone.id, kept.id, at=tx.now)
    await records.save(tx, patient, gone, "merged_into")
    stays = update(patient).where(records.one(tx, patient, kept.id))
    await tx.execute(stays.values(person=asdict(kept.person), label=kept.label))
    await _move_keys(tx, gone.id, kept)
    for table in followers():
        theirs = (table.c.site == tx.site.name, table.c.patient_id == gone.id)
        await tx.execute(update(table).where(*theirs).values(patient_id=kept.id))


def followers() -> list[Table]:
    """Every table that has something of a patient's in it, referrals first."""
    tables = [each for each in METADATA.tables.values() if "patient_id" in each.c and each is not person_key]
    return sorted(tables, key=lambda table: (table.name != "referral", table.name))


async def _move_keys(tx: Tx, gone: UUID, kept: Patient) -> None:
    """Whoever was found by a name or a number goes on being found by it."""
    theirs = delete(person_key).where(person_key.c.site == tx.site.name, person_key.c.patient_id == gone)
    went = await tx.execute(theirs.returning(person_key.c.kind, person_key.c.value))
    keys = {Key(KeyKind(row.kind), row.value) for row in went} | keys_of(kept.person)
    await tx.execute(_KEEP_KEYS, _found_by(tx, keys, kept.id))


async def people_by(tx: Tx, key: Key, page: Page) -> Sequence[Patient]:
    """Whoever is found by this, newest first; ids are made in the order of time."""
    this = (person_key.c.site == tx.site.name, person_key.c.kind == key.kind, person_key.c.value == key.value)
    joined = and_(patient.c.site == person_key.c.site, patient.c.id == person_key.c.patient_id)
    statement = select(patient).join(person_key, joined).where(*this).order_by(person_key.c.patient_id.desc())
    if page.before is not None:
        statement = statement.where(person_key.c.patient_id < page.before)
    return [_patient(row) for row in (await tx.execute(statement.limit(page.limit))).mappings()]


async def sharing_keys(tx: Tx, id: UUID) -> list[tuple[Patient, frozenset[KeyKind]]]:
    """Others who are found by something that this one is found by, more than a birth date, and by what."""
    mine, theirs = person_key.alias("mine"), person_key.alias("theirs")
    same = and_(theirs.c.site == mine.c.site, theirs.c.kind == mine.c.kind, theirs.c.value == mine.c.value)
    shared = (mine.c.site == tx.site.name, mine.c.patient_id == id, theirs.c.patient_id != id)
    pairs = select(theirs.c.patient_id).select_from(mine.join(theirs, same)).where(*shared)
    telling = pairs.where(mine.c.kind != KeyKind.BIRTH_DATE).distinct().limit(FOUND_BY)
    kinds = pairs.add_columns(func.array_agg(theirs.c.kind.distinct()).label("kinds"))
    found = kinds.where(theirs.c.patient_id.in_(telling)).group_by(theirs.c.patient_id).subquery()
    joined = and_(patient.c.site == tx.site.name, patient.c.id == found.c.patient_id)
    rows = (await tx.execute(select(patient, found.c.kinds).join(found, joined))).mappings()
    return [(_patient(row), frozenset(KeyKind(kind) for kind in row["kinds"])) for row in rows]


async def raise_to_part2(tx: Tx, id: UUID) -> bool:
    """Whether the label was lower."""
    lower = update(patient).where(records.one(tx, patient, id), patient.c.label != Label.PART2)
    return (await tx.execute(lower.values(label=Label.PART2))).rowcount > 0


def person(stored: Mapping[str, Any]) -> Person:
    return Person(**{**stored, "contact_points": _contact_points(stored)})


def related_person(stored: Mapping[str, Any]) -> RelatedPerson:
    return RelatedPerson(**{**stored, "contact_points": _contact_points(stored)})


def _contact_points(stored: Mapping[str, Any]) -> tuple[ContactPoint, ...]:
    return tuple(ContactPoint(**point) for point in stored["contact_points"])
