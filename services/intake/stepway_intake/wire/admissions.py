"""Admissions in contracts, with scheduling's word for a part of the week and what it says of a seat."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from google.protobuf.message import Message

from stepway.intake.v1 import admission_pb2, admission_service_pb2, events_pb2
from stepway.privacy.v1 import label_pb2
from stepway.scheduling.v1 import enrollment_pb2, track_pb2
from stepway_chassis.events import Event
from stepway_chassis.times import from_proto, to_proto
from stepway_intake.domain.admissions import (
    Admission,
    Authorization,
    AvailableTime,
    Course,
    Daypart,
    Ending,
    Population,
    Prescription,
    Seat,
    Status,
)
from stepway_intake.domain.people import Label
from stepway_intake.wire.people import label as label_word

_DAYPART_OF = {track_pb2.Daypart.Value(f"DAYPART_{daypart.name}"): daypart for daypart in Daypart}
_POPULATION = {
    each: "COURSE_POPULATION_UNSPECIFIED" if each is Population.UNSTATED else f"COURSE_POPULATION_{each.name}"
    for each in Population
}
_POPULATION_OF = {admission_pb2.CoursePopulation.Value(word): each for each, word in _POPULATION.items()}
_STATUS_OF = {
    enrollment_pb2.ENROLLMENT_STATUS_WAITLISTED: Status.WAITLISTED,
    enrollment_pb2.ENROLLMENT_STATUS_CONFIRMED: Status.ENROLLED,
    enrollment_pb2.ENROLLMENT_STATUS_ENDED: Status.ENDED,
}


def availability(dayparts: Iterable[track_pb2.Daypart]) -> tuple[Daypart, ...]:
    return tuple(_DAYPART_OF[daypart] for daypart in dayparts)


def dayparts(known: Iterable[Daypart]) -> list[str]:
    return [f"DAYPART_{daypart.name}" for daypart in known]


def asked_label(asked: label_pb2.Label) -> Label:
    return Label.PART2 if asked == label_pb2.LABEL_PART2 else Label.GENERAL


def new_course(told: admission_pb2.Course) -> Course:
    agreed = told.authorization
    return Course(
        population=_POPULATION_OF[told.population],
        weekly_hours=told.weekly_hours,
        start_earliest=told.start_earliest,
        start_latest=told.start_latest,
        available_times=tuple(
            AvailableTime(each.weekday, each.from_minute, each.until_minute) for each in told.available_times
        ),
        modalities=tuple(Prescription(each.modality, each.minutes_a_week) for each in told.modalities),
        authorization=Authorization(agreed.payer_reference, agreed.units, agreed.first_day, agreed.last_day)
        if told.HasField("authorization")
        else None,
    )


def course(agreed: Course) -> admission_pb2.Course:
    told = admission_pb2.Course(
        population=_POPULATION[agreed.population],
        weekly_hours=agreed.weekly_hours,
        start_earliest=agreed.start_earliest,
        start_latest=agreed.start_latest,
        available_times=[
            {"weekday": each.weekday, "from_minute": each.from_minute, "until_minute": each.until_minute}
            for each in agreed.available_times
        ],
        modalities=[{"modality": each.modality, "minutes_a_week": each.minutes_a_week} for each in agreed.modalities],
    )
    if agreed.authorization:
        told.authorization.CopyFrom(_authorization(agreed.authorization))
    return told


def _authorization(agreed: Authorization) -> admission_pb2.PayerAuthorization:
    return admission_pb2.PayerAuthorization(
        payer_reference=agreed.payer_reference,
        units=agreed.units,
        first_day=agreed.first_day,
        last_day=agreed.last_day,
    )


def new_admission(
    request: admission_service_pb2.AdmitPatientRequest, agreed: Course, *, id: UUID, patient_id: UUID, at: datetime
) -> Admission:
    return Admission(id, UUID(request.referral_id), patient_id, availability(request.availability), at, agreed)


def admission(made: Admission, label: Label) -> admission_pb2.Admission:
    return admission_pb2.Admission(
        id=str(made.id),
        patient_id=str(made.patient_id),
        referral_id=str(made.referral_id),
        availability=dayparts(made.availability),
        admitted_at=to_proto(made.admitted_at),
        course=course(made.course),
        label=label_word(label),
        status=f"ADMISSION_STATUS_{made.status.name}",
        enrollment_id=str(made.enrollment_id or ""),
        enrolled_at=to_proto(made.enrolled_at),
        ended_at=to_proto(made.ended_at),
        ending="ADMISSION_ENDING_UNSPECIFIED" if made.ending is Ending.NONE else f"ADMISSION_ENDING_{made.ending.name}",
        earlier_admission_id=str(made.earlier_admission_id or ""),
        transfer_id=str(made.transfer_id or ""),
    )


def patient_admitted(made: Admission) -> events_pb2.PatientAdmitted:
    return events_pb2.PatientAdmitted(**_about(made), admitted_at=to_proto(made.admitted_at))


def followed(before: Admission, after: Admission, *, at: datetime) -> list[Message]:
    """What is announced when an admission has got further: once, or nothing if it has not."""
    if after.status is before.status:
        return []
    if after.status is Status.WAITLISTED:
        return [events_pb2.AdmissionWaitlisted(**_about(after), waitlisted_at=to_proto(at))]
    if after.status is Status.ENROLLED:
        return [events_pb2.AdmissionEnrolled(**_about(after), enrolled_at=to_proto(after.enrolled_at))]
    return [events_pb2.AdmissionEnded(**_about(after), ended_at=to_proto(after.ended_at))]


def _about(made: Admission) -> dict[str, str]:
    return {"admission_id": str(made.id), "patient_id": str(made.patient_id)}


def seated(event: Event) -> UUID:
    """Whose enrolment it is about: the id at scheduling."""
    message: Any = event.message
    return UUID(message.enrollment_id)


def seat(found: enrollment_pb2.Enrollment) -> Seat:
    return Seat(
        enrollment_id=UUID(found.id),
        admission_id=UUID(found.admission_id),
        status=_STATUS_OF[found.status],
        enrolled_at=_time(found, "confirmed_at"),
        ended_at=_time(found, "ended_at"),
    )


def _time(found: enrollment_pb2.Enrollment, name: str) -> datetime | None:
    return from_proto(getattr(found, name), field=name) if found.HasField(name) else None
