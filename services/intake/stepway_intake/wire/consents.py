"""Consents in contracts: granted, revoked, asked about."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from google.protobuf.duration_pb2 import Duration

from stepway.intake.v1 import consent_pb2, consent_service_pb2, events_pb2
from stepway_chassis.times import from_proto, to_proto
from stepway_intake.domain.consents import USE_WITHIN, Category, Consent, FamilyMember, Finding, Question
from stepway_intake.wire.people import related_person

_CATEGORY_OF = {consent_pb2.ConsentCategory.Value(f"CONSENT_CATEGORY_{each.name}"): each for each in Category}


def new_consent(
    request: consent_service_pb2.GrantConsentRequest, member: FamilyMember, *, id: UUID, at: datetime
) -> Consent:
    """Raises InvalidInput (TIME_OUT_OF_RANGE)."""
    return Consent(
        id=id,
        patient_id=member.patient_id,
        family_member_id=member.id,
        categories=tuple(_CATEGORY_OF[category] for category in request.categories),
        purpose=request.purpose,
        signed_at=from_proto(request.signed_at, field="signed_at"),
        granted_at=at,
        expires_at=from_proto(request.expires_at, field="expires_at"),
    )


def consent(found: Consent, member: FamilyMember) -> consent_pb2.Consent:
    return consent_pb2.Consent(
        id=str(found.id),
        patient_id=str(found.patient_id),
        family_member_id=str(found.family_member_id),
        family_member=related_person(member.person),
        categories=[f"CONSENT_CATEGORY_{category.name}" for category in found.categories],
        purpose=found.purpose,
        signed_at=to_proto(found.signed_at),
        granted_at=to_proto(found.granted_at),
        expires_at=to_proto(found.expires_at),
        revoked_at=to_proto(found.revoked_at),
    )


def consent_granted(granted: Consent) -> events_pb2.ConsentGranted:
    return events_pb2.ConsentGranted(
        consent_id=str(granted.id),
        patient_id=str(granted.patient_id),
        family_member_id=str(granted.family_member_id),
        granted_at=to_proto(granted.granted_at),
    )


def consent_revoked(revoked: Consent) -> events_pb2.ConsentRevoked:
    return events_pb2.ConsentRevoked(
        consent_id=str(revoked.id),
        patient_id=str(revoked.patient_id),
        family_member_id=str(revoked.family_member_id),
        revoked_at=to_proto(revoked.revoked_at),
    )


def category(asked: consent_pb2.ConsentCategory) -> Category:
    return _CATEGORY_OF[asked]


def question(asked: consent_service_pb2.ConsentQuestion) -> Question:
    return Question(UUID(asked.patient_id), UUID(asked.family_member_id), _CATEGORY_OF[asked.category])


def consent_answers(findings: Iterable[tuple[Finding, UUID | None]]) -> consent_service_pb2.CheckConsentsResponse:
    answers = [
        consent_service_pb2.ConsentAnswer(finding=f"CONSENT_FINDING_{finding.name}", consent_id=str(consent_id or ""))
        for finding, consent_id in findings
    ]
    use_within = Duration()
    use_within.FromTimedelta(USE_WITHIN)
    return consent_service_pb2.CheckConsentsResponse(answers=answers, use_within=use_within)
