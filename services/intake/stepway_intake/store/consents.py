"""The tables of consents, and of the family members and parties whom they name."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Integer,
    RowMapping,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    column,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB, insert

from stepway_chassis import records
from stepway_chassis.errors import NotFound
from stepway_chassis.pages import Page
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.authority import ages_of
from stepway_intake.domain.consents import Consent, Expiry, FamilyMember, Party, Question, Subject
from stepway_intake.domain.people import Label
from stepway_intake.store.people import patient, related_person
from stepway_intake.store.tables import METADATA

family_member = records.records("family_member", METADATA, Column("patient_id", Uuid), Column("person", JSONB))
party = records.records("party", METADATA, Column("patient_id", Uuid), Column("name", Text), Column("kind", Text))
consent = records.records(
    "consent",
    METADATA,
    Column("patient_id", Uuid),
    Column("family_member_id", Uuid),
    Column("party_id", Uuid),
    Column("recipient_class", Text),
    Column("recipient_site", Text),
    Column("recipient", Text),  # made by the database from those four
    Column("categories", ARRAY(Text)),
    Column("purpose", Text),
    Column("legal_basis", Text),
    Column("signer", Text),
    Column("signer_name", Text),
    Column("signed_at", TIME),
    Column("granted_at", TIME),
    Column("expires_at", TIME),
    Column("expires_with", Text),
    Column("copy_given_at", TIME),
    Column("notice_version", Text),
    Column("version", Integer),
    Column("supersedes_id", Uuid),
    Column("revoked_at", TIME, key="ended_at"),  # an earlier version takes whatever has ended for revoked
    Column("ending", Text),
    Column("due_at", TIME),
)
_with_subject = select(
    *(column.label(column.key) for column in consent.c),
    patient.c.person["birth_date"].astext.label("birth_date"),
    patient.c.label.label("label"),
).join(patient, and_(patient.c.site == consent.c.site, patient.c.id == consent.c.patient_id))

_asked = (
    func.unnest(bindparam("who", type_=ARRAY(Uuid)), bindparam("to", type_=ARRAY(Text)))
    .table_valued(column("patient_id", Uuid), column("recipient", Text))
    .render_derived("asked")
)
_ABOUT = (
    _with_subject.join(
        _asked,
        and_(consent.c.patient_id == _asked.c.patient_id, consent.c.recipient == _asked.c.recipient),
    )
    .where(consent.c.site == bindparam("site"))
    .order_by(consent.c.id)
)


async def add_family_member(tx: Tx, named: FamilyMember) -> None:
    values = {"id": named.id, "patient_id": named.patient_id, "person": asdict(named.person)}
    await tx.execute(insert(family_member).values(site=tx.site.name, **values))


async def find_family_member(tx: Tx, id: UUID) -> FamilyMember | None:
    row = await records.find(tx, family_member, id)
    return None if row is None else _family_member(row)


def _family_member(row: RowMapping) -> FamilyMember:
    return FamilyMember(row["id"], row["patient_id"], related_person(row["person"]))


async def family_member_of(tx: Tx, patient_id: UUID, id: UUID) -> FamilyMember:
    """Raises NotFound (FAMILY_MEMBER_NOT_FOUND), also for somebody whom another patient has named."""
    named = await find_family_member(tx, id)
    if named is None or named.patient_id != patient_id:
        message = "No consent of this patient names such a person; send family_member to name somebody new."
        raise NotFound("FAMILY_MEMBER_NOT_FOUND", message, field="family_member_id")
    return named


async def add_party(tx: Tx, named: Party) -> None:
    await records.add(tx, party, named)


async def party_of(tx: Tx, patient_id: UUID, id: UUID) -> Party:
    """Raises NotFound (PARTY_NOT_FOUND), also for one whom another patient has named."""
    row = await records.find(tx, party, id)
    if row is None or row["patient_id"] != patient_id:
        message = "No consent of this patient names such a party; send party to name a new one."
        raise NotFound("PARTY_NOT_FOUND", message, field="party_id")
    return records.read(Party, row)


async def named_in(tx: Tx, consents: Iterable[Consent]) -> dict[UUID, FamilyMember | Party]:
    """Everybody whom these consents name, by id."""
    asked = {named for each in consents for named in (each.family_member_id, each.party_id) if named}
    if not asked:
        return {}
    members, parties = [
        (await tx.execute(select(table).where(table.c.site == tx.site.name, table.c.id.in_(asked)))).mappings()
        for table in (family_member, party)
    ]
    found: list[FamilyMember | Party] = [*map(_family_member, members), *(records.read(Party, row) for row in parties)]
    return {each.id: each for each in found}


def subject(tx: Tx, birth_date: str, label: Label) -> Subject:
    """What of a patient consents are judged by at this site."""
    return Subject(birth_date, ages_of(tx.site.settings), tx.site.zone, label)


async def add_consent(tx: Tx, granted: Consent) -> None:
    await records.add(tx, consent, granted)


async def find_consent(tx: Tx, id: UUID) -> tuple[Consent, Subject]:
    """Raises NotFound (CONSENT_NOT_FOUND), also for one outside the caller's reach."""
    return await _one(tx, _with_subject.where(records.one(tx, consent, id)))


async def lock_consent(tx: Tx, id: UUID) -> tuple[Consent, Subject]:
    """Looks once more when there is none: a merge may have given it to another patient while this waited for it."""
    statement = _with_subject.where(records.one(tx, consent, id)).with_for_update(of=consent)
    try:
        return await _one(tx, statement)
    except NotFound:
        return await _one(tx, statement)


async def _one(tx: Tx, statement: Select[Any]) -> tuple[Consent, Subject]:
    row = (await tx.execute(statement)).mappings().first()
    if row is None or not tx.reaches(row["patient_id"]):
        raise NotFound("CONSENT_NOT_FOUND", "There is no such consent at this site.", field="consent_id")
    return _read(tx, row)


def _read(tx: Tx, row: RowMapping) -> tuple[Consent, Subject]:
    return records.read(Consent, row), subject(tx, row["birth_date"], Label(row["label"]))


async def _all(tx: Tx, statement: Select[Any], parameters: Any = None) -> list[tuple[Consent, Subject]]:
    return [_read(tx, row) for row in (await tx.execute(statement, parameters)).mappings()]


async def save_consent(tx: Tx, changed: Consent) -> None:
    await records.save(tx, consent, changed, "ended_at", "ending", "due_at")


async def consents_of(tx: Tx, patient_id: UUID, page: Page) -> Sequence[Consent]:
    return await _newest(tx, page, consent.c.patient_id == patient_id)


async def consents_ending(tx: Tx, page: Page, *, before: datetime) -> Sequence[Consent]:
    """Standing ones that end by themselves before a time."""
    return await _newest(tx, page, consent.c.ended_at.is_(None), consent.c.due_at < before)


async def _newest(tx: Tx, page: Page, *which: ColumnElement[bool]) -> Sequence[Consent]:
    statement = _with_subject.where(consent.c.site == tx.site.name, *which).order_by(consent.c.id.desc())
    if page.before is not None:
        statement = statement.where(consent.c.id < page.before)
    return [found for found, _ in await _all(tx, statement.limit(page.limit))]


async def consents_about(tx: Tx, questions: Iterable[Question]) -> list[tuple[Consent, Subject]]:
    """Every consent for the patients and recipients that are asked about, in one indexed read.

    One statement, however many they are: it is built, compiled and planned but once.
    """
    pairs = [*dict.fromkeys((each.patient_id, each.recipient) for each in questions)]
    return await _all(
        tx, _ABOUT, {"site": tx.site.name, "who": [who for who, _ in pairs], "to": [to for _, to in pairs]}
    )


async def lock_consents_for(tx: Tx, patient_id: UUID, recipient: str) -> list[tuple[Consent, Subject]]:
    """Those for one recipient; until the commit none of them can be ended."""
    about = (consent.c.patient_id == patient_id, consent.c.recipient == recipient)
    statement = _with_subject.where(consent.c.site == tx.site.name, *about).order_by(consent.c.id)
    return await _all(tx, statement.with_for_update(of=consent, read=True))


async def due_consents(tx: Tx, limit: int) -> list[UUID]:
    """Standing ones that may have run out, the earliest first."""
    due = (consent.c.site == tx.site.name, consent.c.ended_at.is_(None), consent.c.due_at <= tx.now)
    statement = select(consent.c.id).where(*due).order_by(consent.c.due_at).limit(limit)
    return list((await tx.execute(statement)).scalars())


async def next_due(tx: Tx) -> datetime | None:
    statement = select(func.min(consent.c.due_at)).where(consent.c.site == tx.site.name, consent.c.ended_at.is_(None))
    due: datetime | None = (await tx.execute(statement)).scalar_one()
    return due


async def lock_standing(tx: Tx, patient_id: UUID) -> list[tuple[Consent, Subject]]:
    """Whatever a patient has consented to that has not ended."""
    theirs = (consent.c.site == tx.site.name, consent.c.patient_id == patient_id, consent.c.ended_at.is_(None))
    return await _all(tx, _with_subject.where(*theirs).order_by(consent.c.id).with_for_update(of=consent))


async def lock_ending_with(
    tx: Tx, patient_id: UUID, event: Expiry, *, recipient: str = ""
) -> list[tuple[Consent, Subject]]:
    """A patient's standing consents that are to end with this event: all, or those for one recipient."""
    ending = (consent.c.patient_id == patient_id, consent.c.ended_at.is_(None), consent.c.expires_with == event)
    statement = _with_subject.where(consent.c.site == tx.site.name, *ending).order_by(consent.c.id)
    if recipient:
        statement = statement.where(consent.c.recipient == recipient)
    return await _all(tx, statement.with_for_update(of=consent))
