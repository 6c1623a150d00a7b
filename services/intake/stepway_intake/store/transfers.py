"""The table of transfers: at each site those that it sends and those that it receives."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, Column, Integer, RowMapping, Text, Uuid, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, insert

from stepway_chassis import records
from stepway_chassis.errors import NotFound
from stepway_chassis.pages import Page
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.admissions import Daypart
from stepway_intake.domain.transfers import Side, Status, Transfer
from stepway_intake.store.admissions import course
from stepway_intake.store.tables import METADATA

transfer = records.records(
    "transfer",
    METADATA,
    Column("side", Text),
    Column("status", Text),
    Column("other_site", Text),
    Column("patient_id", Uuid),
    Column("admission_id", Uuid),
    Column("course", JSONB),
    Column("availability", ARRAY(Text)),
    Column("told", Boolean),
    Column("offered_at", TIME),
    Column("accepted_at", TIME),
    Column("imported_at", TIME),
    Column("ended_at", TIME),
    Column("consent_id", Uuid),
    Column("consent_version", Integer),
    Column("notice_version", Text),
    Column("trace_context", JSONB),
)
_SITE = text("SELECT 1 FROM site WHERE site = :wanted")


async def check_site(tx: Tx, wanted: str) -> None:
    """Raises NotFound (RECEIVING_SITE_NOT_FOUND)."""
    if (await tx.execute(_SITE, {"wanted": wanted})).first() is None:
        raise NotFound("RECEIVING_SITE_NOT_FOUND", "There is no such site.", field="receiving_site")


async def add_transfer(tx: Tx, new: Transfer, trace_context: Mapping[str, str]) -> bool:
    """Whether it was not there yet."""
    values = {each.name: getattr(new, each.name) for each in fields(new)}
    row = {"site": tx.site.name, **values, "course": asdict(new.course), "trace_context": dict(trace_context)}
    added = await tx.execute(insert(transfer).values(row).on_conflict_do_nothing().returning(transfer.c.id))
    return added.first() is not None


async def find_transfer(tx: Tx, id: UUID, *, other_site: str = "") -> Transfer:
    """Raises NotFound (TRANSFER_NOT_FOUND), also for one with another site than `other_site`, if one is given."""
    return _transfer(await records.find(tx, transfer, id), other_site)


async def lock_transfer(tx: Tx, id: UUID, *, other_site: str = "") -> Transfer:
    """The same, held until the commit."""
    return _transfer(await records.lock(tx, transfer, id), other_site)


def _transfer(row: RowMapping | None, other_site: str) -> Transfer:
    if row is None or (other_site and row["other_site"] != other_site):
        raise NotFound("TRANSFER_NOT_FOUND", "There is no such transfer at this site.", field="transfer_id")
    return _read(row)


def _read(row: RowMapping) -> Transfer:
    known: dict[str, Any] = {each.name: row[each.name] for each in fields(Transfer)}
    told = {
        "side": Side(row["side"]),
        "status": Status(row["status"]),
        "course": course(row["course"]),
        "availability": tuple(Daypart(each) for each in row["availability"]),
    }
    return Transfer(**{**known, **told})


async def transfers(tx: Tx, page: Page) -> Sequence[Transfer]:
    return [_read(row) for row in (await tx.execute(records.newest(tx, transfer, page))).mappings()]


async def under_way(tx: Tx, admission_id: UUID) -> bool:
    """Whether this admission is being handed over already."""
    statement = select(transfer.c.id).where(
        transfer.c.site == tx.site.name,
        transfer.c.admission_id == admission_id,
        transfer.c.side == Side.SENDING,
        transfer.c.status.in_((Status.OFFERED, Status.ACCEPTED)),
    )
    return (await tx.execute(statement)).first() is not None


async def untold(tx: Tx, limit: int, *, after: UUID | None) -> list[tuple[Transfer, Mapping[str, str]]]:
    """Those of which the other site has something to hear, oldest first, with their trace."""
    statement = (
        select(transfer).where(transfer.c.site == tx.site.name, ~transfer.c.told).order_by(transfer.c.id).limit(limit)
    )
    if after is not None:
        statement = statement.where(transfer.c.id > after)
    return [(_read(row), row["trace_context"]) for row in (await tx.execute(statement)).mappings()]


async def doubt_offers(tx: Tx, patient_id: UUID, other_site: str) -> bool:
    """Have this patient's standing offer to that site told again, if there is one: then it is asked whether it may."""
    told = (
        update(transfer)
        .where(transfer.c.site == tx.site.name, transfer.c.patient_id == patient_id)
        .where(transfer.c.side == Side.SENDING, transfer.c.status == Status.OFFERED, transfer.c.told)
        .where(transfer.c.other_site == other_site)
    )
    return bool((await tx.execute(told.values(told=False).returning(transfer.c.id))).all())


async def save_transfer(tx: Tx, changed: Transfer) -> None:
    await records.save(
        tx,
        transfer,
        changed,
        *("status", "patient_id", "admission_id", "told", "accepted_at", "imported_at", "ended_at"),
        *("consent_id", "consent_version", "notice_version"),
    )
