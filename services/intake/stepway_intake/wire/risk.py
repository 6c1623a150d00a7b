"""Risk flags in contracts: intake's own, and those of the escalations that they cause."""

from datetime import datetime
from uuid import UUID

from stepway.intake.v1 import events_pb2, risk_flag_pb2
from stepway.notifications.v1 import escalation_service_pb2
from stepway.notifications.v1 import events_pb2 as notification_events_pb2
from stepway_chassis.events import Event
from stepway_chassis.times import from_proto, to_proto
from stepway_intake.domain.people import Label
from stepway_intake.domain.risk import RiskFlag, Urgency
from stepway_intake.wire import people

_URGENCY = {
    Urgency.PAGE: risk_flag_pb2.RISK_URGENCY_PAGE,
    Urgency.REVIEW: risk_flag_pb2.RISK_URGENCY_REVIEW,
}


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


def escalation(flag: RiskFlag, label: Label, *, request_id: UUID) -> escalation_service_pb2.RaiseEscalationRequest:
    return escalation_service_pb2.RaiseEscalationRequest(
        request_id=str(request_id),
        risk_flag_id=str(flag.id),
        patient_id=str(flag.patient_id),
        referral_id=str(flag.referral_id),
        label=people.label(label),
    )


def paged_at(answer: escalation_service_pb2.RaiseEscalationResponse) -> datetime | None:
    """When a channel took a page, if one has by now."""
    raised = answer.escalation
    return from_proto(raised.paged_at, field="paged_at") if raised.HasField("paged_at") else None
