"""How a sign of danger becomes a page, once, and the loop that pages the next on the ladder."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from uuid import UUID

from stepway_chassis import labels, loops, outbox
from stepway_chassis.database import Database
from stepway_chassis.ids import uuid7
from stepway_chassis.loops import Loop
from stepway_chassis.telemetry import Telemetry
from stepway_chassis.transaction import Tx
from stepway_notifications import store, wire
from stepway_notifications.domain import escalations
from stepway_notifications.domain.escalations import Escalation, Taken
from stepway_notifications.domain.messages import Message
from stepway_notifications.domain.policy import policy_of
from stepway_notifications.sending import loop_of

LOOP = "escalating"


async def raise_once(
    tx: Tx, risk_flag_id: UUID, patient_id: UUID, *, label: str, trace_context: Mapping[str, str]
) -> None:
    """The first word about a flag, an event or a call, pages the first on the ladder; every other finds it done."""
    patient_id = await labels.keep(tx, patient_id, label)
    tx.concerns(patient_id)
    policy = policy_of(tx.site.settings, tx.site.zone)
    escalation, page = escalations.begin(
        policy, risk_flag_id=risk_flag_id, patient_id=patient_id, new_id=partial(uuid7, tx.now), now=tx.now
    )
    await store.know_patient(tx, patient_id)
    await store.hold_flag(tx, risk_flag_id)
    if await store.add_escalation(tx, escalation, trace_context):
        await _send(tx, page, escalation.next_page_at, trace_context)
        label = await labels.of(tx, patient_id)
        outbox.append(tx, wire.escalation_raised(escalation), label=label)
        if taken := await store.find_taken(tx, risk_flag_id):
            await end(tx, escalation, by=taken.taken_by, at=taken.taken_at)


async def rest(tx: Tx, taken: Taken) -> None:
    """Nobody is paged any more about a flag that was taken, whichever is heard of first."""
    await store.hold_flag(tx, taken.id)
    await store.keep_taken(tx, taken)
    escalation = await store.lock_escalation_about(tx, taken.id)
    if escalation is not None and escalation.acknowledged_at is None:
        await end(tx, escalation, by=taken.taken_by, at=taken.taken_at)


async def end(tx: Tx, escalation: Escalation, *, by: str, at: datetime) -> Escalation:
    """Somebody has taken it. Raises Conflict (ESCALATION_ALREADY_ACKNOWLEDGED)."""
    ended = escalations.acknowledge(escalation, by=by, at=at)
    await store.save_escalation(tx, ended)
    await store.call_off_pages(tx, ended.id)
    label = await labels.of(tx, ended.patient_id)
    outbox.append(tx, wire.escalation_acknowledged(ended), label=label)
    return ended


async def _send(tx: Tx, page: Message, next_page_at: datetime | None, trace_context: Mapping[str, str]) -> None:
    await store.add_messages(tx, [page], trace_context)
    await loops.wake(tx, loop_of(page), page.next_attempt_at)
    if next_page_at is not None:
        await loops.wake(tx, LOOP, next_page_at)


def escalating(database: Database, telemetry: Telemetry, now: Callable[[], datetime]) -> Loop:
    """Whoever acknowledges first stops the climb: both lock the escalation."""

    async def round(site: str) -> datetime | None:
        async with database.transaction(site, LOOP) as tx:
            unanswered = await store.unanswered(tx)
        for id, trace_context, raised_at in unanswered:
            with telemetry.follow("page again", trace_context, raised_at, now()):
                async with database.transaction(site, LOOP) as tx:
                    await _climb(tx, id, trace_context)
        async with database.transaction(site, LOOP) as tx:
            return await store.next_page(tx)

    return Loop(LOOP, round)


async def _climb(tx: Tx, id: UUID, trace_context: Mapping[str, str]) -> None:
    escalation, tx.correlation = await store.lock_escalation(tx, id)
    if escalation.next_page_at is None or escalation.next_page_at > tx.now:
        return
    tx.concerns(escalation.patient_id)
    policy = policy_of(tx.site.settings, tx.site.zone)
    climbed, page = escalations.climb(policy, escalation, id=uuid7(tx.now), now=tx.now)
    await store.save_escalation(tx, climbed)
    await _send(tx, page, climbed.next_page_at, trace_context)
    label = await labels.of(tx, climbed.patient_id)
    outbox.append(tx, wire.escalation_advanced(climbed, tx.now), label=label)
