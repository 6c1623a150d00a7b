"""What care does when it hears of something."""

from stepway.scheduling.v1.events_pb2 import EnrollmentConfirmed
from stepway_care import domain, store, wire
from stepway_chassis import labels, outbox
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
        )
    ]


async def draft_plan(tx: Tx, event: Event, _: None) -> None:
    """Open a plan for somebody who has a seat."""
    enrollment_id, patient_id, seated_at = wire.seated(event)
    tx.concerns(patient_id)
    plan = domain.draft(
        id=uuid7(tx.now),
        patient_id=patient_id,
        enrollment_id=enrollment_id,
        seated_at=seated_at,
        due=domain.plan_due(tx.site.settings),
        now=tx.now,
    )
    await labels.keep(tx, patient_id, event.label)
    if await store.add_plan(tx, plan):
        await outbox.append(tx, wire.plan_drafted(plan), label=await labels.of(tx, patient_id))
