"""The loop that ends consents which have run out: by their date, or since whoever signed has no authority any more."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from stepway_chassis import loops, outbox
from stepway_chassis.database import Database
from stepway_chassis.loops import Loop
from stepway_chassis.transaction import Tx
from stepway_intake.domain import consents
from stepway_intake.domain.consents import Consent, Expiry
from stepway_intake.store import consents as store
from stepway_intake.store.people import find_patient
from stepway_intake.store.referrals import first_referral
from stepway_intake.wire import consents as wire

LOOP = "expiring"
MOST = 100


def expiring(database: Database) -> Loop:
    """Nothing rests on it: whoever asks about a consent that has run out hears no, whether or not it has come by."""

    async def round(site: str) -> datetime | None:
        async with database.transaction(site, LOOP) as tx:
            due = await store.due_consents(tx, MOST)
        for consent in due:
            await look_at(site, consent)
        async with database.transaction(site, LOOP) as tx:
            return await store.next_due(tx)

    async def look_at(site: str, id: UUID) -> None:
        async with database.transaction(site, LOOP) as tx:
            consent, subject = await store.lock_consent(tx, id)
            tx.concerns(consent.patient_id)
            await save(tx, [consent], [consents.expire(consent, subject, now=tx.now)])

    return Loop(LOOP, round)


async def end_with(tx: Tx, patient_id: UUID, event: Expiry, *, happened_at: datetime, recipient: str = "") -> None:
    """What a patient has consented to until this event is over, for everybody or for one recipient."""
    found = [consent for consent, _ in await store.lock_ending_with(tx, patient_id, event, recipient=recipient)]
    after = [consents.expire_with(each, event, happened_at=happened_at, now=tx.now) for each in found]
    await save(tx, found, after)


async def look_when_due(tx: Tx, patient_id: UUID) -> None:
    """More is known of a patient: what they have consented to may run out at another time than before."""
    for consent, subject in await store.lock_standing(tx, patient_id):
        due_at = consents.next_look(consent, subject)
        await store.save_consent(tx, replace(consent, due_at=due_at))
        if due_at is not None:
            await loops.wake(tx, LOOP, due_at)


async def save(tx: Tx, before: list[Consent], after: list[Consent]) -> None:
    for was, now in zip(before, after, strict=True):
        if now != was:
            await store.save_consent(tx, now)
    if events := wire.consents_expired(before, after):
        patient = await find_patient(tx, after[0].patient_id)
        tx.correlation = tx.correlation or await first_referral(tx, patient.id)
        outbox.append(tx, *events, label=patient.label)
