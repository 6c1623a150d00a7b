"""The table of workups: what is saved of each so far."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, RowMapping, Text, Uuid, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert

from stepway_chassis import records
from stepway_chassis.errors import NotFound
from stepway_chassis.pages import Page
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.workups import Draft, Excuse, Reason, Workup, due_at
from stepway_intake.instruments.definition import Risk
from stepway_intake.store.tables import METADATA

workup = records.records(
    "workup",
    METADATA,
    Column("referral_id", Uuid),
    Column("patient_id", Uuid),
    Column("battery", Text),
    Column("started_at", TIME),
    Column("started_by", Text),
    Column("drafts", JSONB),
    Column("sections", JSONB),
    Column("excuses", JSONB),
    Column("completed_at", TIME),
    Column("completed_by", Text),
    Column("due_at", TIME),
)


async def has_open_workup(tx: Tx, referral_id: UUID) -> bool:
    statement = select(func.count()).select_from(workup).where(workup.c.site == tx.site.name)
    of_it = statement.where(workup.c.referral_id == referral_id, workup.c.completed_at.is_(None))
    return bool((await tx.execute(of_it)).scalar_one())


async def add_workup(tx: Tx, started: Workup) -> None:
    began = ("id", "referral_id", "patient_id", "battery", "started_at", "started_by")
    values = {name: getattr(started, name) for name in began}
    await tx.execute(insert(workup), {"site": tx.site.name, **values, **_saved(started)})


async def save_workup(tx: Tx, changed: Workup) -> None:
    await tx.execute(workup.update().where(records.one(tx, workup, changed.id)).values(**_saved(changed)))


async def find_workup(tx: Tx, id: UUID) -> Workup:
    """Raises NotFound (WORKUP_NOT_FOUND)."""
    return _found(tx, await records.find(tx, workup, id))


async def lock_workup(tx: Tx, id: UUID) -> Workup:
    """Raises NotFound (WORKUP_NOT_FOUND)."""
    return _found(tx, await records.lock(tx, workup, id))


async def workups(tx: Tx, page: Page, *, open_only: bool) -> Sequence[Workup]:
    statement = records.newest(tx, workup, page)
    if open_only:
        statement = statement.where(workup.c.completed_at.is_(None))
    return [_workup(row) for row in (await tx.execute(statement)).mappings()]


async def due_workups(tx: Tx, limit: int) -> list[UUID]:
    """Those that leave something about danger open for too long, the longest due first."""
    due = (workup.c.site == tx.site.name, workup.c.due_at <= tx.now)
    statement = select(workup.c.id).where(*due).order_by(workup.c.due_at).limit(limit)
    return list((await tx.execute(statement)).scalars())


async def next_due(tx: Tx) -> datetime | None:
    statement = select(func.min(workup.c.due_at)).where(workup.c.site == tx.site.name)
    due: datetime | None = (await tx.execute(statement)).scalar_one()
    return due


def _found(tx: Tx, row: RowMapping | None) -> Workup:
    if row is None or not tx.reaches(row["patient_id"]):
        raise NotFound("WORKUP_NOT_FOUND", "There is no such workup at this site.", field="workup_id")
    return _workup(row)


def _saved(changed: Workup) -> Mapping[str, Any]:
    return {
        "drafts": {name: _stored_draft(draft) for name, draft in changed.drafts.items()},
        "sections": dict(changed.sections),
        "excuses": {name: _stored_excuse(excuse) for name, excuse in changed.excuses.items()},
        "completed_at": changed.completed_at,
        "completed_by": changed.completed_by,
        "due_at": due_at(changed),
    }


def _stored_draft(draft: Draft) -> Mapping[str, Any]:
    return {
        "assessment_id": str(draft.assessment_id),
        "version": draft.version,
        "answers": {str(item): value for item, value in draft.answers.items()},
        "answered_at": draft.answered_at.isoformat(),
        "saved_at": draft.saved_at.isoformat(),
        "flagged": draft.flagged,
        "flagged_at": draft.flagged_at and draft.flagged_at.isoformat(),
        "left_open_at": draft.left_open_at and draft.left_open_at.isoformat(),
    }


def _stored_excuse(excuse: Excuse) -> Mapping[str, Any]:
    return {"reason": excuse.reason, "note": excuse.note, "by": excuse.by, "at": excuse.at.isoformat()}


def _workup(row: RowMapping) -> Workup:
    return Workup(
        id=row["id"],
        referral_id=row["referral_id"],
        patient_id=row["patient_id"],
        battery=row["battery"],
        started_at=row["started_at"],
        started_by=row["started_by"],
        drafts={name: _draft(stored) for name, stored in row["drafts"].items()},
        sections=row["sections"],
        excuses={name: _excuse(stored) for name, stored in row["excuses"].items()},
        completed_at=row["completed_at"],
        completed_by=row["completed_by"],
    )


def _draft(stored: Mapping[str, Any]) -> Draft:
    return Draft(
        assessment_id=UUID(stored["assessment_id"]),
        version=stored["version"],
        answers={int(item): value for item, value in stored["answers"].items()},
        answered_at=datetime.fromisoformat(stored["answered_at"]),
        saved_at=datetime.fromisoformat(stored["saved_at"]),
        flagged=Risk(stored["flagged"]),
        flagged_at=_time(stored["flagged_at"]),
        left_open_at=_time(stored["left_open_at"]),
    )


def _time(stored: str | None) -> datetime | None:
    return datetime.fromisoformat(stored) if stored else None


def _excuse(stored: Mapping[str, Any]) -> Excuse:
    return Excuse(Reason(stored["reason"]), stored["note"], stored["by"], datetime.fromisoformat(stored["at"]))
