"""Referrals in contracts."""

from datetime import datetime
from uuid import UUID

from stepway.intake.v1 import events_pb2, referral_pb2, referral_service_pb2
from stepway_chassis.times import to_proto
from stepway_intake.domain.people import Label, Patient
from stepway_intake.domain.referrals import Referral, Status
from stepway_intake.wire.people import new_person, new_related_person, person, related_person

_STATUS = {
    Status.RECEIVED: referral_pb2.REFERRAL_STATUS_RECEIVED,
    Status.SCREENING: referral_pb2.REFERRAL_STATUS_SCREENING,
    Status.DECIDED: referral_pb2.REFERRAL_STATUS_DECIDED,
    Status.ADMITTED: referral_pb2.REFERRAL_STATUS_ADMITTED,
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
        patient=Patient(patient_id, new_person(request.person), label),
        status=Status.RECEIVED,
        related_people=tuple(new_related_person(related) for related in request.related_people),
        reason=request.reason,
        received_at=at,
    )


def referral(found: Referral) -> referral_pb2.Referral:
    return referral_pb2.Referral(
        id=str(found.id),
        patient_id=str(found.patient.id),
        status=_STATUS[found.status],
        person=person(found.patient.person),
        related_people=[related_person(related) for related in found.related_people],
        reason=found.reason,
        received_at=to_proto(found.received_at),
    )


def referral_received(received: Referral) -> events_pb2.ReferralReceived:
    return events_pb2.ReferralReceived(
        referral_id=str(received.id),
        patient_id=str(received.patient.id),
        received_at=to_proto(received.received_at),
    )
