"""The loop that flags what drafts leave open about danger, once nobody has come back to them for hours."""

from datetime import datetime
from itertools import repeat
from uuid import UUID

from stepway_chassis import loops, outbox
from stepway_chassis.database import Database
from stepway_chassis.ids import uuid7
from stepway_chassis.loops import Loop
from stepway_chassis.telemetry import Telemetry
from stepway_chassis.transaction import Tx
from stepway_intake.domain import workups
from stepway_intake.domain.referrals import Referral
from stepway_intake.domain.site_rules import rules_of
from stepway_intake.domain.workups import Workup
from stepway_intake.service.referrals import hold, raise_label
from stepway_intake.service.risk import raise_flag
from stepway_intake.store import workups as store

LOOP = "left_open"
MOST = 100


def left_open(database: Database, telemetry: Telemetry) -> Loop:
    """A workup that is never completed is seen to as well."""

    async def round(site: str) -> datetime | None:
        async with database.transaction(site, LOOP) as tx:
            due = await store.due_workups(tx, MOST)
        for id in due:
            await look_at(site, id)
        async with database.transaction(site, LOOP) as tx:
            return await store.next_due(tx)

    async def look_at(site: str, id: UUID) -> None:
        async with database.transaction(site, LOOP) as tx:
            workup, referral = await lock(tx, id)
            ids, within = map(uuid7, repeat(tx.now)), rules_of(tx.site.settings).within
            workup, flags = workups.flag_left_open(workup, flag_ids=ids, at=tx.now, within=within)
            await store.save_workup(tx, workup)
            events = [await raise_flag(tx, flag, telemetry) for flag in flags]
            outbox.append(tx, *events, label=referral.patient.label)

    return Loop(LOOP, round)


async def lock(tx: Tx, id: UUID, *, may_raise: bool = False) -> tuple[Workup, Referral]:
    """The referral first, as whoever writes beside one: a merge moves what they have written after that."""
    referral = await hold(tx, (await store.find_workup(tx, id)).referral_id, may_raise=may_raise)
    return await store.lock_workup(tx, id), referral


async def keep(tx: Tx, workup: Workup, referral: Referral) -> Referral:
    """Save what has changed, and have the loop come when something in it will have been left open for too long."""
    await store.save_workup(tx, workup)
    if due := workups.due_at(workup):
        await loops.wake(tx, LOOP, due)
    return await raise_label(tx, referral) if workups.is_of_substance_use(workup) else referral
