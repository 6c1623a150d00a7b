"""Between the contracts of intake and its domain."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from stepway.intake.v1 import (
    assessment_pb2,
    assessment_service_pb2,
    events_pb2,
    referral_pb2,
    referral_service_pb2,
    risk_flag_pb2,
)
from stepway.notifications.v1 import events_pb2 as notification_events_pb2
from stepway_chassis.errors import InvalidInput
from stepway_chassis.events import Event
from stepway_chassis.times import from_proto, to_proto
from stepway_intake.domain import (
    Assessment,
    ContactPoint,
    Label,
    Patient,
    Person,
    Referral,
    RelatedPerson,
    RiskFlag,
    Status,
    Urgency,
)
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
}
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
        related_people=tuple(_related(related) for related in request.related_people),
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


def _related(related: referral_pb2.RelatedPerson) -> RelatedPerson:
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
        related_people=[
            referral_pb2.RelatedPerson(
                given_name=related.given_name,
                family_name=related.family_name,
                relationship=related.relationship,
                contact_points=contact_points(related.contact_points),
            )
            for related in found.related_people
        ],
        reason=found.reason,
        received_at=to_proto(found.received_at),
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
