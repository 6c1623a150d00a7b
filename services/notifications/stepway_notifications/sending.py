"""The loop that hands messages over: claim, ask once more whether it may go, hand over, write down what came of it."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from stepway_chassis import outbox
from stepway_chassis.database import Database
from stepway_chassis.logs import log
from stepway_chassis.loops import Loop
from stepway_chassis.telemetry import Telemetry
from stepway_chassis.transaction import Tx
from stepway_notifications import domain, store, wire
from stepway_notifications.channels.channel import Busy, MessageChannel, Outgoing, Refused
from stepway_notifications.domain import Channel, Message, SitePolicy, Status
from stepway_notifications.store import Due

LOOP, PAGES_LOOP = "sending", "paging"
BATCH = 20
SHARE_OF_LEASE = 2 / 3  # a hand-over ends before its claim does


def loop_of(message: Message) -> str:
    """Pages have a loop of their own: a risk never waits behind a slow channel full of other messages."""
    return PAGES_LOOP if message.urgent else LOOP


def sending(
    database: Database,
    telemetry: Telemetry,
    now: Callable[[], datetime],
    channels: Mapping[Channel, MessageChannel],
    lease: timedelta,
    *,
    urgent: bool,
) -> Loop:
    """A process that dies between hand-over and writing it down hands over again, under the same message id."""

    async def round(site: str) -> datetime | None:
        async with database.transaction(site, LOOP) as tx:
            policy = domain.policy_of(tx.site.settings, tx.site.zone)
            due = await store.claim_due(tx, BATCH, lease, urgent=urgent)
            cleared = [each for each in due if await _cleared(tx, each, policy)]
        await asyncio.gather(*(hand_over(site, policy, each) for each in cleared))
        async with database.transaction(site, LOOP) as tx:
            return await store.next_due(tx, urgent=urgent)

    async def hand_over(site: str, policy: SitePolicy, due: Due) -> None:
        with telemetry.follow(f"hand over {due.message.channel}", due.trace_context, due.message.created_at, now()):
            try:
                async with asyncio.timeout(lease.total_seconds() * SHARE_OF_LEASE):
                    outcome = await _handed_over(channels, site, policy, due.message, now)
            except TimeoutError:
                outcome = domain.postponed(due.message, at=now())
            async with database.transaction(site, LOOP) as tx:
                await _record(tx, due, outcome)

    return Loop(PAGES_LOOP if urgent else LOOP, round)


async def _cleared(tx: Tx, due: Due, policy: SitePolicy) -> bool:
    decided = domain.before_hand_over(due.message, policy, stopped=due.stopped, now=tx.now)
    if decided is due.message:
        return True
    await store.save_claimed(tx, decided)
    return False


async def _handed_over(
    channels: Mapping[Channel, MessageChannel],
    site: str,
    policy: SitePolicy,
    message: Message,
    now: Callable[[], datetime],
) -> Message:
    outgoing = Outgoing(message.id, site, policy.short_name, policy.email, message.address, message.body)
    try:
        await channels[message.channel].hand_over(outgoing)
    except Refused:
        return domain.refused(message, at=now())
    except Busy:
        return domain.postponed(message, at=now())
    except Exception:
        log.error("message.failed", site=site, channel=message.channel.value, exc_info=True)
        return domain.postponed(message, at=now())
    return domain.delivered(message, at=now())


async def _record(tx: Tx, due: Due, outcome: Message) -> None:
    tx.correlation, tx.causation = due.correlation, due.causation
    if not await store.save_claimed(tx, outcome):
        return
    if outcome.status is Status.DELIVERED:
        await outbox.append(tx, wire.message_delivered(outcome), label=due.label)
    elif outcome.status is Status.FAILED:
        await outbox.append(tx, wire.message_failed(outcome, tx.now), label=due.label)
