"""Consents in contracts: granted, ended, asked about."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from stepway.intake.v1 import consent_pb2, consent_service_pb2, events_pb2
from stepway_chassis.times import from_proto, to_proto
from stepway_intake.domain.authority import Signer
from stepway_intake.domain.consents import (
    USE_WITHIN,
    Category,
    Consent,
    Ending,
    Expiry,
    FamilyMember,
    Finding,
    LegalBasis,
    Party,
    Question,
    RecipientClass,
    recipient_word,
)
from stepway_intake.wire.people import related_person

_CATEGORY_OF = {consent_pb2.ConsentCategory.Value(f"CONSENT_CATEGORY_{each.name}"): each for each in Category}
_UNSTATED = {RecipientClass.NONE, LegalBasis.UNSTATED, Signer.UNSTATED, Expiry.DATE, Ending.STANDING}
"""What contracts leave unspecified."""
Named = FamilyMember | Party | None


def _word(prefix: str, known: Any) -> str:
    return f"{prefix}_UNSPECIFIED" if known in _UNSTATED else f"{prefix}_{known.name}"


_CLASS_OF = {consent_pb2.RecipientClass.Value(_word("RECIPIENT_CLASS", each)): each for each in RecipientClass}
_BASIS_OF = {consent_pb2.ConsentLegalBasis.Value(_word("CONSENT_LEGAL_BASIS", each)): each for each in LegalBasis}
_SIGNER_OF = {consent_pb2.ConsentSigner.Value(_word("CONSENT_SIGNER", each)): each for each in Signer}
_EXPIRY_OF = {consent_pb2.ConsentExpiry.Value(_word("CONSENT_EXPIRY", each)): each for each in Expiry}


def new_party(named: consent_pb2.Party, *, id: UUID, patient_id: UUID) -> Party:
    return Party(id, patient_id, named.name, consent_pb2.PartyKind.Name(named.kind))


def new_consent(
    request: consent_service_pb2.GrantConsentRequest, named: Named, *, id: UUID, patient_id: UUID, at: datetime
) -> Consent:
    """Raises InvalidInput (TIME_OUT_OF_RANGE)."""
    return Consent(
        id=id,
        patient_id=patient_id,
        family_member_id=named.id if isinstance(named, FamilyMember) else None,
        party_id=named.id if isinstance(named, Party) else None,
        recipient_class=_CLASS_OF[request.recipient_class],
        recipient_site=request.recipient_site,
        categories=tuple(_CATEGORY_OF[category] for category in request.categories),
        purpose=request.purpose,
        legal_basis=_BASIS_OF[request.legal_basis],
        signer=_SIGNER_OF[request.signer],
        signer_name=request.signer_name,
        signed_at=from_proto(request.signed_at, field="signed_at"),
        granted_at=at,
        expires_at=from_proto(request.expires_at, field="expires_at") if request.HasField("expires_at") else None,
        expires_with=_EXPIRY_OF[request.expires_with],
        copy_given_at=at if request.copy_given else None,
        notice_version=request.redisclosure_notice_version,
        supersedes_id=UUID(request.supersedes_consent_id) if request.supersedes_consent_id else None,
    )


def consent(found: Consent, named: Named) -> consent_pb2.Consent:
    return consent_pb2.Consent(
        id=str(found.id),
        patient_id=str(found.patient_id),
        family_member_id=str(found.family_member_id or ""),
        family_member=related_person(named.person) if isinstance(named, FamilyMember) else None,
        party_id=str(found.party_id or ""),
        party=consent_pb2.Party(name=named.name, kind=named.kind) if isinstance(named, Party) else None,
        recipient_class=_word("RECIPIENT_CLASS", found.recipient_class),
        recipient_site=found.recipient_site,
        categories=[f"CONSENT_CATEGORY_{category.name}" for category in found.categories],
        purpose=found.purpose,
        legal_basis=_word("CONSENT_LEGAL_BASIS", found.legal_basis),
        signer=_word("CONSENT_SIGNER", found.signer),
        signer_name=found.signer_name,
        signed_at=to_proto(found.signed_at),
        granted_at=to_proto(found.granted_at),
        expires_at=to_proto(found.expires_at),
        expires_with=_word("CONSENT_EXPIRY", found.expires_with),
        copy_given_at=to_proto(found.copy_given_at),
        redisclosure_notice_version=found.notice_version,
        version=found.version,
        supersedes_consent_id=str(found.supersedes_id or ""),
        ending=_word("CONSENT_ENDING", found.ended),
        ended_at=to_proto(found.ended_at),
        due_at=to_proto(found.due_at),
        revoked_at=to_proto(found.ended_at if found.ended is Ending.REVOKED else None),
    )


def _about(known: Consent) -> dict[str, str]:
    return {
        "consent_id": str(known.id),
        "patient_id": str(known.patient_id),
        "family_member_id": str(known.family_member_id or ""),
    }


def consent_granted(granted: Consent) -> events_pb2.ConsentGranted:
    return events_pb2.ConsentGranted(**_about(granted), granted_at=to_proto(granted.granted_at))


def consent_revoked(revoked: Consent) -> events_pb2.ConsentRevoked:
    return events_pb2.ConsentRevoked(**_about(revoked), revoked_at=to_proto(revoked.ended_at))


def consent_superseded(old: Consent, new: Consent) -> events_pb2.ConsentSuperseded:
    told = {**_about(old), "superseded_by": str(new.id)}
    return events_pb2.ConsentSuperseded(**told, superseded_at=to_proto(old.ended_at))


def consents_expired(before: Iterable[Consent], after: Iterable[Consent]) -> list[Message]:
    """One for each that has ended meanwhile."""
    return [
        events_pb2.ConsentExpired(**_about(now), expired_at=to_proto(now.ended_at))
        for was, now in zip(before, after, strict=True)
        if now.ended and not was.ended
    ]


def ends_before(request: consent_service_pb2.ListEndingConsentsRequest) -> datetime | None:
    """Raises InvalidInput (TIME_OUT_OF_RANGE)."""
    return from_proto(request.ends_before, field="ends_before") if request.HasField("ends_before") else None


def category(asked: consent_pb2.ConsentCategory) -> Category:
    return _CATEGORY_OF[asked]


def question(asked: consent_service_pb2.ConsentQuestion) -> Question:
    named = asked.family_member_id or asked.party_id
    recipient = str(UUID(named)) if named else recipient_word(_CLASS_OF[asked.recipient_class], asked.recipient_site)
    return Question(UUID(asked.patient_id), recipient, _CATEGORY_OF[asked.category])


def consent_answers(findings: Iterable[tuple[Finding, Consent | None]]) -> consent_service_pb2.CheckConsentsResponse:
    use_within = Duration()
    use_within.FromTimedelta(USE_WITHIN)
    answers = [_answer(*each) for each in findings]
    return consent_service_pb2.CheckConsentsResponse(answers=answers, use_within=use_within)


def _answer(finding: Finding, found: Consent | None) -> consent_service_pb2.ConsentAnswer:
    answer = consent_service_pb2.ConsentAnswer(finding=f"CONSENT_FINDING_{finding.name}")
    if found is not None:
        answer.consent_id, answer.consent_version = str(found.id), found.version
        answer.redisclosure_notice_version = found.notice_version
    return answer
