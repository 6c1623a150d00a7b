"""Referrals: received, screened, decided, admitted."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from stepway_chassis.errors import InvalidInput
from stepway_intake.domain.people import Patient, RelatedPerson

OLDEST_BIRTH_YEAR = 1900


class Status(StrEnum):
    RECEIVED = "received"
    SCREENING = "screening"
    DECIDED = "decided"
    ADMITTED = "admitted"


@dataclass(frozen=True)
class Referral:
    id: UUID
    patient: Patient
    status: Status
    related_people: tuple[RelatedPerson, ...]
    reason: str
    received_at: datetime


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
