"""The loop that invites: find who waits for a group, ask whether they may know, take a seat and announce it."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from stepway_chassis import audit, labels, merges, outbox
from stepway_chassis.database import Contended, Database
from stepway_chassis.errors import Refusal, Unavailable
from stepway_chassis.ids import uuid7
from stepway_chassis.logs import log
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
LATER = timedelta(seconds=5)


@dataclass(frozen=True)
class Sweep:
    """How far all who wait have been gone through, a batch a round, and whether anybody has to be asked about again."""

    last: UUID | None = None
    failed: bool = False


def inviting(database: Database, peers: Peers, telemetry: Telemetry) -> Loop:
    """Whom there is no room for waits until the next group is planned, which wakes this loop.

    Whose group has passed is invited to the next one; nobody who cannot be asked about keeps the others waiting.
    """
    sweeps: dict[str, Sweep] = {}

    async def round(site: str) -> datetime | None:
        sweep = sweeps.pop(site, Sweep())
        async with database.transaction(site, LOOP) as tx:
            waiting = await store.expected(tx, BATCH, after=sweep.last) if await store.group_with_room(tx) else []
            now, next_start = tx.now, await store.next_start(tx)
        settled = [await settle(site, who, now) for who in waiting]
        failed = sweep.failed or not all(settled)
        if len(waiting) == BATCH:
            sweeps[site] = Sweep(waiting[-1].consent_id, failed)
            return now + SOON
        return now + LATER if failed else next_start

    async def settle(site: str, who: Expected, now: datetime) -> bool:
        """Whether that is done; if not, they are asked about again."""
        try:
            await invite(site, who, now)
        except (Refusal, Contended) as postponed:
            log.warning("invitation.postponed", site=site, error_type=type(postponed).__name__)
            return False
        except Exception:
            log.error("invitation.failed", site=site, exc_info=True)
            return False
        return True

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
    """Raises Unavailable when the yes has lapsed: nothing is written, and they are asked about again."""
    who = replace(who, patient_id=await merges.current(tx, who.patient_id))
    if not all(answers.granted):
        tx.concerns(who.patient_id)
        await store.refuse(tx, who.consent_id)
        await audit.record(tx, "REFUSED", reason="CONSENT_NOT_GRANTED")
    elif await store.still_expected(tx, who) and (group := await store.take_seat(tx)):
        tx.concerns(who.patient_id)
        invitation = domain.invite(who, group, id=uuid7(tx.now), now=tx.now)
        await store.add_invitation(tx, invitation)
        label = await labels.of(tx, who.patient_id)
        outbox.append(tx, wire.family_member_invited(invitation), label=label)
        if answers.lapsed:
            raise Unavailable("CONSENT_UNCONFIRMED", "The answer about the consent is too old; ask again.")
