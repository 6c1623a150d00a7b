"""The tables of family, and what is read from and written to them inside an open transaction."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    RowMapping,
    Table,
    Uuid,
    and_,
    delete,
    exists,
    false,
    func,
    select,
    text,
    update,
)
from sqlalchemy import Text as TextType
from sqlalchemy.dialects.postgresql import JSONB, insert

from stepway_chassis import records
from stepway_chassis.call import Scope
from stepway_chassis.errors import NotFound
from stepway_chassis.ids import id_of
from stepway_chassis.pages import Page
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_family.domain import Expected, Group, Invitation, Origin, later

_metadata = MetaData()


def _origin() -> list[Column[object]]:
    return [
        Column("at", TIME),
        Column("correlation", TextType),
        Column("causation", TextType),
        Column("trace_context", JSONB),
    ]


consent_link = records.records(
    "consent_link",
    _metadata,
    Column("patient_id", Uuid),
    Column("family_member_id", Uuid),
    Column("granted", TIME),
    Column("revoked", TIME),
    Column("refused", TIME),
    *_origin(),
)
patient = records.records("patient", _metadata, *_origin())
family_group = records.records(
    "family_group",
    _metadata,
    Column("starts_at", TIME),
    Column("minutes", Integer),
    Column("seats", Integer),
    Column("seats_taken", Integer),
)
invitation = records.records(
    "invitation",
    _metadata,
    Column("family_member_id", Uuid),
    Column("patient_id", Uuid),
    Column("family_group_id", Uuid),
    Column("starts_at", TIME),
    Column("invited_at", TIME),
)
_TAKE_SEAT = text(
    "UPDATE family_group SET seats_taken = seats_taken + 1 WHERE site = :site AND seats_taken < seats AND id = ("
    " SELECT id FROM family_group WHERE site = :site AND starts_at > :now AND seats_taken < seats"
    " ORDER BY starts_at, id LIMIT 1 FOR UPDATE) RETURNING *"
)


async def keep_grant(tx: Tx, consent: UUID, patient_id: UUID, member: UUID, origin: Origin) -> None:
    """What a grant says of its consent; an end that was heard of before stays."""
    told = {"patient_id": patient_id, "family_member_id": member, "granted": origin.at, **asdict(origin)}
    await _keep(tx, consent_link, consent, told)


async def keep_end(tx: Tx, consent: UUID, patient_id: UUID, member: UUID, origin: Origin) -> None:
    """That a consent has ended, in whichever way, whether or not its grant was heard of."""
    told = {"patient_id": patient_id, "family_member_id": member, "revoked": origin.at}
    await _keep(tx, consent_link, consent, told)


async def keep_admission(tx: Tx, patient_id: UUID, origin: Origin) -> None:
    """The first admission of a patient, in whichever order several are heard of."""
    row = insert(patient).values(site=tx.site.name, id=patient_id, **asdict(origin))
    earlier = {column: row.excluded[column] for column in asdict(origin)}
    await tx.execute(
        row.on_conflict_do_update(
            index_elements=["site", "id"],
            set_=earlier,
            where=(row.excluded.at < patient.c.at),
        )
    )


async def move_patient(tx: Tx, gone: UUID, kept: UUID) -> None:
    """What links somebody's family to them, to whom they are by now; of two admissions the first."""
    for table in (consent_link, invitation):
        theirs = (table.c.site == tx.site.name, table.c.patient_id == gone)
        await tx.execute(update(table).where(*theirs).values(patient_id=kept))
    went = await tx.execute(delete(patient).where(records.one(tx, patient, gone)).returning(patient))
    if (row := went.mappings().first()) is not None:
        await keep_admission(tx, kept, records.read(Origin, row))


async def _keep(tx: Tx, table: Table, id: UUID, told: dict[str, object]) -> None:
    row = insert(table).values(site=tx.site.name, id=id, **told)
    await tx.execute(row.on_conflict_do_update(index_elements=["site", "id"], set_=told))


async def expected(tx: Tx, limit: int, *, after: UUID | None) -> list[Expected]:
    """Who waits for an invitation: granted, not revoked, not refused by intake, admitted, in no group to come.

    In the order of their consents, whose ids are made in the order of time; from the one after `after` on.
    """
    coming = exists().where(
        invitation.c.site == consent_link.c.site,
        invitation.c.family_member_id == consent_link.c.family_member_id,
        invitation.c.starts_at > tx.now,
    )
    statement = (
        select(consent_link, *(column.label(f"patient_{column.name}") for column in patient.c if column.name != "id"))
        .join(patient, and_(patient.c.site == consent_link.c.site, patient.c.id == consent_link.c.patient_id))
        .where(consent_link.c.site == tx.site.name, consent_link.c.granted.is_not(None))
        .where(consent_link.c.revoked.is_(None), consent_link.c.refused.is_(None), ~coming)
        .order_by(consent_link.c.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(consent_link.c.id > after)
    return [_expected(row) for row in (await tx.execute(statement)).mappings()]


def _expected(row: RowMapping) -> Expected:
    consent, admission = (
        Origin(*(row[f"{prefix}{name}"] for name in ("at", "correlation", "causation", "trace_context")))
        for prefix in ("", "patient_")
    )
    return Expected(row["id"], row["family_member_id"], row["patient_id"], later(consent, admission))


async def still_expected(tx: Tx, who: Expected) -> bool:
    """Whether nobody has invited them and no revocation was heard of meanwhile; nobody else may until the commit."""
    link = await records.lock(tx, consent_link, who.consent_id)
    assert link is not None
    await tx.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:site || '/' || :member, 0))"),
        {"site": tx.site.name, "member": str(who.family_member_id)},
    )
    coming = select(invitation.c.id).where(
        invitation.c.site == tx.site.name,
        invitation.c.family_member_id == who.family_member_id,
        invitation.c.starts_at > tx.now,
    )
    return link["revoked"] is None and (await tx.execute(coming)).first() is None


async def refuse(tx: Tx, consent: UUID) -> None:
    """Intake has said no: this consent covers no invitation, and is not asked about again."""
    this = records.one(tx, consent_link, consent)
    await tx.execute(update(consent_link).where(this).values(refused=tx.now))


async def group_with_room(tx: Tx) -> bool:
    room = select(family_group.c.id).where(
        family_group.c.site == tx.site.name,
        family_group.c.starts_at > tx.now,
        family_group.c.seats_taken < family_group.c.seats,
    )
    return (await tx.execute(room.limit(1))).first() is not None


async def next_start(tx: Tx) -> datetime | None:
    """When the next group begins that somebody is invited to: from then on they may be invited to another."""
    starts = select(func.min(family_group.c.starts_at)).where(
        family_group.c.site == tx.site.name, family_group.c.starts_at > tx.now, family_group.c.seats_taken > 0
    )
    found: datetime | None = (await tx.execute(starts)).scalar_one()
    return found


async def take_seat(tx: Tx) -> Group | None:
    """The next group that has room, with one more seat taken."""
    taken = (await tx.execute(_TAKE_SEAT, {"site": tx.site.name, "now": tx.now})).mappings().first()
    return None if taken is None else records.read(Group, taken)


async def add_group(tx: Tx, group: Group) -> None:
    await records.add(tx, family_group, group)


async def groups(tx: Tx, page: Page) -> Sequence[Group]:
    return [records.read(Group, row) for row in (await tx.execute(records.newest(tx, family_group, page))).mappings()]


async def add_invitation(tx: Tx, made: Invitation) -> None:
    await records.add(tx, invitation, made)


async def find_invitation(tx: Tx, id: UUID) -> Invitation:
    """Raises NotFound (INVITATION_NOT_FOUND), also for one outside the caller's reach."""
    row = await records.find(tx, invitation, id)
    if row is None or not tx.reaches(row["patient_id"], held_by=str(row["family_member_id"])):
        raise no_invitation()
    return records.read(Invitation, row)


def no_invitation() -> NotFound:
    return NotFound("INVITATION_NOT_FOUND", "There is no such invitation at this site.", field="invitation_id")


async def invitations(tx: Tx, page: Page) -> Sequence[Invitation]:
    """Newest first; a caller whose reach is LINKED sees their own."""
    statement = records.newest(tx, invitation, page)
    if tx.scope is not Scope.SITE:
        own = id_of(tx.caller.subject)
        statement = statement.where(false() if own is None else invitation.c.family_member_id == own)
    return [records.read(Invitation, row) for row in (await tx.execute(statement)).mappings()]
