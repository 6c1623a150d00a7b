"""The table of assessments: answers, and the score that was made of them."""

from uuid import UUID

from sqlalchemy import Column, Integer, RowMapping, Text, Uuid, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB, insert

from stepway_chassis import records
from stepway_chassis.errors import NotFound
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.assessments import Assessment
from stepway_intake.instruments.definition import Band
from stepway_intake.instruments.scoring import Score
from stepway_intake.store.tables import METADATA

assessment = records.records(
    "assessment",
    METADATA,
    Column("referral_id", Uuid),
    Column("patient_id", Uuid),
    Column("instrument", Text),
    Column("answers", JSONB),
    Column("total", Integer),
    Column("band", Text),
    Column("missing", Integer),
    Column("rule", Text),
    Column("answered_at", TIME),
    Column("version", Text),
    Column("treat_as", Text),
    Column("permille", Integer),
    Column("scales", JSONB),
    Column("findings", JSONB),
    Column("workup_id", Uuid),
)


async def add_assessment(tx: Tx, made: Assessment) -> None:
    values = {
        "site": tx.site.name,
        "id": made.id,
        "referral_id": made.referral_id,
        "patient_id": made.patient_id,
        "instrument": made.instrument,
        "answers": {str(item): value for item, value in made.answers.items()},
        "total": made.score.total,
        "band": made.score.band,
        "missing": made.score.missing,
        "rule": made.score.rule,
        "answered_at": made.answered_at,
        "version": made.score.version,
        "treat_as": made.score.treat_as,
        "permille": made.score.permille,
        "scales": dict(made.score.scales),
        "findings": dict(made.score.findings),
        "workup_id": made.workup_id,
    }
    await tx.execute(insert(assessment), values)


async def find_assessment(tx: Tx, id: UUID) -> Assessment:
    """Raises NotFound (ASSESSMENT_NOT_FOUND)."""
    row = await records.find(tx, assessment, id)
    if row is None or not tx.reaches(row["patient_id"]):
        raise NotFound("ASSESSMENT_NOT_FOUND", "There is no such assessment at this site.", field="assessment_id")
    return _assessment(row)


async def assessment_before(tx: Tx, later: Assessment) -> Assessment | None:
    """The last of the same instrument that this person answered before."""
    statement = (
        select(assessment)
        .where(assessment.c.site == tx.site.name, assessment.c.patient_id == later.patient_id)
        .where(assessment.c.instrument == later.instrument)
        .where(tuple_(assessment.c.answered_at, assessment.c.id) < tuple_(later.answered_at, later.id))
        .order_by(assessment.c.answered_at.desc(), assessment.c.id.desc())
        .limit(1)
    )
    row = (await tx.execute(statement)).mappings().first()
    return None if row is None else _assessment(row)


def _assessment(row: RowMapping) -> Assessment:
    return Assessment(
        id=row["id"],
        referral_id=row["referral_id"],
        patient_id=row["patient_id"],
        instrument=row["instrument"],
        answers={int(item): value for item, value in row["answers"].items()},
        score=_score(row),
        answered_at=row["answered_at"],
        workup_id=row["workup_id"],
    )


def _score(row: RowMapping) -> Score:
    return Score(
        total=row["total"],
        band=_band(row["band"]),
        missing=row["missing"],
        rule=row["rule"],
        version=row["version"],
        treat_as=_band(row["treat_as"]),
        permille=row["permille"],
        scales=row["scales"],
        findings=row["findings"],
    )


def _band(stored: str | None) -> Band | None:
    return None if stored is None else Band(stored)
