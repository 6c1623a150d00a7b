"""What family does when it hears of something: it writes down the fact, and the loop draws the conclusion."""

from stepway.intake.v1.events_pb2 import (
    ConsentExpired,
    ConsentGranted,
    ConsentRevoked,
    ConsentSuperseded,
    PatientAdmitted,
    PatientLabelRaised,
    PatientMerged,
)
from stepway_chassis import labels, loops, merges
from stepway_chassis.deliveries import Handler
from stepway_chassis.events import Event
from stepway_chassis.transaction import Tx
from stepway_family import store, wire
from stepway_family.inviting import LOOP

_ENDED = "writes that a consent has ended, whether or not the grant was heard of"


def handlers() -> list[Handler[None]]:
    return [
        Handler(
            name="note_consent",
            event=ConsentGranted,
            apply=note_consent,
            commutative="writes what a grant says of its consent, beside what its end says of it",
        ),
        *(
            Handler(name=name, event=event, apply=end_consent, commutative=_ENDED)
            for name, event in (
                ("end_consent", ConsentRevoked),
                ("expire_consent", ConsentExpired),
                ("replace_consent", ConsentSuperseded),
            )
        ),
        Handler(
            name="note_admission",
            event=PatientAdmitted,
            apply=note_admission,
            commutative="keeps the earliest admission of a patient, and the highest label",
        ),
        Handler(
            name="follow_linked_patient",
            event=PatientMerged,
            apply=follow_patient,
            commutative="keeps who has become whom; what comes later for the former is the latter's as well",
        ),
        Handler(
            name="label_linked_patient",
            event=PatientLabelRaised,
            apply=raise_label,
            commutative="keeps the highest label that was heard of",
        ),
    ]


async def note_consent(tx: Tx, event: Event, _: None) -> None:
    """Somebody may be told something about a patient."""
    consent_id, patient_id, family_member_id = wire.consent(event)
    patient_id = await labels.keep(tx, patient_id, event.label)
    tx.concerns(patient_id)
    if family_member_id is None:
        return
    await store.keep_grant(tx, consent_id, patient_id, family_member_id, wire.origin(event))
    await loops.wake(tx, LOOP, tx.now)


async def end_consent(tx: Tx, event: Event, _: None) -> None:
    """It has ended already, since each use asks intake; nobody needs to ask about it any more."""
    consent_id, patient_id, family_member_id = wire.consent(event)
    patient_id = await labels.keep(tx, patient_id, event.label)
    tx.concerns(patient_id)
    if family_member_id is None:
        return
    await store.keep_end(tx, consent_id, patient_id, family_member_id, wire.origin(event))


async def note_admission(tx: Tx, event: Event, _: None) -> None:
    """A patient is in the programme, so that there is something for the family to come to."""
    patient_id = wire.admitted_patient(event)
    patient_id = await labels.keep(tx, patient_id, event.label)
    tx.concerns(patient_id)
    await store.keep_admission(tx, patient_id, wire.origin(event))
    await loops.wake(tx, LOOP, tx.now)


async def raise_label(tx: Tx, event: Event, _: None) -> None:
    """Whatever is announced about this patient from now on is as confidential as that."""
    tx.concerns(await labels.keep(tx, wire.labelled(event), event.label))


async def follow_patient(tx: Tx, event: Event, _: None) -> None:
    """The family of somebody who is another patient by now, and who may be in the programme by that."""
    gone, into = wire.merged(event)
    kept = await merges.merge(tx, gone, into, at=event.time)
    tx.concerns(gone, kept)
    await labels.keep(tx, kept, event.label)
    await store.move_patient(tx, gone, kept)
    await loops.wake(tx, LOOP, tx.now)
