"""Levels of care: how much of it a clinician decides that somebody gets."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from stepway_chassis.errors import Conflict
from stepway_intake.domain.referrals import Referral, Status


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
    """Raises Conflict (REFERRAL_NOT_SCREENED, LEVEL_OF_CARE_ALREADY_DECIDED)."""
    if referral.status is Status.RECEIVED:
        raise Conflict("REFERRAL_NOT_SCREENED", "Record at least one assessment first.")
    if referral.status is not Status.SCREENING:
        raise Conflict("LEVEL_OF_CARE_ALREADY_DECIDED", "A clinician has decided; read the decision.")
    decision = Decision(id, referral.id, referral.patient.id, level, rationale, by, at)
    return replace(referral, status=Status.DECIDED), decision
