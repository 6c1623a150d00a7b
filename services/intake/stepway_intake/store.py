"""The tables of intake, and what is read from and written to them inside an open transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import Column, DateTime, Integer, MetaData, RowMapping, Select, Table, Text, Uuid, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert

from stepway_chassis.errors import NotFound
from stepway_chassis.transaction import Tx
from stepway_intake.domain import (
    Assessment,
    ContactPoint,
    Label,
    Patient,
    Person,
    Referral,
    RelatedPerson,
    RiskFlag,
    Status,
    Urgency,
)
from stepway_intake.instruments.scoring import Score

_metadata = MetaData()
_TIME = DateTime(timezone=True)

patient = Table(
    "patient",
    _metadata,
    Column("site", Text, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("person", JSONB),
    Column("label", Text),
    Column("created_at", _TIME),
)
referral = Table(
    "referral",
    _metadata,
    Column("site", Text, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("patient_id", Uuid),
    Column("status", Text),
    Column("related_people", JSONB),
    Column("reason", Text),
    Column("received_at", _TIME),
)
assessment = Table(
    "assessment",
    _metadata,
    Column("site", Text, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("referral_id", Uuid),
    Column("patient_id", Uuid),
    Column("instrument", Text),
    Column("answers", JSONB),
    Column("total", Integer),
    Column("band", Text),
    Column("missing", Integer),
    Column("rule", Text),
    Column("answered_at", _TIME),
)
risk_flag = Table(
    "risk_flag",
    _metadata,
    Column("site", Text, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("patient_id", Uuid),
    Column("referral_id", Uuid),
    Column("urgency", Text),
    Column("raised_at", _TIME),
    Column("acknowledged_at", _TIME),
    Column("acknowledged_by", Text),
)

_with_patient = (
    select(referral, patient.c.person, patient.c.label)
    .select_from(referral)
    .join(patient, (patient.c.site == referral.c.site) & (patient.c.id == referral.c.patient_id))
)


async def add_referral(tx: Tx, received: Referral) -> None:
    site = tx.site.name
    who = received.patient
    await tx.execute(
        insert(patient).values(site=site, id=who.id, person=asdict(who.person), label=who.label, created_at=tx.now)
    )
    await tx.execute(
        insert(referral).values(
            site=site,
            id=received.id,
            patient_id=who.id,
            status=received.status,
            related_people=[asdict(related) for related in received.related_people],
            reason=received.reason,
            received_at=received.received_at,
        )
    )


async def find_referral(tx: Tx, id: UUID) -> Referral:
    """Raises NotFound (REFERRAL_NOT_FOUND), also for one outside the caller's reach."""
    return await _one_referral(tx, _with_patient.where(referral.c.site == tx.site.name, referral.c.id == id))


async def lock_referral(tx: Tx, id: UUID) -> Referral:
    statement = _with_patient.where(referral.c.site == tx.site.name, referral.c.id == id)
    return await _one_referral(tx, statement.with_for_update(of=referral))


async def _one_referral(tx: Tx, statement: Select[Any]) -> Referral:
    row = (await tx.execute(statement)).mappings().first()
    if row is None or not tx.within(str(row["patient_id"])):
        raise NotFound("REFERRAL_NOT_FOUND", "There is no such referral at this site.", field="referral_id")
    return _referral(row)


async def referrals_before(tx: Tx, before: UUID | None, limit: int) -> Sequence[Referral]:
    """Newest first; ids are made in the order of time."""
    statement = _with_patient.where(referral.c.site == tx.site.name).order_by(referral.c.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(referral.c.id < before)
    return [_referral(row) for row in (await tx.execute(statement)).mappings()]


async def save_referral(tx: Tx, changed: Referral) -> None:
    await tx.execute(
        update(referral)
        .where(referral.c.site == tx.site.name, referral.c.id == changed.id)
        .values(status=changed.status)
    )


async def find_patient(tx: Tx, id: UUID) -> Patient:
    """Raises NotFound (PATIENT_NOT_FOUND)."""
    statement = select(patient).where(patient.c.site == tx.site.name, patient.c.id == id)
    row = (await tx.execute(statement)).mappings().first()
    if row is None or not tx.within(str(id)):
        raise NotFound("PATIENT_NOT_FOUND", "There is no such patient at this site.", field="patient_id")
    return Patient(row["id"], _person(row["person"]), Label(row["label"]))


async def add_assessment(tx: Tx, made: Assessment) -> None:
    await tx.execute(
        insert(assessment).values(
            site=tx.site.name,
            id=made.id,
            referral_id=made.referral_id,
            patient_id=made.patient_id,
            instrument=made.instrument,
            answers={str(item): value for item, value in made.answers.items()},
            total=made.score.total,
            band=made.score.band,
            missing=made.score.missing,
            rule=made.score.rule,
            answered_at=made.answered_at,
        )
    )


async def find_assessment(tx: Tx, id: UUID) -> Assessment:
    """Raises NotFound (ASSESSMENT_NOT_FOUND)."""
    statement = select(assessment).where(assessment.c.site == tx.site.name, assessment.c.id == id)
    row = (await tx.execute(statement)).mappings().first()
    if row is None or not tx.within(str(row["patient_id"])):
        raise NotFound("ASSESSMENT_NOT_FOUND", "There is no such assessment at this site.", field="assessment_id")
    return _assessment(row)


async def add_risk_flag(tx: Tx, flag: RiskFlag) -> None:
    await tx.execute(insert(risk_flag).values(site=tx.site.name, **asdict(flag)))


async def lock_risk_flag(tx: Tx, id: UUID) -> RiskFlag | None:
    statement = select(risk_flag).where(risk_flag.c.site == tx.site.name, risk_flag.c.id == id).with_for_update()
    row = (await tx.execute(statement)).mappings().first()
    return None if row is None else _risk_flag(row)


async def save_risk_flag(tx: Tx, flag: RiskFlag) -> None:
    await tx.execute(
        update(risk_flag)
        .where(risk_flag.c.site == tx.site.name, risk_flag.c.id == flag.id)
        .values(acknowledged_at=flag.acknowledged_at, acknowledged_by=flag.acknowledged_by)
    )


async def risk_flags_before(tx: Tx, before: UUID | None, limit: int, *, open_only: bool) -> Sequence[RiskFlag]:
    statement = select(risk_flag).where(risk_flag.c.site == tx.site.name).order_by(risk_flag.c.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(risk_flag.c.id < before)
    if open_only:
        statement = statement.where(risk_flag.c.acknowledged_at.is_(None))
    return [_risk_flag(row) for row in (await tx.execute(statement)).mappings()]


def _referral(row: RowMapping) -> Referral:
    return Referral(
        id=row["id"],
        patient=Patient(row["patient_id"], _person(row["person"]), Label(row["label"])),
        status=Status(row["status"]),
        related_people=tuple(_related(related) for related in row["related_people"]),
        reason=row["reason"],
        received_at=row["received_at"],
    )


def _person(stored: Mapping[str, Any]) -> Person:
    return Person(**{**stored, "contact_points": _contact_points(stored)})


def _related(stored: Mapping[str, Any]) -> RelatedPerson:
    return RelatedPerson(**{**stored, "contact_points": _contact_points(stored)})


def _contact_points(stored: Mapping[str, Any]) -> tuple[ContactPoint, ...]:
    return tuple(ContactPoint(**point) for point in stored["contact_points"])


def _assessment(row: RowMapping) -> Assessment:
    return Assessment(
        id=row["id"],
        referral_id=row["referral_id"],
        patient_id=row["patient_id"],
        instrument=row["instrument"],
        answers={int(item): value for item, value in row["answers"].items()},
        score=Score(total=row["total"], band=row["band"], missing=row["missing"], rule=row["rule"]),
        answered_at=row["answered_at"],
    )


def _risk_flag(row: RowMapping) -> RiskFlag:
    return RiskFlag(
        id=row["id"],
        patient_id=row["patient_id"],
        referral_id=row["referral_id"],
        urgency=Urgency(row["urgency"]),
        raised_at=row["raised_at"],
        acknowledged_at=row["acknowledged_at"],
        acknowledged_by=row["acknowledged_by"],
    )
