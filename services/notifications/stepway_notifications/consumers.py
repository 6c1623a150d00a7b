"""What notifications does when it hears of something."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from stepway.family.v1.events_pb2 import FamilyMemberInvited
from stepway.intake.v1.consent_pb2 import CONSENT_CATEGORY_SCHEDULE
from stepway.intake.v1.consent_service_pb2 import GetFamilyMemberContactRequest
from stepway.intake.v1.events_pb2 import (
    ConsentExpired,
    ConsentRevoked,
    ConsentSuperseded,
    PatientLabelRaised,
    PatientMerged,
    PatientUpdated,
    ReferralReceived,
    RiskFlagAcknowledged,
    RiskFlagged,
)
from stepway.scheduling.v1.enrollment_service_pb2 import GetEnrollmentRequest
from stepway.scheduling.v1.events_pb2 import EnrollmentConfirmed, EnrollmentWaitlisted
from stepway_chassis import labels, loops, merges
from stepway_chassis.deliveries import Handler
from stepway_chassis.events import Event
from stepway_chassis.ids import uuid7
from stepway_chassis.rpc.client import Peers
from stepway_chassis.transaction import Tx
from stepway_notifications import consents, contacts, escalating, store, wire
from stepway_notifications.consents import Answers
from stepway_notifications.domain import messages, words
from stepway_notifications.domain.messages import NEWS_USEFUL, Contact, Message
from stepway_notifications.domain.policy import policy_of
from stepway_notifications.domain.words import Template
from stepway_notifications.sending import loop_of

_FAMILY_MEMBER = "stepway.intake.v1.ConsentService/GetFamilyMemberContact"
_ENROLLMENT = "stepway.scheduling.v1.EnrollmentService/GetEnrollment"
_UNCOVERED = "a hint: withholds what intake says no consent covers; what is added later is asked about then"
_ELSEWHERE = "a hint: withholds what waits for an address that intake does not name; later ones are asked about then"
Standing = tuple[Template | None, list[Contact]]


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
            commutative="adds one escalation per risk flag, taken if the flag is, and the highest label is kept",
        ),
        Handler(
            name="rest_clinician",
            event=RiskFlagAcknowledged,
            apply=rest_clinician,
            commutative="keeps who has taken a flag; a page that is heard of later is taken from the first",
        ),
        Handler(
            name="confirm_enrollment",
            event=EnrollmentConfirmed,
            fetch=partial(fetch_standing, peers),
            apply=partial(tell_patient, Template.ENROLLMENT_CONFIRMED),
            commutative="a hint: scheduling says how things stand, and messages are added under the event",
        ),
        Handler(
            name="explain_waitlist",
            event=EnrollmentWaitlisted,
            fetch=partial(fetch_standing, peers),
            apply=partial(tell_patient, Template.ENROLLMENT_WAITLISTED),
            commutative="a hint: scheduling says how things stand, and whoever has a seat by now is not told to wait",
        ),
        Handler(
            name="invite_family_member",
            event=FamilyMemberInvited,
            fetch=partial(fetch_family_contacts, peers),
            apply=invite_family_member,
            commutative="adds messages under its own event; each is asked about again before it goes",
        ),
        *(
            Handler(
                name=name,
                event=event,
                fetch=partial(fetch_consent, peers),
                apply=withhold_messages,
                commutative=_UNCOVERED,
            )
            for name, event in (
                ("withhold_messages", ConsentRevoked),
                ("withhold_expired", ConsentExpired),
                ("withhold_superseded", ConsentSuperseded),
            )
        ),
        Handler(
            name="leave_former_addresses",
            event=PatientUpdated,
            fetch=partial(fetch_addresses, peers),
            apply=leave_former_addresses,
            commutative=_ELSEWHERE,
        ),
        Handler(
            name="follow_messaged_patient",
            event=PatientMerged,
            apply=follow_patient,
            commutative="keeps who has become whom; what comes later for the former is the latter's as well",
        ),
        Handler(
            name="label_messaged_patient",
            event=PatientLabelRaised,
            apply=raise_label,
            commutative="keeps the highest label that was heard of",
        ),
    ]


async def fetch_contacts(peers: Peers, event: Event) -> list[Contact]:
    return await contacts.of_patient(peers, wire.referred_patient(event), site=event.site)


async def welcome_patient(tx: Tx, event: Event, reached_at: list[Contact]) -> None:
    """Tell somebody who was referred that the site will call."""
    await _write_to_patient(tx, event, Template.REFERRAL_RECEIVED, wire.referred_patient(event), reached_at)


async def fetch_standing(peers: Peers, event: Event) -> Standing:
    """What a patient may be told of their enrolment by now, and how they can be reached."""
    enrollment_id, patient_id = wire.enrolled(event)
    request = GetEnrollmentRequest(enrollment_id=str(enrollment_id))
    answer = await peers.call(_ENROLLMENT, request, site=event.site)
    return wire.told(answer.enrollment), await contacts.of_patient(peers, patient_id, site=event.site)


async def tell_patient(template: Template, tx: Tx, event: Event, standing: Standing) -> None:
    """Tell somebody that they have a seat, or wait for one, if that is still so."""
    true_by_now, contacts = standing
    _, patient_id = wire.enrolled(event)
    await _write_to_patient(tx, event, template, patient_id, contacts if true_by_now is template else [])


async def _write_to_patient(
    tx: Tx, event: Event, template: Template, patient_id: UUID, contacts: list[Contact]
) -> None:
    patient_id = await labels.keep(tx, patient_id, event.label)
    tx.concerns(patient_id)
    await store.know_patient(tx, patient_id)
    written = messages.compose(
        policy_of(tx.site.settings, tx.site.zone),
        template,
        contacts,
        patient_id=patient_id,
        expires_at=event.time + NEWS_USEFUL,
        new_id=partial(uuid7, tx.now),
        now=tx.now,
    )
    await _queue(tx, event, written)


async def _queue(tx: Tx, event: Event, written: Sequence[Message]) -> None:
    await store.add_messages(tx, written, event.context)
    for message in written:
        await loops.wake(tx, loop_of(message), message.next_attempt_at)


async def page_clinician(tx: Tx, event: Event, _: None) -> None:
    """Page whoever is on call about a sign of danger, unless intake has asked for it already."""
    risk_flag_id, patient_id = wire.risk(event)
    await escalating.raise_once(tx, risk_flag_id, patient_id, label=event.label, trace_context=event.context)


async def rest_clinician(tx: Tx, event: Event, _: None) -> None:
    """Page nobody any more about a sign of danger that somebody has taken without having been asked by a page."""
    taken, patient_id = wire.taken(event)
    tx.concerns(await labels.keep(tx, patient_id, event.label))
    await escalating.rest(tx, taken)


async def fetch_family_contacts(peers: Peers, event: Event) -> list[Contact]:
    """Nothing when no consent covers it any more."""
    member_id, _, _ = wire.invited(event)
    request = GetFamilyMemberContactRequest(family_member_id=str(member_id), category=CONSENT_CATEGORY_SCHEDULE)
    return wire.contacts((await peers.call(_FAMILY_MEMBER, request, site=event.site)).contact_points)


async def invite_family_member(tx: Tx, event: Event, contacts: list[Contact]) -> None:
    """Tell a family member when they are expected."""
    member_id, patient_id, starts_at = wire.invited(event)
    patient_id = await labels.keep(tx, patient_id, event.label)
    tx.concerns(patient_id)
    await store.know_patient(tx, patient_id)
    await store.know_family_member(tx, member_id, patient_id)
    policy = policy_of(tx.site.settings, tx.site.zone)
    written = messages.compose(
        policy,
        Template.FAMILY_INVITATION,
        contacts,
        patient_id=patient_id,
        family_member_id=member_id,
        expires_at=starts_at,
        when=words.told_time(starts_at, policy.zone),
        new_id=partial(uuid7, tx.now),
        now=tx.now,
    )
    await _queue(tx, event, written)


async def fetch_consent(peers: Peers, event: Event) -> Answers:
    patient_id, member_id = wire.consent_ended(event)
    return await consents.may_know_schedule(peers, [(patient_id, member_id)] if member_id else [], site=event.site)


async def withhold_messages(tx: Tx, event: Event, answers: Answers) -> None:
    """Tidy up at once what would be withheld when its time comes, unless another consent still covers it."""
    patient_id, member_id = wire.consent_ended(event)
    patient_id = await labels.keep(tx, patient_id, event.label)
    tx.concerns(patient_id)
    if member_id and not all(answers.granted):
        await store.withhold_from_family_member(tx, member_id)


async def fetch_addresses(peers: Peers, event: Event) -> list[Contact] | None:
    """Nothing of somebody who is reached as before."""
    patient_id, elsewhere = wire.updated(event)
    return await contacts.of_patient(peers, patient_id, site=event.site) if elsewhere else None


async def leave_former_addresses(tx: Tx, event: Event, reached_at: list[Contact] | None) -> None:
    """Tidy up at once what would be withheld when its time comes: somebody else may have that telephone."""
    patient_id, _ = wire.updated(event)
    patient_id = await labels.keep(tx, patient_id, event.label)
    tx.concerns(patient_id)
    if reached_at is not None:
        await store.withhold_from_former_addresses(tx, patient_id, reached_at)


async def raise_label(tx: Tx, event: Event, _: None) -> None:
    """Whatever is announced about this patient from now on is as confidential as that."""
    tx.concerns(await labels.keep(tx, wire.labelled(event), event.label))


async def follow_patient(tx: Tx, event: Event, _: None) -> None:
    """The messages and pages about somebody who is another patient by now."""
    gone, into = wire.merged(event)
    kept = await merges.merge(tx, gone, into, at=event.time)
    tx.concerns(gone, kept)
    await labels.keep(tx, kept, event.label)
    await store.move_patient(tx, gone, kept)
