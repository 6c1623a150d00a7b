"""The tables of consents, and of the family members whom they name."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from uuid import UUID

from sqlalchemy import ARRAY, Column, RowMapping, Text, Uuid, and_, or_, select
from sqlalchemy.dialects.postgresql import JSONB, insert

from stepway_chassis import records
from stepway_chassis.errors import NotFound
from stepway_chassis.pages import Page
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.consents import Consent, FamilyMember
from stepway_intake.store.people import related_person
from stepway_intake.store.tables import METADATA

family_member = records.records("family_member", METADATA, Column("patient_id", Uuid), Column("person", JSONB))
consent = records.records(
    "consent",
    METADATA,
    Column("patient_id", Uuid),
    Column("family_member_id", Uuid),
    Column("categories", ARRAY(Text)),
    Column("purpose", Text),
    Column("signed_at", TIME),
    Column("granted_at", TIME),
    Column("expires_at", TIME),
    Column("revoked_at", TIME),
)


async def add_family_member(tx: Tx, named: FamilyMember) -> None:
    values = {"id": named.id, "patient_id": named.patient_id, "person": asdict(named.person)}
    await tx.execute(insert(family_member).values(site=tx.site.name, **values))


async def find_family_member(tx: Tx, id: UUID) -> FamilyMember | None:
    row = await records.find(tx, family_member, id)
    return None if row is None else FamilyMember(row["id"], row["patient_id"], related_person(row["person"]))


async def family_member_of(tx: Tx, patient_id: UUID, id: UUID) -> FamilyMember:
    """Raises NotFound (FAMILY_MEMBER_NOT_FOUND), also for somebody whom another patient has named."""
    named = await find_family_member(tx, id)
    if named is None or named.patient_id != patient_id:
        message = "No consent of this patient names such a person; send family_member to name somebody new."
        raise NotFound("FAMILY_MEMBER_NOT_FOUND", message, field="family_member_id")
    return named


async def add_consent(tx: Tx, granted: Consent) -> None:
    await records.add(tx, consent, granted)


async def find_consent(tx: Tx, id: UUID) -> Consent:
    """Raises NotFound (CONSENT_NOT_FOUND), also for one outside the caller's reach."""
    return _consent(tx, await records.find(tx, consent, id))


async def lock_consent(tx: Tx, id: UUID) -> Consent:
    return _consent(tx, await records.lock(tx, consent, id))


def _consent(tx: Tx, row: RowMapping | None) -> Consent:
    if row is None or not tx.reaches(row["patient_id"]):
        raise NotFound("CONSENT_NOT_FOUND", "There is no such consent at this site.", field="consent_id")
    return records.read(Consent, row)


async def save_consent(tx: Tx, changed: Consent) -> None:
    await records.save(tx, consent, changed, "revoked_at")


async def consents_of(tx: Tx, patient_id: UUID, page: Page) -> Sequence[Consent]:
    statement = records.newest(tx, consent, page).where(consent.c.patient_id == patient_id)
    return [records.read(Consent, row) for row in (await tx.execute(statement)).mappings()]


async def consents_between(tx: Tx, pairs: Iterable[tuple[UUID, UUID]]) -> Sequence[Consent]:
    """Every consent of these (patient, family member) pairs, in one indexed read."""
    about = (and_(consent.c.patient_id == who, consent.c.family_member_id == to) for who, to in dict.fromkeys(pairs))
    statement = select(consent).where(consent.c.site == tx.site.name, or_(*about)).order_by(consent.c.id)
    return [records.read(Consent, row) for row in (await tx.execute(statement)).mappings()]
