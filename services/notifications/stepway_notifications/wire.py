"""Between the contracts of notifications, and of what it hears and asks, and its domain."""

from datetime import datetime
from uuid import UUID

from stepway.intake.v1 import events_pb2 as intake_events_pb2
from stepway.intake.v1 import referral_service_pb2
from stepway.notifications.v1 import escalation_pb2, events_pb2, message_pb2
from stepway_chassis.events import Event
from stepway_chassis.times import to_proto
from stepway_notifications.domain import Channel, Contact, Escalation, Message, Status, Template

_CHANNEL = {
    Channel.SMS: message_pb2.CHANNEL_SMS,
    Channel.EMAIL: message_pb2.CHANNEL_EMAIL,
}
_TEMPLATE = {
    Template.REFERRAL_RECEIVED: message_pb2.TEMPLATE_REFERRAL_RECEIVED,
    Template.ESCALATION_PAGE: message_pb2.TEMPLATE_ESCALATION_PAGE,
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
    )


def escalation(raised: Escalation) -> escalation_pb2.Escalation:
    return escalation_pb2.Escalation(
        id=str(raised.id),
        risk_flag_id=str(raised.risk_flag_id),
        patient_id=str(raised.patient_id),
        clinician=raised.clinician,
        raised_at=to_proto(raised.raised_at),
        acknowledged_at=to_proto(raised.acknowledged_at),
        acknowledged_by=raised.acknowledged_by or "",
    )


def contacts(answer: referral_service_pb2.GetPatientContactResponse) -> list[Contact]:
    return [
        Contact(Channel.SMS, point.phone) if point.HasField("phone") else Contact(Channel.EMAIL, point.email)
        for point in answer.contact_points
    ]


def referred_patient(event: Event) -> UUID:
    assert isinstance(event.message, intake_events_pb2.ReferralReceived)
    return UUID(event.message.patient_id)


def risk(event: Event) -> tuple[UUID, UUID]:
    """Which flag, of which patient."""
    assert isinstance(event.message, intake_events_pb2.RiskFlagged)
    return UUID(event.message.risk_flag_id), UUID(event.message.patient_id)


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
