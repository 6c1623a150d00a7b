"""Consents: who may know what about whom, for how long, and why not."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo

from stepway_chassis.errors import Conflict, InvalidInput
from stepway_intake.domain.authority import Ages, Signer, check_signer, closes_on, is_minor, refusal
from stepway_intake.domain.people import Label, RelatedPerson

CLOCK_SKEW = timedelta(minutes=5)
USE_WITHIN = timedelta(milliseconds=500)
"""A yes may be acted upon for this long from before it was asked for; a revocation is answered that much later."""
SOON = timedelta(days=14)
"""So long before it ends by itself a consent is shown to whoever may want to have another signed."""
NOTICE_VERSION = "42cfr2.32-short-2024"
"""The notice that goes with what is told of a Part 2 record, unless the consent names another (42 CFR 2.32)."""


class Category(StrEnum):
    ATTENDANCE = "attendance"
    SCHEDULE = "schedule"
    PLAN = "plan"
    DIAGNOSIS = "diagnosis"
    SUBSTANCE_USE = "substance_use"
    MEDICATION = "medication"
    RISK = "risk"
    BILLING = "billing"
    COUNSELING_NOTES = "counseling_notes"


class Finding(StrEnum):
    """Why yes or no; of several noes the last of these is told."""

    GRANTED = "granted"
    NEVER_GRANTED = "never_granted"
    NOT_COVERED = "not_covered"
    BASIS_INSUFFICIENT = "basis_insufficient"
    SUPERSEDED = "superseded"
    AUTHORITY_ENDED = "authority_ended"
    EXPIRED = "expired"
    REVOKED = "revoked"


class RecipientClass(StrEnum):
    NONE = ""
    TREATING_PROVIDERS = "treating_providers"
    HEALTH_PLANS = "health_plans"
    PROGRAM_OPERATIONS = "program_operations"


class LegalBasis(StrEnum):
    """`UNSTATED` is what was recorded before there was a place for it."""

    UNSTATED = "unstated"
    HIPAA = "hipaa"
    PART2_TPO = "part2_tpo"
    PART2_NAMED = "part2_named"
    STATE_MINOR = "state_minor"

    @property
    def stated(self) -> bool:
        return self is not LegalBasis.UNSTATED


class Expiry(StrEnum):
    """What ends a consent, besides its date if it has one."""

    DATE = "date"
    END_OF_TREATMENT = "end_of_treatment"
    TRANSFER_CLOSED = "transfer_closed"
    NONE = "none"


class Ending(StrEnum):
    """`STANDING` is also what an earlier version writes, with the time, when it revokes."""

    STANDING = ""
    REVOKED = "revoked"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    AUTHORITY_ENDED = "authority_ended"


_TELLING = list(Finding)
_TREATS_OR_PAYS = ("PARTY_KIND_HEALTH_PROVIDER", "PARTY_KIND_HEALTH_PLAN")


@dataclass(frozen=True)
class FamilyMember:
    """Whom a patient has named in a consent."""

    id: UUID
    patient_id: UUID
    person: RelatedPerson


@dataclass(frozen=True)
class Party:
    """A person or organisation outside the family whom a patient has named; `kind` is the contract's word."""

    id: UUID
    patient_id: UUID
    name: str
    kind: str


@dataclass(frozen=True)
class Consent:
    """A patient's permission to tell one recipient something (45 CFR 164.508, 42 CFR 2.31).

    The recipient is one of family member, party, class and site. `due_at` is when the loop looks whether it has run
    out.
    """

    id: UUID
    patient_id: UUID
    family_member_id: UUID | None
    categories: tuple[Category, ...]
    purpose: str
    signed_at: datetime
    granted_at: datetime
    expires_at: datetime | None
    ended_at: datetime | None = None
    ending: Ending = Ending.STANDING
    party_id: UUID | None = None
    recipient_class: RecipientClass = RecipientClass.NONE
    recipient_site: str = ""
    legal_basis: LegalBasis = LegalBasis.UNSTATED
    signer: Signer = Signer.UNSTATED
    signer_name: str = ""
    expires_with: Expiry = Expiry.DATE
    copy_given_at: datetime | None = None
    notice_version: str = ""
    version: int = 1
    supersedes_id: UUID | None = None
    due_at: datetime | None = None

    @property
    def recipient(self) -> str:
        """Whom it is for, in one word; the table has the same one."""
        named = self.family_member_id or self.party_id
        return str(named) if named else recipient_word(self.recipient_class, self.recipient_site)

    @property
    def ended(self) -> Ending:
        return self.ending or (Ending.STANDING if self.ended_at is None else Ending.REVOKED)


@dataclass(frozen=True)
class Subject:
    """What of the patient a consent is judged by: it may change while the consent stands."""

    birth_date: str
    ages: Ages
    zone: str
    label: Label

    def binds(self, consent: Consent, now: datetime) -> bool:
        """Whether whoever signed could consent for the patient, and still can."""
        if refusal(consent.signer, self.birth_date, self.ages, self.label, self.day(consent.signed_at)):
            return False
        until = self.binds_until(consent)
        return until is None or now < until

    def day(self, at: datetime) -> date:
        """By the site's clocks."""
        return at.astimezone(ZoneInfo(self.zone)).date()

    def binds_until(self, consent: Consent) -> datetime | None:
        signed, relative = self.day(consent.signed_at), consent.family_member_id is not None
        day = closes_on(consent.signer, self.birth_date, self.ages, signed=signed, relative=relative)
        return datetime.combine(day, time(), ZoneInfo(self.zone)) if day else None

    def is_covered_by(self, basis: LegalBasis) -> bool:
        """A general release does not cover a Part 2 record, whenever it has become one (42 CFR 2.31)."""
        return self.label is not Label.PART2 or basis is not LegalBasis.HIPAA

    def with_notice(self, consent: Consent) -> Consent:
        if consent.notice_version or self.label is not Label.PART2:
            return consent
        return replace(consent, notice_version=NOTICE_VERSION)


@dataclass(frozen=True)
class Question:
    """May this recipient be told this about this patient?"""

    patient_id: UUID
    recipient: str
    category: Category


def recipient_word(recipient_class: str, site: str) -> str:
    return f"class/{recipient_class}" if recipient_class else f"site/{site}"


def grant(
    consent: Consent, subject: Subject, *, party: Party | None = None, supersedes: Consent | None = None
) -> Consent:
    """The consent with all that was left open decided; `party` is whom its `party_id` names.

    Raises InvalidInput (SIGNED_IN_FUTURE, EXPIRY_MISSING, EXPIRES_IN_PAST, RECIPIENT_NOT_COVERED,
    LEGAL_BASIS_INSUFFICIENT, CATEGORIES_NOT_COMBINABLE, and what `check_signer` raises).
    """
    if consent.signed_at > consent.granted_at + CLOCK_SKEW:
        raise InvalidInput("SIGNED_IN_FUTURE", "Give the time at which the patient has signed.", field="signed_at")
    day = subject.day(consent.signed_at)
    check_signer(consent.signer, consent.signer_name, subject.birth_date, subject.ages, subject.label, day=day)
    consent = replace(
        subject.with_notice(consent),
        legal_basis=consent.legal_basis if consent.legal_basis.stated else _basis_for(consent, subject),
        version=supersedes.version + 1 if supersedes else 1,
    )
    _check_scope(consent, subject)
    _check_treatment_payment_operations(consent, party)
    _check_expiry(consent)
    return replace(consent, due_at=next_look(consent, subject))


def _basis_for(consent: Consent, subject: Subject) -> LegalBasis:
    if _by_minor_alone(consent, subject):
        return LegalBasis.STATE_MINOR
    if subject.label is not Label.PART2:
        return LegalBasis.HIPAA
    return LegalBasis.PART2_TPO if consent.recipient_class else LegalBasis.PART2_NAMED


def _by_minor_alone(consent: Consent, subject: Subject) -> bool:
    return consent.signer.alone and is_minor(subject.birth_date, subject.ages, subject.day(consent.signed_at))


def _check_scope(consent: Consent, subject: Subject) -> None:
    if not subject.is_covered_by(consent.legal_basis):
        message = "A general release does not cover a Part 2 record (42 CFR 2.31)."
        raise InvalidInput("LEGAL_BASIS_INSUFFICIENT", message, field="legal_basis")
    if consent.legal_basis is LegalBasis.STATE_MINOR and not _by_minor_alone(consent, subject):
        message = "This basis is for a minor who may consent alone, and does (42 CFR 2.14)."
        raise InvalidInput("LEGAL_BASIS_INSUFFICIENT", message, field="legal_basis")
    if consent.legal_basis is LegalBasis.PART2_NAMED and consent.recipient_class:
        raise InvalidInput("RECIPIENT_NOT_COVERED", "This basis asks for a named recipient.", field="legal_basis")
    if Category.COUNSELING_NOTES in consent.categories and len(consent.categories) > 1:
        message = "Counselling notes are never combined with anything else (42 CFR 2.31)."
        raise InvalidInput("CATEGORIES_NOT_COMBINABLE", message, field="categories")


def _check_treatment_payment_operations(consent: Consent, party: Party | None) -> None:
    """Those who treat or pay are no relatives, and neither court, school nor employer; who operates is a class."""
    other_party = party is not None and party.kind not in _TREATS_OR_PAYS
    if consent.legal_basis is LegalBasis.PART2_TPO and (consent.family_member_id or other_party):
        message = "Only providers and plans treat and pay; name anybody else on another basis (42 CFR 2.31)."
        raise InvalidInput("RECIPIENT_NOT_COVERED", message, field="legal_basis")


def _check_expiry(consent: Consent) -> None:
    endless = consent.expires_with is Expiry.NONE
    if consent.expires_at is None and consent.expires_with is Expiry.DATE:
        raise InvalidInput("EXPIRY_MISSING", "Say when, or with what, it ends.", field="expires_at")
    if endless and consent.legal_basis is not LegalBasis.PART2_TPO:
        message = "Only a consent for treatment, payment and operations may be without an end."
        raise InvalidInput("EXPIRY_MISSING", message, field="expires_with")
    if consent.expires_at is not None and consent.expires_at <= consent.granted_at:
        raise InvalidInput("EXPIRES_IN_PAST", "Give a time that is still to come.", field="expires_at")


def next_look(consent: Consent, subject: Subject) -> datetime | None:
    """When it may have run out by itself, if ever."""
    return min((at for at in (consent.expires_at, subject.binds_until(consent)) if at is not None), default=None)


def revoke(consent: Consent, subject: Subject, *, at: datetime) -> Consent:
    """Raises Conflict (CONSENT_ALREADY_REVOKED, CONSENT_ALREADY_EXPIRED, CONSENT_ALREADY_SUPERSEDED)."""
    return _end(consent, subject, Ending.REVOKED, at)


def supersede(consent: Consent, subject: Subject, new: Consent) -> Consent:
    """The one whose place `new` takes, ended. Raises what `revoke` does."""
    return _end(consent, subject, Ending.SUPERSEDED, new.granted_at)


def _end(consent: Consent, subject: Subject, ending: Ending, at: datetime) -> Consent:
    message = "This consent has ended; list consents to see the others."
    had_ended = consent.ended or _lapsed(consent, subject, at)
    if had_ended is Ending.REVOKED:
        raise Conflict("CONSENT_ALREADY_REVOKED", message)
    if had_ended is Ending.SUPERSEDED:
        raise Conflict("CONSENT_ALREADY_SUPERSEDED", message)
    if had_ended:
        raise Conflict("CONSENT_ALREADY_EXPIRED", message)
    return replace(consent, ending=ending, ended_at=at, due_at=None)


def run_out(consent: Consent, subject: Subject, *, now: datetime) -> Ending:
    """How a standing consent has ended by itself by now, though no loop has come by; STANDING if it has not."""
    lapsed = _lapsed(consent, subject, now)
    return lapsed or (Ending.STANDING if subject.binds(consent, now) else Ending.AUTHORITY_ENDED)


def _lapsed(consent: Consent, subject: Subject, now: datetime) -> Ending:
    """By time alone: what else is known of the patient may change again, so that one may still be revoked for it."""
    if consent.expires_at is not None and consent.expires_at <= now:
        return Ending.EXPIRED
    until = subject.binds_until(consent)
    return Ending.STANDING if until is None or now < until else Ending.AUTHORITY_ENDED


def expire(consent: Consent, subject: Subject, *, now: datetime) -> Consent:
    """Ended if it has run out; if not, looked at again when it may have; what has ended already stays as it is."""
    if consent.ended:
        return consent
    if ending := run_out(consent, subject, now=now):
        return replace(consent, ending=ending, ended_at=now, due_at=None)
    return replace(consent, due_at=next_look(consent, subject))


def expire_with(consent: Consent, event: Expiry, *, happened_at: datetime, now: datetime) -> Consent:
    """Ended if it was to end with this event, and was given before that; what has ended already stays as it is."""
    if consent.ended or consent.expires_with is not event or consent.granted_at > happened_at:
        return consent
    return replace(consent, ending=Ending.EXPIRED, ended_at=now, due_at=None)


def check(
    question: Question, consents: Iterable[tuple[Consent, Subject]], *, now: datetime
) -> tuple[Finding, Consent | None]:
    """The answer and the consent that gives it, with the notice that goes along.

    No by default; any one consent that covers it makes it a yes.
    """
    found = [
        (_finding(each, about, question, now), about.with_notice(each))
        for each, about in consents
        if _is_about(each, question)
    ]
    granted = [each for each in found if each[0] is Finding.GRANTED]
    if granted:
        return granted[0]
    return max(found, key=lambda each: _TELLING.index(each[0]), default=(Finding.NEVER_GRANTED, None))


def check_each(
    questions: Iterable[Question], consents: Iterable[tuple[Consent, Subject]], *, now: datetime
) -> list[tuple[Finding, Consent | None]]:
    """The answer to each, in the order asked; each is held against the consents that are about it alone."""
    about = defaultdict[tuple[UUID, str], list[tuple[Consent, Subject]]](list)
    for each in consents:
        about[each[0].patient_id, each[0].recipient].append(each)
    return [check(asked, about[asked.patient_id, asked.recipient], now=now) for asked in questions]


def _is_about(consent: Consent, question: Question) -> bool:
    return (consent.patient_id, consent.recipient) == (question.patient_id, question.recipient)


def _finding(consent: Consent, subject: Subject, question: Question, now: datetime) -> Finding:
    if question.category not in consent.categories:
        return Finding.NOT_COVERED
    ending = consent.ended or run_out(consent, subject, now=now)
    if ending:
        return Finding(ending)
    return Finding.GRANTED if subject.is_covered_by(consent.legal_basis) else Finding.BASIS_INSUFFICIENT
