"""Risk flags in contracts: intake's own, and those of the escalations that they cause."""

from datetime import datetime
from uuid import UUID

from stepway.intake.v1 import events_pb2, risk_flag_pb2, risk_service_pb2
from stepway.notifications.v1 import escalation_service_pb2
from stepway.notifications.v1 import events_pb2 as notification_events_pb2
from stepway_chassis.events import Event
from stepway_chassis.times import from_proto, to_proto
from stepway_intake.domain.people import Label
from stepway_intake.domain.risk import Acknowledged, Disposed, Disposition, RiskFlag, Urgency
from stepway_intake.wire import people

_URGENCY = {
    Urgency.PAGE: risk_flag_pb2.RISK_URGENCY_PAGE,
    Urgency.REVIEW: risk_flag_pb2.RISK_URGENCY_REVIEW,
}
_DISPOSITION_OF = {
    risk_flag_pb2.RiskDisposition.Value(f"RISK_DISPOSITION_{each.name}"): each
    for each in Disposition
    if each is not Disposition.PENDING
}


def due_before(request: risk_service_pb2.ListRiskFlagsRequest) -> datetime | None:
    """Raises InvalidInput (TIME_OUT_OF_RANGE)."""
    return from_proto(request.due_before, field="due_before") if request.HasField("due_before") else None


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
        level=f"RISK_LEVEL_{flag.risk.name}",
        assessment_id=str(flag.assessment_id or ""),
        due_at=to_proto(flag.due_at),
        disposition=_disposition(flag.disposition),
        disposition_note=flag.disposition_note,
        disposed_by=flag.disposed_by or "",
        disposed_at=to_proto(flag.disposed_at),
        fallback_at=to_proto(flag.fallback_at),
    )


def _disposition(known: Disposition) -> str:
    return f"RISK_DISPOSITION_{'UNSPECIFIED' if known is Disposition.PENDING else known.name}"


def disposition(recorded: risk_flag_pb2.RiskDisposition) -> Disposition:
    return _DISPOSITION_OF[recorded]


def risk_raised(flag: RiskFlag) -> events_pb2.RiskFlagged | events_pb2.RiskReviewRequested:
    event = events_pb2.RiskFlagged if flag.urgency is Urgency.PAGE else events_pb2.RiskReviewRequested
    return event(risk_flag_id=str(flag.id), patient_id=str(flag.patient_id), raised_at=to_proto(flag.raised_at))


def risk_flag_acknowledged(taken: Acknowledged) -> events_pb2.RiskFlagAcknowledged:
    return events_pb2.RiskFlagAcknowledged(
        risk_flag_id=str(taken.flag_id),
        patient_id=str(taken.patient_id),
        acknowledged_at=to_proto(taken.at),
        acknowledged_by=taken.by,
    )


def risk_disposition_recorded(disposed: Disposed) -> events_pb2.RiskDispositionRecorded:
    return events_pb2.RiskDispositionRecorded(
        risk_flag_id=str(disposed.flag_id), patient_id=str(disposed.patient_id), recorded_at=to_proto(disposed.at)
    )


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
