"""Levels of care: how much of it a clinician decides that somebody gets."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from stepway_chassis.errors import Conflict, InvalidInput
from stepway_intake.domain import referrals
from stepway_intake.domain.referrals import Referral

CLOCK_SKEW = timedelta(minutes=5)


class LevelOfCare(StrEnum):
    """From the least care to the most."""

    OUTPATIENT = "outpatient"
    INTENSIVE_OUTPATIENT = "intensive_outpatient"
    PARTIAL_HOSPITALIZATION = "partial_hospitalization"
    RESIDENTIAL = "residential"
    INPATIENT = "inpatient"
    EMERGENCY = "emergency"


class OverrideReason(StrEnum):
    CLINICAL_JUDGEMENT = "clinical_judgement"
    PATIENT_CHOICE = "patient_choice"
    LEVEL_NOT_AVAILABLE = "level_not_available"
    PAYER_DECISION = "payer_decision"
    COURT_ORDER = "court_order"
    OTHER = "other"


@dataclass(frozen=True)
class Override:
    """Why a clinician decides against the suggestion."""

    reason: OverrideReason
    text: str


@dataclass(frozen=True)
class ToolScore:
    label: str
    value: str


@dataclass(frozen=True)
class ToolResult:
    """What a tool under licence said that somebody filled in elsewhere: a record, of which nothing is made."""

    tool: str
    edition: str
    scores: tuple[ToolScore, ...]
    level: str
    evaluator: str
    evaluated_at: datetime


@dataclass(frozen=True)
class Suggested:
    """What the rules had said last, as far as a decision is held against it.

    `overtaken` tells whether a sign of danger has come since, which they did not know of.
    """

    id: UUID
    level: LevelOfCare | None
    at_least: LevelOfCare | None
    rule_set: str
    overtaken: bool = False

    def allows(self, level: LevelOfCare) -> bool:
        """Whether a clinician may decide on it without a reason of their own."""
        if self.level is not None:
            return level is self.level
        levels = list(LevelOfCare)
        return self.at_least is None or levels.index(level) >= levels.index(self.at_least)


@dataclass(frozen=True)
class Decision:
    """A clinician's word on how much care somebody gets, beside what the rules had said.

    `replaces` is the decision in whose place it was made, `replaced_by` the one in its own place.
    """

    id: UUID
    referral_id: UUID
    patient_id: UUID
    level: LevelOfCare
    rationale: str
    decided_by: str
    decided_at: datetime
    suggested: Suggested | None = None
    override: Override | None = None
    tool_results: tuple[ToolResult, ...] = ()
    replaces: UUID | None = None
    replaced_by: UUID | None = None


def decide(
    referral: Referral,
    *,
    id: UUID,
    level: LevelOfCare,
    rationale: str,
    by: str,
    at: datetime,
    suggested: Suggested | None = None,
    seen: UUID | None = None,
    override: Override | None = None,
    tool_results: tuple[ToolResult, ...] = (),
    stands: UUID | None = None,
    replaces: UUID | None = None,
) -> tuple[Referral, Decision]:
    """Decide, beside what the rules have `suggested` last; `seen` is the suggestion that the clinician has looked at.

    `stands` is what was decided last for the referral, `replaces` what the clinician means to decide again.
    Raises Conflict (REFERRAL_NOT_SCREENED, LEVEL_OF_CARE_ALREADY_DECIDED, DECISION_OUTDATED, REFERRAL_CLOSED,
    SUGGESTION_OUTDATED, OVERRIDE_MISSING, NOTHING_TO_OVERRIDE) and InvalidInput (EVALUATED_IN_FUTURE).
    """
    decided = referrals.decide(referral, offered=level is LevelOfCare.INTENSIVE_OUTPATIENT)
    _must_replace_what_stands(stands, replaces)
    if seen is not None and (suggested is None or seen != suggested.id):
        raise Conflict("SUGGESTION_OUTDATED", "There is a newer suggestion, or none; read it, or leave this one out.")
    if suggested is not None and suggested.overtaken:
        raise Conflict("SUGGESTION_OUTDATED", "A risk flag was raised since it was made; ask for a new suggestion.")
    decision = Decision(
        *(id, referral.id, referral.patient.id, level, rationale, by, at, suggested, override, tool_results),
        replaces=replaces,
    )
    _hold_against_suggestion(decision)
    _must_have_been_evaluated(decision)
    return decided, decision


def _must_replace_what_stands(stands: UUID | None, replaces: UUID | None) -> None:
    """Of two who decide at once the later one hears what the other has decided, and may decide again knowing it."""
    if replaces == stands:
        return
    if stands is None:
        message = "No decision stands for this referral; leave replaces_decision_id out."
        raise Conflict("DECISION_OUTDATED", message)
    if replaces is None:
        message = f"Decision {stands} stands; read it, and name it in replaces_decision_id to decide again."
        raise Conflict("LEVEL_OF_CARE_ALREADY_DECIDED", message)
    message = f"Decision {stands} stands by now; read it, and name that one in replaces_decision_id to decide again."
    raise Conflict("DECISION_OUTDATED", message)


def _hold_against_suggestion(decision: Decision) -> None:
    allowed = decision.suggested is None or decision.suggested.allows(decision.level)
    if not allowed and decision.override is None:
        raise Conflict("OVERRIDE_MISSING", "The level is not the one suggested; say why, in override.")
    if allowed and decision.override is not None:
        raise Conflict("NOTHING_TO_OVERRIDE", "No suggestion says otherwise; write what there is to say in rationale.")


def _must_have_been_evaluated(decision: Decision) -> None:
    for number, result in enumerate(decision.tool_results):
        if result.evaluated_at > decision.decided_at + CLOCK_SKEW:
            message = "Give the time at which the tool was filled in."
            raise InvalidInput("EVALUATED_IN_FUTURE", message, field=f"tool_results[{number}].evaluated_at")
