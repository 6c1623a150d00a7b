"""Between the contracts of intake and its domain."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from google.protobuf.duration_pb2 import Duration

from stepway.intake.v1 import (
    admission_pb2,
    assessment_pb2,
    assessment_service_pb2,
    consent_pb2,
    consent_service_pb2,
    events_pb2,
    level_of_care_pb2,
    referral_pb2,
    referral_service_pb2,
    risk_flag_pb2,
)
from stepway.notifications.v1 import escalation_service_pb2
from stepway.notifications.v1 import events_pb2 as notification_events_pb2
from stepway.privacy.v1 import label_pb2
from stepway.scheduling.v1 import track_pb2
from stepway_chassis.errors import InvalidInput
from stepway_chassis.events import Event
from stepway_chassis.times import from_proto, to_proto
from stepway_intake.domain.assessments import Assessment, RiskFlag, Urgency
from stepway_intake.domain.consents import USE_WITHIN, Category, Consent, FamilyMember, Finding, Question
from stepway_intake.domain.people import ContactPoint, Label, Patient, Person, RelatedPerson
from stepway_intake.domain.referrals import Admission, Daypart, Decision, LevelOfCare, Referral, Status
from stepway_intake.instruments.catalogue import GAD_7, PHQ_9
from stepway_intake.instruments.definition import Band, Definition

_INSTRUMENTS = {
    assessment_pb2.INSTRUMENT_PHQ_9: PHQ_9,
    assessment_pb2.INSTRUMENT_GAD_7: GAD_7,
}
_INSTRUMENT_OF = {definition.name: value for value, definition in _INSTRUMENTS.items()}
_STATUS = {
    Status.RECEIVED: referral_pb2.REFERRAL_STATUS_RECEIVED,
    Status.SCREENING: referral_pb2.REFERRAL_STATUS_SCREENING,
    Status.DECIDED: referral_pb2.REFERRAL_STATUS_DECIDED,
    Status.ADMITTED: referral_pb2.REFERRAL_STATUS_ADMITTED,
}
_LEVEL_OF = {level_of_care_pb2.LevelOfCare.Value(f"LEVEL_OF_CARE_{level.name}"): level for level in LevelOfCare}
_DAYPART_OF = {track_pb2.Daypart.Value(f"DAYPART_{daypart.name}"): daypart for daypart in Daypart}
_CATEGORY_OF = {consent_pb2.ConsentCategory.Value(f"CONSENT_CATEGORY_{each.name}"): each for each in Category}
_LABEL = {Label.GENERAL: label_pb2.LABEL_GENERAL, Label.PART2: label_pb2.LABEL_PART2}
_URGENCY = {
    Urgency.PAGE: risk_flag_pb2.RISK_URGENCY_PAGE,
    Urgency.REVIEW: risk_flag_pb2.RISK_URGENCY_REVIEW,
}
_BAND = {
    None: assessment_pb2.SEVERITY_BAND_UNSPECIFIED,
    Band.MINIMAL: assessment_pb2.SEVERITY_BAND_MINIMAL,
    Band.MILD: assessment_pb2.SEVERITY_BAND_MILD,
    Band.MODERATE: assessment_pb2.SEVERITY_BAND_MODERATE,
    Band.MODERATELY_SEVERE: assessment_pb2.SEVERITY_BAND_MODERATELY_SEVERE,
    Band.SEVERE: assessment_pb2.SEVERITY_BAND_SEVERE,
}


def new_referral(
    request: referral_service_pb2.ReceiveReferralRequest,
    *,
    referral_id: UUID,
    patient_id: UUID,
    label: Label,
    at: datetime,
) -> Referral:
    return Referral(
        id=referral_id,
        patient=Patient(patient_id, _person(request.person), label),
        status=Status.RECEIVED,
        related_people=tuple(related_person(related) for related in request.related_people),
        reason=request.reason,
        received_at=at,
    )


def _person(person: referral_pb2.Person) -> Person:
    return Person(
        given_name=person.given_name,
        family_name=person.family_name,
        birth_date=person.birth_date,
        gender=referral_pb2.AdministrativeGender.Name(person.gender),
        contact_points=_contact_points(person.contact_points),
        language=person.language,
    )


def related_person(related: referral_pb2.RelatedPerson) -> RelatedPerson:
    return RelatedPerson(
        given_name=related.given_name,
        family_name=related.family_name,
        relationship=related.relationship,
        contact_points=_contact_points(related.contact_points),
    )


def _contact_points(points: Iterable[referral_pb2.ContactPoint]) -> tuple[ContactPoint, ...]:
    return tuple(
        ContactPoint("phone", point.phone) if point.HasField("phone") else ContactPoint("email", point.email)
        for point in points
    )


def referral(found: Referral) -> referral_pb2.Referral:
    person = found.patient.person
    return referral_pb2.Referral(
        id=str(found.id),
        patient_id=str(found.patient.id),
        status=_STATUS[found.status],
        person=referral_pb2.Person(
            given_name=person.given_name,
            family_name=person.family_name,
            birth_date=person.birth_date,
            gender=person.gender,
            contact_points=contact_points(person.contact_points),
            language=person.language,
        ),
        related_people=[_relative(related) for related in found.related_people],
        reason=found.reason,
        received_at=to_proto(found.received_at),
    )


def _relative(related: RelatedPerson) -> referral_pb2.RelatedPerson:
    return referral_pb2.RelatedPerson(
        given_name=related.given_name,
        family_name=related.family_name,
        relationship=related.relationship,
        contact_points=contact_points(related.contact_points),
    )


def contact_points(points: Iterable[ContactPoint]) -> list[referral_pb2.ContactPoint]:
    return [referral_pb2.ContactPoint(**{point.system: point.value}) for point in points]


def definition(instrument: assessment_pb2.Instrument) -> Definition:
    return _INSTRUMENTS[instrument]


def answers(request: assessment_service_pb2.RecordAssessmentRequest) -> dict[int, int]:
    """Raises InvalidInput (ITEM_REPEATED)."""
    found: dict[int, int] = {}
    for answer in request.answers:
        if answer.item in found:
            raise InvalidInput("ITEM_REPEATED", "Answer each item once.", field="answers")
        found[answer.item] = answer.value
    return found


def answered_at(request: assessment_service_pb2.RecordAssessmentRequest, now: datetime) -> datetime:
    """Raises InvalidInput (TIME_OUT_OF_RANGE)."""
    return from_proto(request.answered_at, field="answered_at") if request.HasField("answered_at") else now


def assessment(made: Assessment) -> assessment_pb2.Assessment:
    return assessment_pb2.Assessment(
        id=str(made.id),
        referral_id=str(made.referral_id),
        instrument=_INSTRUMENT_OF[made.instrument],
        answers=[assessment_pb2.Answer(item=item, value=value) for item, value in sorted(made.answers.items())],
        score=assessment_pb2.Score(
            total=made.score.total,
            band=_BAND[made.score.band],
            missing=made.score.missing,
            rule=made.score.rule,
        ),
        answered_at=to_proto(made.answered_at),
    )


def risk_flag(flag: RiskFlag) -> risk_flag_pb2.RiskFlag:
    return risk_flag_pb2.RiskFlag(
        id=str(flag.id),
        patient_id=str(flag.patient_id),
        referral_id=str(flag.referral_id),
        urgency=_URGENCY[flag.urgency],
        raised_at=to_proto(flag.raised_at),
        acknowledged_at=to_proto(flag.acknowledged_at),
        acknowledged_by=flag.acknowledged_by or "",
        paged_at=to_proto(flag.paged_at),
    )


def referral_received(received: Referral) -> events_pb2.ReferralReceived:
    return events_pb2.ReferralReceived(
        referral_id=str(received.id),
        patient_id=str(received.patient.id),
        received_at=to_proto(received.received_at),
    )


def assessment_completed(made: Assessment, at: datetime) -> events_pb2.AssessmentCompleted:
    return events_pb2.AssessmentCompleted(
        assessment_id=str(made.id), referral_id=str(made.referral_id), completed_at=to_proto(at)
    )


def risk_raised(flag: RiskFlag) -> events_pb2.RiskFlagged | events_pb2.RiskReviewRequested:
    event = events_pb2.RiskFlagged if flag.urgency is Urgency.PAGE else events_pb2.RiskReviewRequested
    return event(risk_flag_id=str(flag.id), patient_id=str(flag.patient_id), raised_at=to_proto(flag.raised_at))


def acknowledgement(event: Event) -> tuple[UUID, str, datetime]:
    """Which flag, by whom, when."""
    message = event.message
    assert isinstance(message, notification_events_pb2.EscalationAcknowledged)
    return (
        UUID(message.risk_flag_id),
        message.acknowledged_by,
        from_proto(message.acknowledged_at, field="acknowledged_at"),
    )


def level(wanted: level_of_care_pb2.LevelOfCare) -> LevelOfCare:
    return _LEVEL_OF[wanted]


def decision(made: Decision) -> level_of_care_pb2.LevelOfCareDecision:
    return level_of_care_pb2.LevelOfCareDecision(
        id=str(made.id),
        referral_id=str(made.referral_id),
        patient_id=str(made.patient_id),
        level=f"LEVEL_OF_CARE_{made.level.name}",
        rationale=made.rationale,
        decided_by=made.decided_by,
        decided_at=to_proto(made.decided_at),
    )


def level_of_care_decided(made: Decision) -> events_pb2.LevelOfCareDecided:
    return events_pb2.LevelOfCareDecided(
        decision_id=str(made.id),
        referral_id=str(made.referral_id),
        patient_id=str(made.patient_id),
        decided_at=to_proto(made.decided_at),
    )


def availability(dayparts: Iterable[track_pb2.Daypart]) -> tuple[Daypart, ...]:
    return tuple(_DAYPART_OF[daypart] for daypart in dayparts)


def admission(made: Admission) -> admission_pb2.Admission:
    return admission_pb2.Admission(
        id=str(made.id),
        patient_id=str(made.patient_id),
        referral_id=str(made.referral_id),
        availability=[f"DAYPART_{daypart.name}" for daypart in made.availability],
        admitted_at=to_proto(made.admitted_at),
    )


def patient_admitted(made: Admission) -> events_pb2.PatientAdmitted:
    return events_pb2.PatientAdmitted(
        admission_id=str(made.id), patient_id=str(made.patient_id), admitted_at=to_proto(made.admitted_at)
    )


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
        family_member=_relative(member.person),
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


def escalation(flag: RiskFlag, label: Label, *, request_id: UUID) -> escalation_service_pb2.RaiseEscalationRequest:
    return escalation_service_pb2.RaiseEscalationRequest(
        request_id=str(request_id),
        risk_flag_id=str(flag.id),
        patient_id=str(flag.patient_id),
        referral_id=str(flag.referral_id),
        label=_LABEL[label],
    )


def paged_at(answer: escalation_service_pb2.RaiseEscalationResponse) -> datetime | None:
    """When a channel took a page, if one has by now."""
    raised = answer.escalation
    return from_proto(raised.paged_at, field="paged_at") if raised.HasField("paged_at") else None
