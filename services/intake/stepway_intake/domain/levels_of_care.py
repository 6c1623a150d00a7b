"""Levels of care: how much of it a clinician decides that somebody gets."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from stepway_intake.domain import referrals
from stepway_intake.domain.referrals import Referral


class LevelOfCare(StrEnum):
    OUTPATIENT = "outpatient"
    INTENSIVE_OUTPATIENT = "intensive_outpatient"
    PARTIAL_HOSPITALIZATION = "partial_hospitalization"
    RESIDENTIAL = "residential"
    INPATIENT = "inpatient"
    EMERGENCY = "emergency"


@dataclass(frozen=True)
class Decision:
    """A clinician's word on how much care somebody gets."""

    id: UUID
    referral_id: UUID
    patient_id: UUID
    level: LevelOfCare
    rationale: str
    decided_by: str
    decided_at: datetime


def decide(
    referral: Referral, *, id: UUID, level: LevelOfCare, rationale: str, by: str, at: datetime
) -> tuple[Referral, Decision]:
    """Raises Conflict (REFERRAL_NOT_SCREENED, LEVEL_OF_CARE_ALREADY_DECIDED, REFERRAL_CLOSED)."""
    decided = referrals.decide(referral, offered=level is LevelOfCare.INTENSIVE_OUTPATIENT)
    decision = Decision(id, referral.id, referral.patient.id, level, rationale, by, at)
    return decided, decision
