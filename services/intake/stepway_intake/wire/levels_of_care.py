"""Decisions on a level of care in contracts."""

from collections.abc import Iterable
from uuid import UUID

from stepway.intake.v1 import events_pb2, level_of_care_pb2, level_of_care_service_pb2
from stepway_chassis.times import from_proto, to_proto
from stepway_intake.domain.levels_of_care import (
    Decision,
    LevelOfCare,
    Override,
    OverrideReason,
    ToolResult,
    ToolScore,
)

_LEVEL_OF = {level_of_care_pb2.LevelOfCare.Value(f"LEVEL_OF_CARE_{level.name}"): level for level in LevelOfCare}
_REASON_OF = {level_of_care_pb2.OverrideReason.Value(f"OVERRIDE_REASON_{each.name}"): each for each in OverrideReason}


def level(wanted: level_of_care_pb2.LevelOfCare) -> LevelOfCare:
    return _LEVEL_OF[wanted]


def level_name(found: LevelOfCare | None) -> str:
    """Unspecified where there is none."""
    return f"LEVEL_OF_CARE_{found.name if found else 'UNSPECIFIED'}"


def seen(request: level_of_care_service_pb2.DecideLevelOfCareRequest) -> UUID | None:
    return UUID(request.suggestion_id) if request.suggestion_id else None


def replaced(request: level_of_care_service_pb2.DecideLevelOfCareRequest) -> UUID | None:
    return UUID(request.replaces_decision_id) if request.replaces_decision_id else None


def new_override(request: level_of_care_service_pb2.DecideLevelOfCareRequest) -> Override | None:
    if not request.HasField("override"):
        return None
    return Override(_REASON_OF[request.override.reason], request.override.text)


def new_tool_results(told: Iterable[level_of_care_pb2.ToolResult]) -> tuple[ToolResult, ...]:
    """Raises InvalidInput (TIME_OUT_OF_RANGE)."""
    return tuple(
        ToolResult(
            tool=each.tool,
            edition=each.edition,
            scores=tuple(ToolScore(score.label, score.value) for score in each.scores),
            level=each.level,
            evaluator=each.evaluator,
            evaluated_at=from_proto(each.evaluated_at, field=f"tool_results[{number}].evaluated_at"),
        )
        for number, each in enumerate(told)
    )


def decision(made: Decision) -> level_of_care_pb2.LevelOfCareDecision:
    suggested = made.suggested
    return level_of_care_pb2.LevelOfCareDecision(
        id=str(made.id),
        referral_id=str(made.referral_id),
        patient_id=str(made.patient_id),
        level=level_name(made.level),
        rationale=made.rationale,
        decided_by=made.decided_by,
        decided_at=to_proto(made.decided_at),
        suggestion_id=str(suggested.id) if suggested else "",
        suggested_level=level_name(suggested.level if suggested else None),
        rule_set=suggested.rule_set if suggested else "",
        override=_override(made.override),
        tool_results=[_tool_result(each) for each in made.tool_results],
        replaces_decision_id=str(made.replaces or ""),
        replaced_by_decision_id=str(made.replaced_by or ""),
    )


def _override(given: Override | None) -> level_of_care_pb2.Override | None:
    if given is None:
        return None
    return level_of_care_pb2.Override(reason=f"OVERRIDE_REASON_{given.reason.name}", text=given.text)


def _tool_result(kept: ToolResult) -> level_of_care_pb2.ToolResult:
    return level_of_care_pb2.ToolResult(
        tool=kept.tool,
        edition=kept.edition,
        scores=[level_of_care_pb2.ToolScore(label=score.label, value=score.value) for score in kept.scores],
        level=kept.level,
        evaluator=kept.evaluator,
        evaluated_at=to_proto(kept.evaluated_at),
    )


def level_of_care_decided(made: Decision) -> events_pb2.LevelOfCareDecided:
    return events_pb2.LevelOfCareDecided(
        decision_id=str(made.id),
        referral_id=str(made.referral_id),
        patient_id=str(made.patient_id),
        decided_at=to_proto(made.decided_at),
        replaces_decision_id=str(made.replaces or ""),
    )
