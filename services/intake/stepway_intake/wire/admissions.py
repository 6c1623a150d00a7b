"""Admissions in contracts, with scheduling's word for a part of the week."""

from collections.abc import Iterable

from stepway.intake.v1 import admission_pb2, events_pb2
from stepway.scheduling.v1 import track_pb2
from stepway_chassis.times import to_proto
from stepway_intake.domain.admissions import Admission, Daypart

_DAYPART_OF = {track_pb2.Daypart.Value(f"DAYPART_{daypart.name}"): daypart for daypart in Daypart}


def availability(dayparts: Iterable[track_pb2.Daypart]) -> tuple[Daypart, ...]:
    return tuple(_DAYPART_OF[daypart] for daypart in dayparts)


def admission(made: Admission) -> admission_pb2.Admission:
    return admission_pb2.Admission(
        id=str(made.id),
        patient_id=str(made.patient_id),
        referral_id=str(made.referral_id),
        availability=[f"DAYPART_{daypart.name}" for daypart in made.availability],
        admitted_at=to_proto(made.admitted_at),
    )


def patient_admitted(made: Admission) -> events_pb2.PatientAdmitted:
    return events_pb2.PatientAdmitted(
        admission_id=str(made.id), patient_id=str(made.patient_id), admitted_at=to_proto(made.admitted_at)
    )
