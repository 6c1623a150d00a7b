"""The tables of intake, and what is read from and written to them inside an open transaction."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Column, Integer, MetaData, RowMapping, Select, Text, Uuid, and_, func, or_, select
from sqlalchemy.dialects.postgresql import JSONB, insert

from stepway_chassis import records
from stepway_chassis.errors import NotFound
from stepway_chassis.pages import Page
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.assessments import Assessment, RiskFlag, Urgency
from stepway_intake.domain.consents import Consent, FamilyMember
from stepway_intake.domain.people import ContactPoint, Label, Patient, Person, RelatedPerson
from stepway_intake.domain.referrals import Admission, Decision, LevelOfCare, Referral, Status
from stepway_intake.instruments.scoring import Score

_metadata = MetaData()

patient = records.records(
    "patient", _metadata, Column("person", JSONB), Column("label", Text), Column("created_at", TIME)
)
referral = records.records(
    "referral",
    _metadata,
    Column("patient_id", Uuid),
    Column("status", Text),
    Column("related_people", JSONB),
    Column("reason", Text),
    Column("received_at", TIME),
)
assessment = records.records(
    "assessment",
    _metadata,
    Column("referral_id", Uuid),
    Column("patient_id", Uuid),
    Column("instrument", Text),
    Column("answers", JSONB),
    Column("total", Integer),
    Column("band", Text),
    Column("missing", Integer),
    Column("rule", Text),
    Column("answered_at", TIME),
)
risk_flag = records.records(
    "risk_flag",
    _metadata,
    Column("patient_id", Uuid),
    Column("referral_id", Uuid),
    Column("urgency", Text),
    Column("raised_at", TIME),
    Column("acknowledged_at", TIME),
    Column("acknowledged_by", Text),
    Column("paged_at", TIME),
    Column("trace_context", JSONB),
)
level_of_care_decision = records.records(
    "level_of_care_decision",
    _metadata,
    Column("referral_id", Uuid),
    Column("patient_id", Uuid),
    Column("level", Text),
    Column("rationale", Text),
    Column("decided_by", Text),
    Column("decided_at", TIME),
)
admission = records.records(
    "admission",
    _metadata,
    Column("referral_id", Uuid),
    Column("patient_id", Uuid),
    Column("availability", ARRAY(Text)),
    Column("admitted_at", TIME),
)
family_member = records.records("family_member", _metadata, Column("patient_id", Uuid), Column("person", JSONB))
consent = records.records(
    "consent",
    _metadata,
    Column("patient_id", Uuid),
    Column("family_member_id", Uuid),
    Column("categories", ARRAY(Text)),
    Column("purpose", Text),
    Column("signed_at", TIME),
    Column("granted_at", TIME),
    Column("expires_at", TIME),
    Column("revoked_at", TIME),
)

_with_patient = (
    select(referral, patient.c.person, patient.c.label)
    .select_from(referral)
    .join(patient, (patient.c.site == referral.c.site) & (patient.c.id == referral.c.patient_id))
)


async def add_referral(tx: Tx, received: Referral) -> None:
    site = tx.site.name
    who = received.patient
    known = {"id": who.id, "person": asdict(who.person), "label": who.label, "created_at": tx.now}
    sent = {
        "id": received.id,
        "patient_id": who.id,
        "status": received.status,
        "related_people": [asdict(related) for related in received.related_people],
        "reason": received.reason,
        "received_at": received.received_at,
    }
    await tx.execute(insert(patient), {"site": site, **known})
    await tx.execute(insert(referral), {"site": site, **sent})


async def find_referral(tx: Tx, id: UUID) -> Referral:
    """Raises NotFound (REFERRAL_NOT_FOUND), also for one outside the caller's reach."""
    return await _one_referral(tx, _with_patient.where(referral.c.site == tx.site.name, referral.c.id == id))


async def lock_referral(tx: Tx, id: UUID) -> Referral:
    statement = _with_patient.where(referral.c.site == tx.site.name, referral.c.id == id)
    return await _one_referral(tx, statement.with_for_update(of=referral))


async def _one_referral(tx: Tx, statement: Select[Any]) -> Referral:
    row = (await tx.execute(statement)).mappings().first()
    if row is None or not tx.reaches(row["patient_id"]):
        raise NotFound("REFERRAL_NOT_FOUND", "There is no such referral at this site.", field="referral_id")
    return _referral(row)


async def referrals(tx: Tx, page: Page) -> Sequence[Referral]:
    """Newest first; ids are made in the order of time."""
    statement = _with_patient.where(referral.c.site == tx.site.name).order_by(referral.c.id.desc()).limit(page.limit)
    if page.before is not None:
        statement = statement.where(referral.c.id < page.before)
    return [_referral(row) for row in (await tx.execute(statement)).mappings()]


async def save_referral(tx: Tx, changed: Referral) -> None:
    await records.save(tx, referral, changed, "status")


async def first_referral(tx: Tx, patient_id: UUID) -> str:
    """The journey that a patient is on."""
    ids = select(func.min(referral.c.id.cast(Text))).where(
        referral.c.site == tx.site.name, referral.c.patient_id == patient_id
    )
    return str((await tx.execute(ids)).scalar_one())


async def add_decision(tx: Tx, made: Decision) -> None:
    await records.add(tx, level_of_care_decision, made)


async def find_decision(tx: Tx, id: UUID) -> Decision:
    """Raises NotFound (LEVEL_OF_CARE_DECISION_NOT_FOUND)."""
    row = await records.find(tx, level_of_care_decision, id)
    if row is None or not tx.reaches(row["patient_id"]):
        message = "There is no such decision at this site."
        raise NotFound("LEVEL_OF_CARE_DECISION_NOT_FOUND", message, field="decision_id")
    return records.read(Decision, row)


async def level_of(tx: Tx, decided: Referral) -> LevelOfCare | None:
    """What was decided for this referral, if anything was."""
    level = select(level_of_care_decision.c.level).where(
        level_of_care_decision.c.site == tx.site.name, level_of_care_decision.c.referral_id == decided.id
    )
    found = (await tx.execute(level)).scalar_one_or_none()
    return None if found is None else LevelOfCare(found)


async def add_admission(tx: Tx, made: Admission) -> None:
    await records.add(tx, admission, made)


async def find_admission(tx: Tx, id: UUID) -> Admission:
    """Raises NotFound (ADMISSION_NOT_FOUND)."""
    row = await records.find(tx, admission, id)
    if row is None or not tx.reaches(row["patient_id"]):
        raise NotFound("ADMISSION_NOT_FOUND", "There is no such admission at this site.", field="admission_id")
    return records.read(Admission, row)


async def find_patient(tx: Tx, id: UUID) -> Patient:
    """Raises NotFound (PATIENT_NOT_FOUND)."""
    row = await records.find(tx, patient, id)
    if row is None or not tx.reaches(id):
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
    row = await records.find(tx, assessment, id)
    if row is None or not tx.reaches(row["patient_id"]):
        raise NotFound("ASSESSMENT_NOT_FOUND", "There is no such assessment at this site.", field="assessment_id")
    return _assessment(row)


async def add_risk_flag(tx: Tx, flag: RiskFlag, trace_context: Mapping[str, str]) -> None:
    await records.add(tx, risk_flag, flag, trace_context=dict(trace_context))


async def lock_risk_flag(tx: Tx, id: UUID) -> RiskFlag | None:
    row = await records.lock(tx, risk_flag, id)
    return None if row is None else records.read(RiskFlag, row)


async def save_risk_flag(tx: Tx, flag: RiskFlag) -> None:
    await records.save(tx, risk_flag, flag, "acknowledged_at", "acknowledged_by", "paged_at")


async def risk_flags(tx: Tx, page: Page, *, open_only: bool) -> Sequence[RiskFlag]:
    statement = records.newest(tx, risk_flag, page)
    if open_only:
        statement = statement.where(risk_flag.c.acknowledged_at.is_(None))
    return [records.read(RiskFlag, row) for row in (await tx.execute(statement)).mappings()]


async def unpaged_flags(tx: Tx, limit: int, *, after: UUID | None) -> list[tuple[RiskFlag, Label, Mapping[str, str]]]:
    """Flags, oldest first, that ask for a page which no channel has taken and nobody has answered; label and trace."""
    statement = (
        select(risk_flag, patient.c.label)
        .join(patient, and_(patient.c.site == risk_flag.c.site, patient.c.id == risk_flag.c.patient_id))
        .where(risk_flag.c.site == tx.site.name, risk_flag.c.urgency == Urgency.PAGE)
        .where(risk_flag.c.paged_at.is_(None), risk_flag.c.acknowledged_at.is_(None))
        .order_by(risk_flag.c.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(risk_flag.c.id > after)
    rows = (await tx.execute(statement)).mappings()
    return [(records.read(RiskFlag, row), Label(row["label"]), row["trace_context"] or {}) for row in rows]


async def add_family_member(tx: Tx, named: FamilyMember) -> None:
    values = {"id": named.id, "patient_id": named.patient_id, "person": asdict(named.person)}
    await tx.execute(insert(family_member).values(site=tx.site.name, **values))


async def find_family_member(tx: Tx, id: UUID) -> FamilyMember | None:
    row = await records.find(tx, family_member, id)
    return None if row is None else FamilyMember(row["id"], row["patient_id"], _related(row["person"]))


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
