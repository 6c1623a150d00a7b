"""Consents: who may know what about whom, for how long, and why not."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from stepway_chassis.errors import Conflict, InvalidInput
from stepway_intake.domain.people import RelatedPerson

CLOCK_SKEW = timedelta(minutes=5)
USE_WITHIN = timedelta(milliseconds=500)
"""A yes may be acted upon for this long from before it was asked for; a revocation is answered that much later."""


class Category(StrEnum):
    ATTENDANCE = "attendance"
    SCHEDULE = "schedule"
    PLAN = "plan"
    DIAGNOSIS = "diagnosis"
    SUBSTANCE_USE = "substance_use"
    MEDICATION = "medication"
    RISK = "risk"
    BILLING = "billing"


class Finding(StrEnum):
    """Why yes or no; of several noes the last of these is told."""

    GRANTED = "granted"
    NEVER_GRANTED = "never_granted"
    NOT_COVERED = "not_covered"
    EXPIRED = "expired"
    REVOKED = "revoked"


_TELLING = list(Finding)


@dataclass(frozen=True)
class FamilyMember:
    """Whom a patient has named in a consent."""

    id: UUID
    patient_id: UUID
    person: RelatedPerson


@dataclass(frozen=True)
class Consent:
    """A patient's permission to tell one named person something (45 CFR 164.508, 42 CFR 2.31)."""

    id: UUID
    patient_id: UUID
    family_member_id: UUID
    categories: tuple[Category, ...]
    purpose: str
    signed_at: datetime
    granted_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True)
class Question:
    """May this person be told this about this patient?"""

    patient_id: UUID
    family_member_id: UUID
    category: Category


def grant(consent: Consent) -> Consent:
    """Raises InvalidInput (SIGNED_IN_FUTURE, EXPIRES_IN_PAST)."""
    if consent.signed_at > consent.granted_at + CLOCK_SKEW:
        raise InvalidInput("SIGNED_IN_FUTURE", "Give the time at which the patient has signed.", field="signed_at")
    if consent.expires_at <= consent.granted_at:
        raise InvalidInput("EXPIRES_IN_PAST", "Give a time that is still to come.", field="expires_at")
    return consent


def revoke(consent: Consent, *, at: datetime) -> Consent:
    """Raises Conflict (CONSENT_ALREADY_REVOKED)."""
    if consent.revoked_at is not None:
        raise Conflict("CONSENT_ALREADY_REVOKED", "This consent has ended; list consents to see the others.")
    return replace(consent, revoked_at=at)


def check(question: Question, consents: Iterable[Consent], *, now: datetime) -> tuple[Finding, UUID | None]:
    """The answer and the consent that gives it. No by default; any one consent that covers it makes it a yes."""
    found = [(_finding(each, question.category, now), each.id) for each in consents if _is_about(each, question)]
    granted = [each for each in found if each[0] is Finding.GRANTED]
    if granted:
        return granted[0]
    return max(found, key=lambda each: _TELLING.index(each[0]), default=(Finding.NEVER_GRANTED, None))


def _is_about(consent: Consent, question: Question) -> bool:
    return (consent.patient_id, consent.family_member_id) == (question.patient_id, question.family_member_id)


def _finding(consent: Consent, category: Category, now: datetime) -> Finding:
    if category not in consent.categories:
        return Finding.NOT_COVERED
    if consent.revoked_at is not None:
        return Finding.REVOKED
    return Finding.EXPIRED if consent.expires_at <= now else Finding.GRANTED
