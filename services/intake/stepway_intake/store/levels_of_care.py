"""The table of decisions on a level of care, each beside what had been suggested."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, RowMapping, Text, Uuid, select
from sqlalchemy.dialects.postgresql import JSONB, insert

from stepway_chassis import records
from stepway_chassis.errors import NotFound
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.levels_of_care import (
    Decision,
    LevelOfCare,
    Override,
    OverrideReason,
    Suggested,
    ToolResult,
    ToolScore,
)
from stepway_intake.domain.referrals import Referral
from stepway_intake.store.tables import METADATA

level_of_care_decision = records.records(
    "level_of_care_decision",
    METADATA,
    Column("referral_id", Uuid),
    Column("patient_id", Uuid),
    Column("level", Text),
    Column("rationale", Text),
    Column("decided_by", Text),
    Column("decided_at", TIME),
    Column("suggestion_id", Uuid),
    Column("suggested_level", Text),
    Column("suggested_at_least", Text),
    Column("rule_set", Text),
    Column("override_reason", Text),
    Column("override_text", Text),
    Column("tool_results", JSONB),
    Column("replaces", Uuid),
)
_later = level_of_care_decision.alias("later")
_replaced_by = (
    select(_later.c.id)
    .where(_later.c.site == level_of_care_decision.c.site)
    .where(_later.c.referral_id == level_of_care_decision.c.referral_id)
    .where(_later.c.replaces == level_of_care_decision.c.id)
    .scalar_subquery()
)
_decisions = select(level_of_care_decision, _replaced_by.label("replaced_by"))


async def add_decision(tx: Tx, made: Decision) -> None:
    await tx.execute(
        insert(level_of_care_decision).values(
            site=tx.site.name,
            id=made.id,
            referral_id=made.referral_id,
            patient_id=made.patient_id,
            level=made.level,
            rationale=made.rationale,
            decided_by=made.decided_by,
            decided_at=made.decided_at,
            tool_results=[_stored(each) for each in made.tool_results],
            replaces=made.replaces,
            **_suggested_columns(made.suggested),
            **_override_columns(made.override),
        )
    )


async def find_decision(tx: Tx, id: UUID) -> Decision:
    """Raises NotFound (LEVEL_OF_CARE_DECISION_NOT_FOUND)."""
    row = (await tx.execute(_decisions.where(records.one(tx, level_of_care_decision, id)))).mappings().first()
    if row is None or not tx.reaches(row["patient_id"]):
        message = "There is no such decision at this site."
        raise NotFound("LEVEL_OF_CARE_DECISION_NOT_FOUND", message, field="decision_id")
    return _decision(row)


async def decision_of(tx: Tx, decided: Referral) -> Decision | None:
    """What was decided for this referral, if anything was, and stands: nothing was decided in its place."""
    theirs = _decisions.where(
        level_of_care_decision.c.site == tx.site.name, level_of_care_decision.c.referral_id == decided.id
    )
    row = (await tx.execute(theirs.where(_replaced_by.is_(None)))).mappings().one_or_none()
    return None if row is None else _decision(row)


async def level_of(tx: Tx, decided: Referral) -> LevelOfCare | None:
    """How much care the decision that stands is for."""
    decision = await decision_of(tx, decided)
    return None if decision is None else decision.level


def level_or_none(stored: str | None) -> LevelOfCare | None:
    return None if stored is None else LevelOfCare(stored)


def _decision(row: RowMapping) -> Decision:
    return Decision(
        id=row["id"],
        referral_id=row["referral_id"],
        patient_id=row["patient_id"],
        level=LevelOfCare(row["level"]),
        rationale=row["rationale"],
        decided_by=row["decided_by"],
        decided_at=row["decided_at"],
        suggested=_suggested(row),
        override=_override(row),
        tool_results=tuple(_tool_result(each) for each in row["tool_results"]),
        replaces=row["replaces"],
        replaced_by=row["replaced_by"],
    )


def _suggested_columns(suggested: Suggested | None) -> Mapping[str, Any]:
    if suggested is None:
        return {}
    return {
        "suggestion_id": suggested.id,
        "suggested_level": suggested.level,
        "suggested_at_least": suggested.at_least,
        "rule_set": suggested.rule_set,
    }


def _suggested(row: RowMapping) -> Suggested | None:
    if row["suggestion_id"] is None:
        return None
    levels = level_or_none(row["suggested_level"]), level_or_none(row["suggested_at_least"])
    return Suggested(row["suggestion_id"], *levels, row["rule_set"])


def _override_columns(override: Override | None) -> Mapping[str, Any]:
    return {} if override is None else {"override_reason": override.reason, "override_text": override.text}


def _override(row: RowMapping) -> Override | None:
    reason = row["override_reason"]
    return None if reason is None else Override(OverrideReason(reason), row["override_text"])


def _stored(result: ToolResult) -> Mapping[str, Any]:
    return {**asdict(result), "evaluated_at": result.evaluated_at.isoformat()}


def _tool_result(stored: Mapping[str, Any]) -> ToolResult:
    scores = tuple(ToolScore(**score) for score in stored["scores"])
    evaluated_at = datetime.fromisoformat(stored["evaluated_at"])
    return ToolResult(**{**stored, "scores": scores, "evaluated_at": evaluated_at})
