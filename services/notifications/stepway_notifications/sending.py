"""The loop that hands messages over: claim, ask once more whether it may go, hand over, write down what came of it."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from stepway_chassis import labels, outbox
from stepway_chassis.database import Database
from stepway_chassis.errors import PeerFailed, Refusal
from stepway_chassis.logs import log
from stepway_chassis.loops import Loop
from stepway_chassis.rpc.client import Peers
from stepway_chassis.telemetry import Telemetry
from stepway_chassis.transaction import Tx
from stepway_notifications import consents, store, wire
from stepway_notifications.channels.channel import Busy, MessageChannel, Outgoing, Refused
from stepway_notifications.consents import Answers
from stepway_notifications.domain import messages
from stepway_notifications.domain.messages import Channel, Message, Status
from stepway_notifications.domain.policy import SitePolicy, policy_of
from stepway_notifications.store import Due

LOOP, PAGES_LOOP = "sending", "paging"
BATCH = 20
SHARE_OF_LEASE = 2 / 3  # a hand-over ends before its claim does


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
        to_families = [each for each in cleared if each.message.family_member_id]
        others = [each for each in cleared if not each.message.family_member_id]
        await asyncio.gather(*(hand_over(site, policy, each) for each in others), ask(site, policy, to_families))
        async with database.transaction(site, loop) as tx:
            return await store.next_due(tx, urgent=urgent)

    async def ask(site: str, policy: SitePolicy, to_families: list[Due]) -> None:
        """What goes to a family goes only while a consent covers it; without an answer it waits."""
        pairs = [(due.message.patient_id, due.message.family_member_id) for due in to_families]
        try:
            answers = await consents.may_know_schedule(peers, pairs, site=site)
        except (Refusal, PeerFailed):
            await asyncio.gather(*(end(site, due, messages.postponed(due.message, at=now())) for due in to_families))
            return
        await asyncio.gather(
            *(
                hand_over(site, policy, due, answers) if granted else end(site, due, messages.withheld(due.message))
                for due, granted in zip(to_families, answers.granted, strict=True)
            )
        )

    async def hand_over(site: str, policy: SitePolicy, due: Due, answers: Answers | None = None) -> None:
        with telemetry.follow(f"hand over {due.message.channel}", due.trace_context, due.message.created_at, now()):
            try:
                async with asyncio.timeout(lease.total_seconds() * SHARE_OF_LEASE):
                    outcome = await _handed_over(channels, site, policy, due.message, now, answers)
            except TimeoutError:
                outcome = messages.postponed(due.message, at=now())
            await end(site, due, outcome)

    async def end(site: str, due: Due, outcome: Message) -> None:
        async with database.transaction(site, f"{loop}/{outcome.status}") as tx:
            await _record(tx, due, outcome)

    return Loop(loop, round)


async def _cleared(tx: Tx, due: Due, policy: SitePolicy) -> bool:
    decided = messages.before_hand_over(due.message, policy, stopped=due.stopped, now=tx.now)
    if decided is due.message:
        return True
    if decided.status is not Status.QUEUED:
        tx.concerns(decided.patient_id)
    await store.save_claimed(tx, decided)
    return False


async def _handed_over(
    channels: Mapping[Channel, MessageChannel],
    site: str,
    policy: SitePolicy,
    message: Message,
    now: Callable[[], datetime],
    answers: Answers | None,
) -> Message:
    """A yes that has lapsed by now is none; nothing waits between this look and the hand-over."""
    outgoing = Outgoing(message.id, site, policy.short_name, policy.email, message.address, message.body)
    if answers is not None and answers.lapsed:
        return messages.postponed(message, at=now())
    try:
        await channels[message.channel].hand_over(outgoing)
    except Refused:
        return messages.refused(message, at=now())
    except Busy:
        return messages.postponed(message, at=now())
    except Exception:
        log.error("message.failed", site=site, channel=message.channel.value, exc_info=True)
        return messages.postponed(message, at=now())
    return messages.delivered(message, at=now())


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
        await outbox.append(tx, wire.message_delivered(outcome), label=label)
    elif outcome.status is Status.FAILED:
        await outbox.append(tx, wire.message_failed(outcome, tx.now), label=label)
