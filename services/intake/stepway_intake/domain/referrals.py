"""Referrals: received, screened, decided, admitted."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from stepway_chassis.errors import Conflict, InvalidInput
from stepway_intake.domain.people import Patient, RelatedPerson

OLDEST_BIRTH_YEAR = 1900


class Status(StrEnum):
    RECEIVED = "received"
    SCREENING = "screening"
    DECIDED = "decided"
    ADMITTED = "admitted"


class LevelOfCare(StrEnum):
    OUTPATIENT = "outpatient"
    INTENSIVE_OUTPATIENT = "intensive_outpatient"
    PARTIAL_HOSPITALIZATION = "partial_hospitalization"
    RESIDENTIAL = "residential"
    INPATIENT = "inpatient"
    EMERGENCY = "emergency"


class Daypart(StrEnum):
    MORNING = "morning"
    AFTERNOON = "afternoon"
    EVENING = "evening"
    WEEKEND = "weekend"


@dataclass(frozen=True)
class Referral:
    id: UUID
    patient: Patient
    status: Status
    related_people: tuple[RelatedPerson, ...]
    reason: str
    received_at: datetime


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


@dataclass(frozen=True)
class Admission:
    """`availability` is when the patient can come, the best first."""

    id: UUID
    referral_id: UUID
    patient_id: UUID
    availability: tuple[Daypart, ...]
    admitted_at: datetime


def receive(referral: Referral) -> Referral:
    """Raises InvalidInput BIRTH_DATE_IMPOSSIBLE."""
    born = referral.patient.person.birth_date
    if born and not _possible(born, referral.received_at.date()):
        message = "Give a date that exists, not in the future and not before 1900; leave it empty if it is not known."
        raise InvalidInput("BIRTH_DATE_IMPOSSIBLE", message, field="person.birth_date")
    return referral


def _possible(birth_date: str, today: date) -> bool:
    year, month, day = [*(int(part) for part in birth_date.split("-")), 1, 1][:3]
    try:
        return year >= OLDEST_BIRTH_YEAR and date(year, month, day) <= today
    except ValueError:
        return False


def screen(referral: Referral) -> Referral:
    """Something was recorded; instruments are repeated during treatment, and that changes nothing here."""
    return replace(referral, status=Status.SCREENING) if referral.status is Status.RECEIVED else referral


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
