"""Hand-offs in contracts: started, tried, confirmed, ended."""

from datetime import datetime

from stepway.intake.v1 import events_pb2, hand_off_pb2, hand_off_service_pb2
from stepway_chassis.times import from_proto, to_proto
from stepway_intake.domain.hand_offs import Attempt, AttemptOutcome, End, HandOff, Provider, Status
from stepway_intake.wire.levels_of_care import level_name

_OUTCOME_OF = {hand_off_pb2.AttemptOutcome.Value(f"ATTEMPT_OUTCOME_{each.name}"): each for each in AttemptOutcome}
_END_OF = {hand_off_pb2.HandOffEnd.Value(f"HAND_OFF_END_{each.name}"): each for each in End}


def outcome(told: hand_off_pb2.AttemptOutcome) -> AttemptOutcome:
    return _OUTCOME_OF[told]


def end(told: hand_off_pb2.HandOffEnd) -> End:
    return _END_OF[told]


def provider(told: hand_off_pb2.ReceivingProvider) -> Provider:
    return Provider(told.name, told.phone, told.email)


def appointment_at(request: hand_off_service_pb2.ConfirmHandOffRequest) -> datetime | None:
    """Raises InvalidInput (TIME_OUT_OF_RANGE)."""
    field = "appointment_at"
    return from_proto(request.appointment_at, field=field) if request.HasField(field) else None


def due_before(request: hand_off_service_pb2.ListHandOffsRequest) -> datetime | None:
    """Raises InvalidInput (TIME_OUT_OF_RANGE)."""
    field = "due_before"
    return from_proto(request.due_before, field=field) if request.HasField(field) else None


def hand_off(found: HandOff) -> hand_off_pb2.HandOff:
    return hand_off_pb2.HandOff(
        id=str(found.id),
        referral_id=str(found.referral_id),
        patient_id=str(found.patient_id),
        level=level_name(found.level),
        provider=hand_off_pb2.ReceivingProvider(
            name=found.provider_name, phone=found.provider_phone, email=found.provider_email
        ),
        note=found.note,
        status=f"HAND_OFF_STATUS_{found.status.name}",
        due_at=to_proto(found.due_at),
        started_by=found.started_by,
        started_at=to_proto(found.started_at),
        attempts=found.attempts,
        last_attempt_at=to_proto(found.last_attempt_at),
        closed_at=to_proto(found.closed_at),
        closed_by=found.closed_by or "",
        confirmed_with=found.confirmed_with or "",
        appointment_at=to_proto(found.appointment_at),
        end=f"HAND_OFF_END_{found.end_reason.name if found.end_reason else 'UNSPECIFIED'}",
        end_text=found.end_text or "",
    )


def attempt(made: Attempt) -> hand_off_pb2.HandOffAttempt:
    return hand_off_pb2.HandOffAttempt(
        id=str(made.id),
        outcome=f"ATTEMPT_OUTCOME_{made.outcome.name}",
        note=made.note,
        made_by=made.made_by,
        made_at=to_proto(made.made_at),
    )


def hand_off_started(started: HandOff) -> events_pb2.HandOffStarted:
    return events_pb2.HandOffStarted(
        hand_off_id=str(started.id),
        referral_id=str(started.referral_id),
        patient_id=str(started.patient_id),
        started_at=to_proto(started.started_at),
    )


def hand_off_closed(closed: HandOff) -> events_pb2.HandOffConfirmed | events_pb2.HandOffEnded:
    """Confirmed or ended, as it was."""
    ids = {
        "hand_off_id": str(closed.id),
        "referral_id": str(closed.referral_id),
        "patient_id": str(closed.patient_id),
    }
    if closed.status is Status.CONFIRMED:
        return events_pb2.HandOffConfirmed(**ids, confirmed_at=to_proto(closed.closed_at))
    return events_pb2.HandOffEnded(**ids, ended_at=to_proto(closed.closed_at))
