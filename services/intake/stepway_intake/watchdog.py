"""The loop that asks for a page about each sign of danger, until a channel has taken one; it needs no event."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from stepway_chassis.database import Database
from stepway_chassis.errors import PeerFailed, Refusal
from stepway_chassis.ids import uuid7
from stepway_chassis.logs import log
from stepway_chassis.loops import Loop
from stepway_chassis.rpc.client import Peers
from stepway_chassis.telemetry import Telemetry
from stepway_intake.domain import risk
from stepway_intake.domain.people import Label
from stepway_intake.domain.risk import RiskFlag
from stepway_intake.store import risk as store
from stepway_intake.wire import risk as wire

LOOP = "watchdog"
MOST = 100
_RAISE = "stepway.notifications.v1.EscalationService/RaiseEscalation"


def watchdog(
    database: Database, peers: Peers, telemetry: Telemetry, now: Callable[[], datetime], pause: timedelta
) -> Loop:
    """One flag whose call fails keeps no other waiting, and neither do many.

    A round goes on after the last of the round before, until all have been asked for; after `pause` it begins again.
    """
    last_asked: dict[str, UUID] = {}

    async def round(site: str) -> datetime | None:
        last = last_asked.pop(site, None)
        async with database.transaction(site, LOOP) as tx:
            unpaged = await store.unpaged_flags(tx, MOST, after=last)
        await asyncio.gather(*(ask(site, *each) for each in unpaged))
        if len(unpaged) == MOST:
            last_asked[site] = unpaged[-1][0].id
            return now()
        return now() + pause if unpaged or last else None

    async def ask(site: str, flag: RiskFlag, label: Label, trace_context: Mapping[str, str]) -> None:
        with telemetry.follow("watch", trace_context, flag.raised_at, now()):
            request = wire.escalation(flag, label, request_id=uuid7(now()))
            try:
                answer = await peers.call(_RAISE, request, site=site)
            except (Refusal, PeerFailed) as error:
                log.error("flag.unpaged", site=site, error_type=type(error).__name__)
                return
            if paged_at := wire.paged_at(answer):
                await note(site, flag, paged_at)

    async def note(site: str, flag: RiskFlag, paged_at: datetime) -> None:
        async with database.transaction(site, LOOP) as tx:
            tx.concerns(flag.patient_id)
            kept = await store.lock_risk_flag(tx, flag.id)
            assert kept is not None
            await store.save_risk_flag(tx, risk.paged(kept, at=paged_at))

    return Loop(LOOP, round)
