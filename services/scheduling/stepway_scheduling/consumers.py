"""What scheduling does when it hears of something."""

from dataclasses import replace
from functools import partial
from typing import Any

from stepway.intake.v1.admission_service_pb2 import GetAdmissionRequest
from stepway.intake.v1.events_pb2 import AdmissionEnded, PatientAdmitted, PatientLabelRaised, PatientMerged
from stepway_chassis import labels, merges
from stepway_chassis.deliveries import Handler
from stepway_chassis.events import Event
from stepway_chassis.ids import uuid7
from stepway_chassis.rpc.client import Peers
from stepway_chassis.transaction import Tx
from stepway_scheduling import domain, seating, store, wire
from stepway_scheduling.domain import Admission, Enrollment


def handlers(peers: Peers) -> list[Handler[Any]]:
    return [
        Handler(
            name="seat_patient",
            event=PatientAdmitted,
            fetch=partial(fetch_admission, peers),
            apply=seat_patient,
            commutative="adds one enrolment per admission; who comes first takes the seat, how many sit is the same",
        ),
        Handler(
            name="free_seat",
            event=AdmissionEnded,
            fetch=partial(fetch_admission, peers),
            apply=free_seat,
            commutative="ends the one enrolment of an admission, which whoever hears of the admission first adds",
        ),
        Handler(
            name="follow_seated_patient",
            event=PatientMerged,
            apply=follow_patient,
            commutative="keeps who has become whom; what comes later for the former is the latter's as well",
        ),
        Handler(
            name="label_seated_patient",
            event=PatientLabelRaised,
            apply=raise_label,
            commutative="keeps the highest label that was heard of",
        ),
    ]


async def fetch_admission(peers: Peers, event: Event) -> Admission:
    request = GetAdmissionRequest(admission_id=str(wire.admission_id(event)))
    answer = await peers.call("stepway.intake.v1.AdmissionService/GetAdmission", request, site=event.site)
    return wire.admission(answer.admission)


async def seat_patient(tx: Tx, event: Event, admission: Admission) -> None:
    """Give a seat to somebody who was admitted, or a place in the line."""
    await seating.enrol(tx, await _queued(tx, event, admission))


async def free_seat(tx: Tx, event: Event, admission: Admission) -> None:
    """The seat of somebody who has left, or was handed over to another site, goes to the first in line."""
    await seating.leave(tx, await _queued(tx, event, admission))


async def _queued(tx: Tx, event: Event, admission: Admission) -> Enrollment:
    patient_id = await labels.keep(tx, admission.patient_id, event.label)
    tx.concerns(patient_id)
    return domain.queue(replace(admission, patient_id=patient_id), id=uuid7(tx.now))


async def raise_label(tx: Tx, event: Event, _: None) -> None:
    """Whatever is announced about this patient from now on is as confidential as that."""
    tx.concerns(await labels.keep(tx, wire.labelled(event), event.label))


async def follow_patient(tx: Tx, event: Event, _: None) -> None:
    """The seats and places in the line of somebody who is another patient by now."""
    gone, into = wire.merged(event)
    kept = await merges.merge(tx, gone, into, at=event.time)
    tx.concerns(gone, kept)
    await labels.keep(tx, kept, event.label)
    await store.hold_line(tx)
    await store.move_enrollments(tx, gone, kept)
