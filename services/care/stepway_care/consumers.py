"""What care does when it hears of something."""

from stepway.intake.v1.events_pb2 import PatientLabelRaised, PatientMerged
from stepway.scheduling.v1.events_pb2 import EnrollmentConfirmed
from stepway_care import domain, store, wire
from stepway_chassis import labels, merges, outbox
from stepway_chassis.deliveries import Handler
from stepway_chassis.events import Event
from stepway_chassis.ids import uuid7
from stepway_chassis.transaction import Tx


def handlers() -> list[Handler[None]]:
    return [
        Handler(
            name="draft_plan",
            event=EnrollmentConfirmed,
            apply=draft_plan,
            commutative="adds one plan per enrolment, and the highest label is kept",
        ),
        Handler(
            name="follow_planned_patient",
            event=PatientMerged,
            apply=follow_patient,
            commutative="keeps who has become whom; what comes later for the former is the latter's as well",
        ),
        Handler(
            name="label_planned_patient",
            event=PatientLabelRaised,
            apply=raise_label,
            commutative="keeps the highest label that was heard of",
        ),
    ]


async def draft_plan(tx: Tx, event: Event, _: None) -> None:
    """Open a plan for somebody who has a seat."""
    enrollment_id, patient_id, seated_at = wire.seated(event)
    patient_id = await labels.keep(tx, patient_id, event.label)
    tx.concerns(patient_id)
    plan = domain.draft(
        id=uuid7(tx.now),
        patient_id=patient_id,
        enrollment_id=enrollment_id,
        seated_at=seated_at,
        due=domain.plan_due(tx.site.settings),
        now=tx.now,
    )
    if await store.add_plan(tx, plan):
        outbox.append(tx, wire.plan_drafted(plan), label=await labels.of(tx, patient_id))


async def raise_label(tx: Tx, event: Event, _: None) -> None:
    """Whatever is announced about this patient from now on is as confidential as that."""
    tx.concerns(await labels.keep(tx, wire.labelled(event), event.label))


async def follow_patient(tx: Tx, event: Event, _: None) -> None:
    """The plans of somebody who is another patient by now."""
    gone, into = wire.merged(event)
    kept = await merges.merge(tx, gone, into, at=event.time)
    tx.concerns(gone, kept)
    await labels.keep(tx, kept, event.label)
    await store.move_plans(tx, gone, kept)
