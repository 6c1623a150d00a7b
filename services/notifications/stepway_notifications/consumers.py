"""What notifications does when it hears of something."""

from functools import partial
from typing import Any

from stepway.intake.v1.events_pb2 import ReferralReceived, RiskFlagged
from stepway.intake.v1.referral_service_pb2 import GetPatientContactRequest
from stepway_chassis import loops, outbox
from stepway_chassis.deliveries import Handler
from stepway_chassis.events import Event
from stepway_chassis.ids import uuid7
from stepway_chassis.rpc.client import Peers
from stepway_chassis.transaction import Tx
from stepway_notifications import domain, store, wire
from stepway_notifications.domain import Contact
from stepway_notifications.sending import loop_of


def handlers(peers: Peers) -> list[Handler[Any]]:
    return [
        Handler(
            name="welcome_patient",
            event=ReferralReceived,
            fetch=partial(fetch_contacts, peers),
            apply=welcome_patient,
            commutative="adds messages under its own event, and the highest label is kept",
        ),
        Handler(
            name="page_clinician",
            event=RiskFlagged,
            apply=page_clinician,
            commutative="adds one escalation per risk flag, and the highest label is kept",
        ),
    ]


async def fetch_contacts(peers: Peers, event: Event) -> list[Contact]:
    request = GetPatientContactRequest(patient_id=str(wire.referred_patient(event)))
    rpc = "stepway.intake.v1.ReferralService/GetPatientContact"
    return wire.contacts(await peers.call(rpc, request, site=event.site))


async def welcome_patient(tx: Tx, event: Event, contacts: list[Contact]) -> None:
    """Tell somebody who was referred that the site will call."""
    patient_id = wire.referred_patient(event)
    tx.concerns(patient_id)
    policy = domain.policy_of(tx.site.settings, tx.site.zone)
    messages = domain.welcome(
        policy,
        contacts,
        patient_id=patient_id,
        referred_at=event.time,
        new_id=partial(uuid7, tx.now),
        now=tx.now,
    )
    await store.know_patient(tx, patient_id, event.label)
    await store.add_messages(tx, messages, event.context)
    for message in messages:
        await loops.wake(tx, loop_of(message), message.next_attempt_at)


async def page_clinician(tx: Tx, event: Event, _: None) -> None:
    """Page whoever is on call about a sign of danger."""
    risk_flag_id, patient_id = wire.risk(event)
    tx.concerns(patient_id)
    policy = domain.policy_of(tx.site.settings, tx.site.zone)
    escalation, page = domain.escalate(
        policy, risk_flag_id=risk_flag_id, patient_id=patient_id, new_id=partial(uuid7, tx.now), now=tx.now
    )
    await store.know_patient(tx, patient_id, event.label)
    if await store.add_escalation(tx, escalation):
        await store.add_messages(tx, [page], event.context)
        await loops.wake(tx, loop_of(page), page.next_attempt_at)
        await outbox.append(tx, wire.escalation_raised(escalation), label=event.label)
