"""Between the contracts of scheduling, and of what it hears and asks, and its domain."""

from datetime import datetime
from uuid import UUID

from stepway.intake.v1 import admission_pb2
from stepway.intake.v1 import events_pb2 as intake_events_pb2
from stepway.scheduling.v1 import enrollment_pb2, events_pb2, track_pb2, track_service_pb2
from stepway_chassis.events import Event
from stepway_chassis.times import from_proto, to_proto
from stepway_scheduling.domain import Admission, Daypart, Enrollment, Status, Track

_DAYPART = {
    Daypart.MORNING: track_pb2.DAYPART_MORNING,
    Daypart.AFTERNOON: track_pb2.DAYPART_AFTERNOON,
    Daypart.EVENING: track_pb2.DAYPART_EVENING,
    Daypart.WEEKEND: track_pb2.DAYPART_WEEKEND,
}
_DAYPART_OF = {value: daypart for daypart, value in _DAYPART.items()}
_STATUS = {
    Status.WAITLISTED: enrollment_pb2.ENROLLMENT_STATUS_WAITLISTED,
    Status.CONFIRMED: enrollment_pb2.ENROLLMENT_STATUS_CONFIRMED,
    Status.ENDED: enrollment_pb2.ENROLLMENT_STATUS_ENDED,
}
_STATUS_OF = {value: status for status, value in _STATUS.items()}


def new_track(request: track_service_pb2.CreateTrackRequest, *, id: UUID) -> Track:
    return Track(id, request.name, _DAYPART_OF[request.daypart], request.seats)


def track(opened: Track) -> track_pb2.Track:
    return track_pb2.Track(
        id=str(opened.id),
        name=opened.name,
        daypart=_DAYPART[opened.daypart],
        seats=opened.seats,
        seats_taken=opened.seats_taken,
    )


def status(wanted: enrollment_pb2.EnrollmentStatus) -> Status | None:
    """None for any."""
    return _STATUS_OF.get(wanted)


def enrollment(found: Enrollment) -> enrollment_pb2.Enrollment:
    return enrollment_pb2.Enrollment(
        id=str(found.id),
        admission_id=str(found.admission_id),
        patient_id=str(found.patient_id),
        status=_STATUS[found.status],
        track_id=str(found.track_id or ""),
        admitted_at=to_proto(found.admitted_at),
        confirmed_at=to_proto(found.confirmed_at),
        ended_at=to_proto(found.ended_at),
    )


def admission_id(event: Event) -> UUID:
    """Which admission has begun or ended."""
    message = event.message
    assert isinstance(message, intake_events_pb2.PatientAdmitted | intake_events_pb2.AdmissionEnded)
    return UUID(message.admission_id)


def labelled(event: Event) -> UUID:
    """Whose record is more confidential than before."""
    assert isinstance(event.message, intake_events_pb2.PatientLabelRaised)
    return UUID(event.message.patient_id)


def merged(event: Event) -> tuple[UUID, UUID]:
    """Whose records went, and into whose."""
    message = event.message
    assert isinstance(message, intake_events_pb2.PatientMerged)
    return UUID(message.merged_patient_id), UUID(message.patient_id)


def admission(found: admission_pb2.Admission) -> Admission:
    return Admission(
        id=UUID(found.id),
        patient_id=UUID(found.patient_id),
        availability=tuple(_DAYPART_OF[daypart] for daypart in found.availability),
        admitted_at=from_proto(found.admitted_at, field="admitted_at"),
    )


def enrollment_confirmed(seated: Enrollment) -> events_pb2.EnrollmentConfirmed:
    return events_pb2.EnrollmentConfirmed(
        enrollment_id=str(seated.id), patient_id=str(seated.patient_id), confirmed_at=to_proto(seated.confirmed_at)
    )


def enrollment_waitlisted(queued: Enrollment, at: datetime) -> events_pb2.EnrollmentWaitlisted:
    return events_pb2.EnrollmentWaitlisted(
        enrollment_id=str(queued.id), patient_id=str(queued.patient_id), waitlisted_at=to_proto(at)
    )


def enrollment_ended(ended: Enrollment) -> events_pb2.EnrollmentEnded:
    return events_pb2.EnrollmentEnded(
        enrollment_id=str(ended.id), patient_id=str(ended.patient_id), ended_at=to_proto(ended.ended_at)
    )
