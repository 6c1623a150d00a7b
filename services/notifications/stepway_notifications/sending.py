"""The loop that hands messages over: claim, ask once more whether it may go, hand over, write down what came of it."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial

from stepway_chassis import labels, outbox
from stepway_chassis.database import Contended, Database
from stepway_chassis.errors import PeerFailed, Refusal
from stepway_chassis.logs import log
from stepway_chassis.loops import Loop
from stepway_chassis.rpc.client import Peers
from stepway_chassis.telemetry import Telemetry
from stepway_chassis.transaction import Tx
from stepway_notifications import consents, contacts, store, wire
from stepway_notifications.channels.channel import Busy, Leave, MessageChannel, Outgoing, Refused
from stepway_notifications.domain import messages
from stepway_notifications.domain.messages import USE_WITHIN, Channel, Contact, Message, Status
from stepway_notifications.domain.policy import SitePolicy, policy_of
from stepway_notifications.store import Due

LOOP, PAGES_LOOP = "sending", "paging"
BATCH = 20
SHARE_OF_LEASE = 2 / 3  # a hand-over ends before its claim does


class Withheld(Exception):
    """Nobody may send this message any more."""


def loop_of(message: Message) -> str:
    """Pages have a loop of their own: a risk never waits behind a slow channel full of other messages."""
    return PAGES_LOOP if message.urgent else LOOP


def sending(
    database: Database,
    peers: Peers,
    telemetry: Telemetry,
    now: Callable[[], datetime],
    channels: Mapping[Channel, MessageChannel],
    lease: timedelta,
    *,
    urgent: bool,
) -> Loop:
    """A process that dies between hand-over and writing it down hands over again, under the same message id."""
    loop = PAGES_LOOP if urgent else LOOP

    async def round(site: str) -> datetime | None:
        async with database.transaction(site, loop) as tx:
            policy = policy_of(tx.site.settings, tx.site.zone)
            due = await store.claim_due(tx, BATCH, lease, urgent=urgent)
            cleared = [each for each in due if await _cleared(tx, each, policy)]
        await asyncio.gather(*(hand_over(site, policy, each) for each in cleared))
        async with database.transaction(site, loop) as tx:
            return await store.next_due(tx, urgent=urgent)

    async def hand_over(site: str, policy: SitePolicy, due: Due) -> None:
        message, created_at = due.message, due.message.created_at
        outgoing = Outgoing(message.id, site, policy.short_name, policy.email, message.address, message.body)
        with telemetry.follow(f"hand over {message.channel}", due.trace_context, created_at, now()):
            try:
                async with asyncio.timeout(lease.total_seconds() * SHARE_OF_LEASE):
                    await channels[message.channel].hand_over(outgoing, partial(ask, site, message))
                outcome = messages.delivered(message, at=now())
            except Exception as error:
                outcome = _outcome(site, message, error, at=now())
            await end(site, due, outcome)

    async def ask(site: str, message: Message) -> Leave:
        """To nobody who wants none, and to nobody else than it is for. Raises Withheld, or Refusal."""
        if message.urgent:
            return Leave(math.inf)
        until = time.monotonic() + USE_WITHIN.total_seconds()
        async with database.transaction(site, loop) as tx:
            if await store.is_stopped(tx, message):
                raise Withheld
        return Leave(min(until, await _goes_until(peers, site, message)))

    async def end(site: str, due: Due, outcome: Message) -> None:
        async with database.transaction(site, f"{loop}/{outcome.status}") as tx:
            await _record(tx, due, outcome)

    return Loop(loop, round)


async def _goes_until(peers: Peers, site: str, message: Message) -> float:
    """To a patient where they are reached by now, to a family only while a consent covers it. Raises Withheld."""
    if message.family_member_id:
        answers = await consents.may_know_schedule(peers, [(message.patient_id, message.family_member_id)], site=site)
        goes, until = all(answers.granted), answers.until
    else:
        reached_at = await contacts.of_patient(peers, message.patient_id, site=site)
        goes, until = Contact(message.channel, message.address) in reached_at, math.inf
    if not goes:
        raise Withheld
    return until


async def _cleared(tx: Tx, due: Due, policy: SitePolicy) -> bool:
    decided = messages.before_hand_over(due.message, policy, stopped=due.stopped, now=tx.now)
    if decided is due.message:
        return True
    if decided.status is not Status.QUEUED:
        tx.concerns(decided.patient_id)
    await store.save_claimed(tx, decided)
    return False


def _outcome(site: str, message: Message, error: Exception, *, at: datetime) -> Message:
    """What becomes of a message that was not handed over."""
    match error:
        case Withheld():
            return messages.withheld(message)
        case Refused():
            return messages.refused(message, at=at)
        case Busy() | TimeoutError() | Refusal() | PeerFailed() | Contended():
            return messages.postponed(message, at=at)
    log.error("message.failed", site=site, channel=message.channel.value, exc_info=error)
    return messages.postponed(message, at=at)


async def _record(tx: Tx, due: Due, outcome: Message) -> None:
    tx.correlation, tx.causation = due.correlation, due.causation
    if not await store.save_claimed(tx, outcome):
        return
    if outcome.status is not Status.QUEUED:
        tx.concerns(outcome.patient_id)
    label = await labels.of(tx, outcome.patient_id)
    if outcome.status is Status.DELIVERED:
        if outcome.escalation_id:
            await store.note_paged(tx, outcome.escalation_id, outcome.delivered_at)
        outbox.append(tx, wire.message_delivered(outcome), label=label)
    elif outcome.status is Status.FAILED:
        outbox.append(tx, wire.message_failed(outcome, tx.now), label=label)
