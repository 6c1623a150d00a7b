"""Row 13 of the fault matrix: a process stands still for longer than anybody waits for it, and then goes on."""

import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager

from stepway.scheduling.v1.track_pb2 import DAYPART_MORNING
from stepway_chassis.relay import LOCKS, SHARDS
from stepway_cli.local.process import Process
from tests.conftest import SOAK
from tests.faults.commands import Commands
from tests.faults.observed import SITES
from tests.faults.quiet import shared
from tests.faults.stage import Stage
from tests.waiting import until

SHARE = 1000 if SOAK else 220
ROUNDS = 4 if SOAK else 1  # each stops five processes at once
STANDS_STILL = 40.0 if SOAK else 6.0  # longer than the stream waits for an acknowledgement
TABLES = {"notifications": "patient", "scheduling": "enrollment", "care": "treatment_plan", "family": "consent_link"}
_HOLDERS = f"""
    SELECT pid, count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted
       AND classid = {LOCKS} AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
     GROUP BY pid"""
_LEFT_OPEN = (
    "pg_stat_activity WHERE state = 'idle in transaction' AND state_change < now() - interval '2 s'"
    " AND datname = current_database()"
)


async def test_row_13_a_process_that_stood_still_applies_nothing_twice_and_loses_its_shards(
    stage: Stage, seed: int
) -> None:
    """A replica of each service is stopped with transactions open, deliveries in hand and half of the shards."""
    for turn in range(ROUNDS):
        async with stage.loaded(f"row 13, round {turn}", seed) as load, AsyncExitStack() as stack:
            replicas = [await stack.enter_async_context(stage.replica(name)) for name in stage.platform.services]
            await until(lambda: _shared(stage, SHARDS // 2))
            await until(lambda: shared(stage.network, 2, *stage.platform.services))
            load.issue(SHARE)
            await load.under_way(20)
            await _stand_still(stage, replicas, Commands(stage.history, random.Random(seed)))
            await load.finished()


async def _stand_still(stage: Stage, replicas: list[Process], commands: Commands) -> None:
    halves = {name: _holders(stage, name) for name in stage.platform.services}
    with ExitStack() as still:
        async with _busy(stage, commands):
            began = time.monotonic()
            still.enter_context(_standing_still(stage, replicas))
        left_open = await until(lambda: _left_open(stage))
        await until(lambda: _taken_over(stage, halves))
        took = time.monotonic() - began
        await until(lambda: _over(began))
    print(f"\nrow 13: {left_open} transactions were left open; all shards taken over after {took:.1f} s")


@asynccontextmanager
async def _busy(stage: Stage, commands: Commands) -> AsyncIterator[None]:
    """Each service has heard of several things and cannot write them down before this ends."""
    async with AsyncExitStack() as stack:
        for service, table in TABLES.items():
            holder = await stack.enter_async_context(stage.network.superuser(service))
            await stack.enter_async_context(holder.transaction())
            await holder.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        for site in SITES * 3:
            await stage.take_in(commands, site, DAYPART_MORNING)
        await until(lambda: _waiting(stage, "scheduling", "notifications", "family"))
        yield


@contextmanager
def _standing_still(stage: Stage, replicas: list[Process]) -> Iterator[None]:
    with stage.stall():
        for replica in replicas:
            replica.pause()
        try:
            yield
        finally:
            for replica in replicas:
                replica.resume()


def _holders(stage: Stage, service: str) -> dict[int, int]:
    """How many shards each session of the service's relays holds."""
    return {row["pid"]: row["n"] for row in stage.network.rows(service, _HOLDERS)}


async def _shared(stage: Stage, share: int) -> bool:
    return all([*_holders(stage, name).values()] == [share] * (SHARDS // share) for name in stage.platform.services)


async def _taken_over(stage: Stage, before: dict[str, dict[int, int]]) -> bool:
    """One session that there was before holds all shards; what the other half held was not kept for it."""
    after = {name: _holders(stage, name) for name in before}
    return all([*after[name].values()] == [SHARDS] and after[name].keys() <= before[name].keys() for name in before)


async def _waiting(stage: Stage, *services: str) -> bool:
    return all(stage.count(service, "pg_locks WHERE NOT granted") > 2 for service in services)


async def _left_open(stage: Stage) -> int:
    return sum(stage.count(service, _LEFT_OPEN) for service in stage.platform.services)


async def _over(began: float) -> bool:
    return time.monotonic() - began >= STANDS_STILL
