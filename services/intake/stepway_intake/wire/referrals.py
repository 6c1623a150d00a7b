"""Referrals in contracts."""

from datetime import datetime
from uuid import UUID

from stepway.intake.v1 import events_pb2, referral_pb2, referral_service_pb2
from stepway_chassis.times import duration, from_proto, to_proto
from stepway_intake.domain.people import Label, Patient
from stepway_intake.domain.referrals import Moved, Referral, Source, Status, Times, Waits
from stepway_intake.wire.people import new_person, new_related_person, person, related_person

_STATUS_OF = {referral_pb2.ReferralStatus.Value(f"REFERRAL_STATUS_{status.name}"): status for status in Status}
_SOURCE_OF = {referral_pb2.ReferralSource.Value(f"REFERRAL_SOURCE_{source.name}"): source for source in Source}


def new_referral(
    request: referral_service_pb2.ReceiveReferralRequest, *, id: UUID, patient_id: UUID, label: Label, at: datetime
) -> Referral:
    return Referral(
        id=id,
        patient=Patient(patient_id, new_person(request.person), label),
        status=Status.RECEIVED,
        related_people=tuple(new_related_person(related) for related in request.related_people),
        reason=request.reason,
        received_at=at,
        source=_SOURCE_OF.get(request.source),
        sender=request.sender,
    )


def further_referral(
    request: referral_service_pb2.ReferAgainRequest, patient: Patient, *, id: UUID, at: datetime
) -> Referral:
    return Referral(
        id=id,
        patient=patient,
        status=Status.RECEIVED,
        related_people=(),
        reason=request.reason,
        received_at=at,
        source=_SOURCE_OF.get(request.source),
        sender=request.sender,
    )


def status(wanted: referral_pb2.ReferralStatus) -> Status:
    return _STATUS_OF[wanted]


def due_before(request: referral_service_pb2.ListWorkRequest) -> datetime | None:
    """Raises InvalidInput (TIME_OUT_OF_RANGE)."""
    return from_proto(request.due_before, field="due_before") if request.HasField("due_before") else None


def period(request: referral_service_pb2.GetIntakeTimesRequest) -> tuple[datetime, datetime]:
    """Raises InvalidInput (TIME_OUT_OF_RANGE)."""
    return from_proto(getattr(request, "from"), field="from"), from_proto(request.until, field="until")


def referral(found: Referral, *, flag_open_since: datetime | None = None) -> referral_pb2.Referral:
    return referral_pb2.Referral(
        id=str(found.id),
        patient_id=str(found.patient.id),
        status=f"REFERRAL_STATUS_{found.status.name}",
        person=person(found.patient.person),
        related_people=[related_person(related) for related in found.related_people],
        reason=found.reason,
        received_at=to_proto(found.received_at),
        source=f"REFERRAL_SOURCE_{found.source.name}" if found.source else None,
        sender=found.sender,
        owner=found.owner,
        next_action=f"REFERRAL_ACTION_{found.next_action.name}" if found.next_action else None,
        due_at=to_proto(found.due_at),
        attempts=found.attempts,
        contacted_at=to_proto(found.contacted_at),
        admitted_at=to_proto(found.admitted_at),
        time_to_first_contact=duration(found.time_to_first_contact),
        time_to_admission=duration(found.time_to_admission),
        closing_reason=found.closing_reason,
        flag_open_since=to_proto(flag_open_since),
    )


def own_referral(found: Referral) -> referral_pb2.Referral:
    """As the person reads it whom it is about: without what others have said, and without who they are."""
    told = referral(found)
    for said in ("related_people", "reason", "sender", "closing_reason"):
        told.ClearField(said)
    return told


def intake_times(found: Times) -> referral_service_pb2.GetIntakeTimesResponse:
    return referral_service_pb2.GetIntakeTimesResponse(
        referrals=found.referrals, first_contact=_waits(found.first_contact), admission=_waits(found.admission)
    )


def _waits(found: Waits) -> referral_service_pb2.Waits:
    return referral_service_pb2.Waits(
        count=found.count, median=duration(found.median), percentile_90=duration(found.percentile_90)
    )


def referral_moved(moved: Moved) -> events_pb2.ReferralMoved:
    return events_pb2.ReferralMoved(
        referral_id=str(moved.referral_id),
        patient_id=str(moved.patient_id),
        status=f"REFERRAL_STATUS_{moved.status.name}",
        moved_at=to_proto(moved.at),
    )


def referral_received(received: Referral) -> events_pb2.ReferralReceived:
    return events_pb2.ReferralReceived(
        referral_id=str(received.id),
        patient_id=str(received.patient.id),
        received_at=to_proto(received.received_at),
    )
