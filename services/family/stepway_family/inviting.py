"""The loop that invites: find who waits for a group, ask whether they may know, take a seat and announce it."""

from datetime import datetime, timedelta

from stepway_chassis import audit, labels, outbox
from stepway_chassis.database import Database
from stepway_chassis.errors import Unavailable
from stepway_chassis.ids import uuid7
from stepway_chassis.loops import Loop
from stepway_chassis.rpc.client import Peers
from stepway_chassis.telemetry import Telemetry
from stepway_chassis.transaction import Tx
from stepway_family import consents, domain, store, wire
from stepway_family.consents import Answers
from stepway_family.domain import Expected

LOOP = "inviting"
BATCH = 20
SOON = timedelta(seconds=1)


def inviting(database: Database, peers: Peers, telemetry: Telemetry) -> Loop:
    """Whom there is no room for waits until the next group is planned, which wakes this loop."""

    async def round(site: str) -> datetime | None:
        async with database.transaction(site, LOOP) as tx:
            waiting = await store.expected(tx, BATCH) if await store.group_with_room(tx) else []
            now = tx.now
        for who in waiting:
            await invite(site, who, now)
        return now + SOON if len(waiting) == BATCH else None

    async def invite(site: str, who: Expected, now: datetime) -> None:
        origin = who.origin
        with telemetry.follow("invite", origin.trace_context, origin.at, now):
            pair = (who.patient_id, who.family_member_id)
            answers = await consents.may_know_schedule(peers, [pair], site=site)
            async with database.transaction(site, LOOP) as tx:
                tx.correlation, tx.causation = origin.correlation, origin.causation
                await _settle(tx, who, answers)

    return Loop(LOOP, round)


async def _settle(tx: Tx, who: Expected, answers: Answers) -> None:
    """Raises Unavailable when the yes has lapsed: nothing is written, and the loop comes back."""
    if not all(answers.granted):
        tx.concerns(who.patient_id)
        await store.refuse(tx, who.consent_id)
        await audit.record(tx, "REFUSED", reason="CONSENT_NOT_GRANTED")
    elif await store.still_expected(tx, who) and (group := await store.take_seat(tx)):
        tx.concerns(who.patient_id)
        invitation = domain.invite(who, group, id=uuid7(tx.now), now=tx.now)
        await store.add_invitation(tx, invitation)
        label = await labels.of(tx, who.patient_id)
        await outbox.append(tx, wire.family_member_invited(invitation), label=label)
        if answers.lapsed:
            raise Unavailable("CONSENT_UNCONFIRMED", "The answer about the consent is too old; ask again.")
