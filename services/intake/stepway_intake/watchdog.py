"""The loop that asks for a page about each sign of danger, until a channel has taken one; it needs no event."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from stepway_chassis.database import Database
from stepway_chassis.errors import PeerFailed, Refusal
from stepway_chassis.ids import uuid7
from stepway_chassis.logs import log
from stepway_chassis.loops import Loop
from stepway_chassis.rpc.client import Peers
from stepway_chassis.telemetry import Telemetry
from stepway_chassis.transaction import Site, Tx
from stepway_intake.domain import risk
from stepway_intake.domain.people import Label
from stepway_intake.domain.risk import RiskFlag
from stepway_intake.fallback import Fallback, Unsent
from stepway_intake.store import risk as store
from stepway_intake.wire import risk as wire

LOOP = "watchdog"
MOST = 100
_RAISE = "stepway.notifications.v1.EscalationService/RaiseEscalation"


def watchdog(
    database: Database,
    peers: Peers,
    telemetry: Telemetry,
    now: Callable[[], datetime],
    pause: timedelta,
    fallback: Fallback,
    fallback_after: timedelta,
) -> Loop:
    """One flag whose call fails keeps no other waiting, and neither do many.

    A round goes on after the last of the round before, until all have been asked for; after `pause` it begins again.
    Those that no channel has taken for `fallback_after` are told of to the site's emergency address, together.
    """
    last_asked: dict[str, UUID] = {}

    async def round(site: str) -> datetime | None:
        last = last_asked.pop(site, None)
        async with database.transaction(site, LOOP) as tx:
            unpaged, where = await store.unpaged_flags(tx, MOST, after=last), tx.site
        paged = await asyncio.gather(*(ask(site, *each) for each in unpaged))
        await warn(where, [flag for (flag, *_), done in zip(unpaged, paged, strict=True) if not done])
        if len(unpaged) == MOST:
            last_asked[site] = unpaged[-1][0].id
            return now()
        return now() + pause if unpaged or last else None

    async def ask(site: str, flag: RiskFlag, label: Label, trace_context: Mapping[str, str]) -> bool:
        """Whether a channel has taken a page by now."""
        with telemetry.follow("watch", trace_context, flag.raised_at, now()):
            request = wire.escalation(flag, label, request_id=uuid7(now()))
            try:
                answer = await peers.call(_RAISE, request, site=site)
            except (Refusal, PeerFailed) as error:
                log.error("flag.unpaged", site=site, error_type=type(error).__name__)
                return False
            if paged_at := wire.paged_at(answer):
                async with database.transaction(site, LOOP) as tx:
                    await note(tx, flag.id, lambda kept: risk.paged(kept, at=paged_at))
            return paged_at is not None

    async def warn(site: Site, unpaged: Sequence[RiskFlag]) -> None:
        late = [flag for flag in unpaged if flag.fallback_at is None and now() - flag.raised_at >= fallback_after]
        if not late:
            return
        try:
            await fallback.warn(site, uuid7(now()))
        except Unsent as error:
            log.error("flag.unheard", site=site.name, error_type=type(error.__cause__ or error).__name__)
            return
        async with database.transaction(site.name, LOOP) as tx:
            for flag in late:
                await note(tx, flag.id, lambda kept: risk.fallen_back(kept, at=now()))

    async def note(tx: Tx, id: UUID, change: Callable[[RiskFlag], RiskFlag]) -> None:
        kept = await store.lock_risk_flag(tx, id)
        assert kept is not None
        tx.concerns(kept.patient_id)
        await store.save_risk_flag(tx, change(kept))

    return Loop(LOOP, round)
