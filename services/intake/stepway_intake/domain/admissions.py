"""Admissions: what has to be decided before one, and when the patient can come."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from stepway_chassis.errors import Conflict
from stepway_intake.domain.levels_of_care import LevelOfCare
from stepway_intake.domain.referrals import Referral, Status


class Daypart(StrEnum):
    MORNING = "morning"
    AFTERNOON = "afternoon"
    EVENING = "evening"
    WEEKEND = "weekend"


@dataclass(frozen=True)
class Admission:
    """`availability` is when the patient can come, the best first."""

    id: UUID
    referral_id: UUID
    patient_id: UUID
    availability: tuple[Daypart, ...]
    admitted_at: datetime


def admit(
    referral: Referral, level: LevelOfCare | None, *, id: UUID, availability: tuple[Daypart, ...], at: datetime
) -> tuple[Referral, Admission]:
    """Raises Conflict (ALREADY_ADMITTED, LEVEL_OF_CARE_UNDECIDED, LEVEL_OF_CARE_NOT_OFFERED)."""
    if referral.status is Status.ADMITTED:
        raise Conflict("ALREADY_ADMITTED", "This referral has led to an admission.")
    if level is None:
        raise Conflict("LEVEL_OF_CARE_UNDECIDED", "Have a clinician decide on the level of care first.")
    if level is not LevelOfCare.INTENSIVE_OUTPATIENT:
        raise Conflict("LEVEL_OF_CARE_NOT_OFFERED", "The level decided on is not offered here; refer the person on.")
    admission = Admission(id, referral.id, referral.patient.id, availability, admitted_at=at)
    return replace(referral, status=Status.ADMITTED), admission
