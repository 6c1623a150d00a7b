"""Between the contracts of notifications, and of what it hears and asks, and its domain."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from stepway.family.v1 import events_pb2 as family_events_pb2
from stepway.intake.v1 import consent_pb2, consent_service_pb2, person_pb2, referral_pb2, referral_service_pb2
from stepway.intake.v1 import events_pb2 as intake_events_pb2
from stepway.notifications.v1 import escalation_pb2, events_pb2, message_pb2
from stepway.privacy.v1 import label_pb2
from stepway.scheduling.v1 import enrollment_pb2
from stepway.scheduling.v1 import events_pb2 as scheduling_events_pb2
from stepway_chassis.events import Event
from stepway_chassis.times import from_proto, to_proto
from stepway_notifications.domain.escalations import Escalation, Taken
from stepway_notifications.domain.messages import Channel, Contact, Message, Status
from stepway_notifications.domain.words import Template

_CHANNEL = {
    Channel.SMS: message_pb2.CHANNEL_SMS,
    Channel.EMAIL: message_pb2.CHANNEL_EMAIL,
}
_TEMPLATE = {
    Template.REFERRAL_RECEIVED: message_pb2.TEMPLATE_REFERRAL_RECEIVED,
    Template.ENROLLMENT_CONFIRMED: message_pb2.TEMPLATE_ENROLLMENT_CONFIRMED,
    Template.ENROLLMENT_WAITLISTED: message_pb2.TEMPLATE_ENROLLMENT_WAITLISTED,
    Template.FAMILY_INVITATION: message_pb2.TEMPLATE_FAMILY_INVITATION,
    Template.ESCALATION_PAGE: message_pb2.TEMPLATE_ESCALATION_PAGE,
}
_TOLD = {
    enrollment_pb2.ENROLLMENT_STATUS_CONFIRMED: Template.ENROLLMENT_CONFIRMED,
    enrollment_pb2.ENROLLMENT_STATUS_WAITLISTED: Template.ENROLLMENT_WAITLISTED,
}
_STATUS = {
    Status.QUEUED: message_pb2.MESSAGE_STATUS_QUEUED,
    Status.DELIVERED: message_pb2.MESSAGE_STATUS_DELIVERED,
    Status.FAILED: message_pb2.MESSAGE_STATUS_FAILED,
    Status.WITHHELD: message_pb2.MESSAGE_STATUS_WITHHELD,
    Status.EXPIRED: message_pb2.MESSAGE_STATUS_EXPIRED,
}


def message(each: Message) -> message_pb2.Message:
    return message_pb2.Message(
        id=str(each.id),
        patient_id=str(each.patient_id),
        channel=_CHANNEL[each.channel],
        template=_TEMPLATE[each.template],
        status=_STATUS[each.status],
        body=each.body,
        release_at=to_proto(each.release_at),
        delivered_at=to_proto(each.delivered_at),
        family_member_id=str(each.family_member_id or ""),
    )


def escalation(raised: Escalation) -> escalation_pb2.Escalation:
    return escalation_pb2.Escalation(
        id=str(raised.id),
        risk_flag_id=str(raised.risk_flag_id),
        patient_id=str(raised.patient_id),
        clinicians=raised.clinicians,
        raised_at=to_proto(raised.raised_at),
        acknowledged_at=to_proto(raised.acknowledged_at),
        acknowledged_by=raised.acknowledged_by or "",
        paged_at=to_proto(raised.paged_at),
    )


def contacts(points: Iterable[referral_pb2.ContactPoint]) -> list[Contact]:
    return [
        Contact(Channel.SMS, point.phone) if point.HasField("phone") else Contact(Channel.EMAIL, point.email)
        for point in points
    ]


def contact_question(patient_id: UUID) -> referral_service_pb2.GetPatientContactRequest:
    return referral_service_pb2.GetPatientContactRequest(patient_id=str(patient_id))


def told(enrollment: enrollment_pb2.Enrollment) -> Template | None:
    """What a patient is told of an enrolment as it stands; nothing of one that has ended."""
    return _TOLD.get(enrollment.status)


def label(sent: label_pb2.Label) -> str:
    return "general" if sent == label_pb2.LABEL_GENERAL else "part2"


def referred_patient(event: Event) -> UUID:
    assert isinstance(event.message, intake_events_pb2.ReferralReceived)
    return UUID(event.message.patient_id)


def labelled(event: Event) -> UUID:
    """Whose record is more confidential than before."""
    assert isinstance(event.message, intake_events_pb2.PatientLabelRaised)
    return UUID(event.message.patient_id)


def updated(event: Event) -> tuple[UUID, bool]:
    """About whom more is known, and whether they are reached elsewhere than before."""
    message = event.message
    assert isinstance(message, intake_events_pb2.PatientUpdated)
    return UUID(message.patient_id), person_pb2.PERSON_FACT_CONTACT_POINTS in message.facts


def merged(event: Event) -> tuple[UUID, UUID]:
    """Whose records went, and into whose."""
    message = event.message
    assert isinstance(message, intake_events_pb2.PatientMerged)
    return UUID(message.merged_patient_id), UUID(message.patient_id)


def risk(event: Event) -> tuple[UUID, UUID]:
    """Which flag, of which patient."""
    assert isinstance(event.message, intake_events_pb2.RiskFlagged)
    return UUID(event.message.risk_flag_id), UUID(event.message.patient_id)


def taken(event: Event) -> tuple[Taken, UUID]:
    """Who has taken which flag, of which patient."""
    message = event.message
    assert isinstance(message, intake_events_pb2.RiskFlagAcknowledged)
    at = from_proto(message.acknowledged_at, field="acknowledged_at")
    return Taken(UUID(message.risk_flag_id), message.acknowledged_by, at), UUID(message.patient_id)


def enrolled(event: Event) -> tuple[UUID, UUID]:
    """Which enrolment, of which patient."""
    message = event.message
    assert isinstance(message, scheduling_events_pb2.EnrollmentConfirmed | scheduling_events_pb2.EnrollmentWaitlisted)
    return UUID(message.enrollment_id), UUID(message.patient_id)


def invited(event: Event) -> tuple[UUID, UUID, datetime]:
    """Whom, because of which patient, and when it begins."""
    message = event.message
    assert isinstance(message, family_events_pb2.FamilyMemberInvited)
    starts_at = from_proto(message.starts_at, field="starts_at")
    return UUID(message.family_member_id), UUID(message.patient_id), starts_at


def consent_ended(event: Event) -> tuple[UUID, UUID | None]:
    """Of which patient, for which family member, if it was for one."""
    message: Any = event.message
    member = UUID(message.family_member_id) if message.family_member_id else None
    return UUID(message.patient_id), member


def escalation_advanced(climbed: Escalation, at: datetime) -> events_pb2.EscalationAdvanced:
    return events_pb2.EscalationAdvanced(
        escalation_id=str(climbed.id),
        risk_flag_id=str(climbed.risk_flag_id),
        pages=climbed.pages,
        advanced_at=to_proto(at),
    )


def escalation_raised(raised: Escalation) -> events_pb2.EscalationRaised:
    return events_pb2.EscalationRaised(
        escalation_id=str(raised.id),
        risk_flag_id=str(raised.risk_flag_id),
        raised_at=to_proto(raised.raised_at),
    )


def escalation_acknowledged(taken: Escalation) -> events_pb2.EscalationAcknowledged:
    return events_pb2.EscalationAcknowledged(
        escalation_id=str(taken.id),
        risk_flag_id=str(taken.risk_flag_id),
        acknowledged_by=taken.acknowledged_by,
        acknowledged_at=to_proto(taken.acknowledged_at),
    )


def message_delivered(each: Message) -> events_pb2.MessageDelivered:
    return events_pb2.MessageDelivered(message_id=str(each.id), delivered_at=to_proto(each.delivered_at))


def message_failed(each: Message, at: datetime) -> events_pb2.MessageFailed:
    return events_pb2.MessageFailed(message_id=str(each.id), failed_at=to_proto(at))


def schedule_questions(pairs: Iterable[tuple[UUID, UUID | None]]) -> consent_service_pb2.CheckConsentsRequest:
    """May each (patient, family member) pair be told when something is?"""
    questions = [
        consent_service_pb2.ConsentQuestion(
            patient_id=str(patient), family_member_id=str(member), category=consent_pb2.CONSENT_CATEGORY_SCHEDULE
        )
        for patient, member in pairs
    ]
    return consent_service_pb2.CheckConsentsRequest(questions=questions)


def consent_answers(answer: consent_service_pb2.CheckConsentsResponse) -> tuple[list[bool], timedelta]:
    """Yes or no to each question, and for how long a yes may be used."""
    granted = [each.finding == consent_pb2.CONSENT_FINDING_GRANTED for each in answer.answers]
    return granted, answer.use_within.ToTimedelta()
