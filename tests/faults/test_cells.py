"""Row 24 of the fault matrix: sites move from cell to cell under load; and replicas of one cell share its work."""

import asyncio
import json
import random
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from stepway_chassis.relay import LOCKS, SHARDS
from stepway_cli.services import SERVICES
from tests.conftest import SOAK
from tests.faults.commands import Commands
from tests.faults.conftest import CELLS
from tests.faults.quiet import shared
from tests.faults.stage import Stage
from tests.network import NORTHSIDE, Network
from tests.shell import stepway
from tests.waiting import until

MOVES = 60 if SOAK else 10
SHARE = 100 if SOAK else 22  # commands for each move
REPLICAS = (2, 4)
VICTIMS = (*SERVICES, *CELLS) if SOAK else ("intake", "notifications@west")
_SHARES = (
    f"SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted"
    f" AND classid = {LOCKS} AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " GROUP BY pid ORDER BY n"
)
_WAITING = (
    "pg_locks WHERE locktype = 'advisory' AND NOT granted AND mode = 'ExclusiveLock'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


async def test_row_24_a_site_moves_between_cells_under_load(stage: Stage, seed: int) -> None:
    """Both cells of every service are alive; all five parts of the site move in each turn."""
    async with stage.cells(*CELLS), stage.loaded("row 24", seed) as load:
        for turn in range(MOVES):
            before = _acknowledged(stage)
            load.issue(SHARE)
            await load.under_way(SHARE // 4)
            await until(partial(_served, stage, before))  # also from where it was moved to a turn ago
            cell = ("west", "shared")[turn % 2]
            await asyncio.gather(*(stage.move(NORTHSIDE, service, cell) for service in stage.platform.services))
        load.issue(SHARE)
        done = await asyncio.to_thread(
            stepway, stage.network, "sites", "move", NORTHSIDE, "--service", "intake", "--cell", "west"
        )
        assert "intake: northside is in cell west" in done.stdout, done.stderr
        await load.finished()
        shown = await asyncio.to_thread(stepway, stage.network, "status", "--site", NORTHSIDE)
        assert [line.split()[:3] for line in shown.stdout.splitlines() if " west " in line] == [
            [NORTHSIDE, "intake", "west"]
        ]


def _acknowledged(stage: Stage) -> int:
    return sum(command.done and command.site == NORTHSIDE for command in stage.history.commands)


async def _served(stage: Stage, before: int) -> bool:
    return _acknowledged(stage) > before


@pytest.mark.parametrize("victim", VICTIMS)
async def test_row_24_a_cell_that_is_killed_in_the_middle_of_a_move_changes_nothing(
    stage: Stage, seed: int, victim: str
) -> None:
    """It had the site, or gets it: the move waits for somebody inside meanwhile."""
    service = victim.partition("@")[0]
    async with stage.cells(f"{service}@west"), stage.loaded(f"row 24, {victim}", seed) as load:
        load.issue(3 * SHARE)
        await load.under_way(SHARE // 2)
        async with stage.network.superuser(service) as inside, inside.transaction():
            await inside.execute(f"SELECT pg_advisory_xact_lock_shared(hashtextextended('site/{NORTHSIDE}', 0))")
            moving = asyncio.create_task(stage.move(NORTHSIDE, service, "west"))
            await until(lambda: _waits(stage, service))
            await stage.kill(victim)
        await moving
        await stage.start(victim)
        await load.finished()


async def _waits(stage: Stage, service: str) -> bool:
    return stage.count(service, _WAITING) > 0


@pytest.mark.parametrize("replicas", REPLICAS)
async def test_replicas_of_one_cell_share_its_work(stage: Stage, seed: int, replicas: int) -> None:
    """What each has handled is read off its own trace; who publishes, off its locks."""
    names = [f"notifications-replica-{number}" for number in range(1, replicas)]
    async with AsyncExitStack() as stack:
        for number in range(1, replicas):
            await stack.enter_async_context(stage.replica("notifications", number))
        await until(partial(_shared, stage, replicas))
        await until(partial(shared, stage.network, replicas, "notifications"))
        traced = Stage(Network(stage.platform, trace_ratio=1.0), stage.history, stage.letters)
        commands = Commands(stage.history, random.Random(seed))
        sent = [commands.receive(NORTHSIDE) for _ in range(20 * replicas)]
        await traced.sent(*sent)
        await stage.settled()
    made = _announced(stage, {command.ids["id"] for command in sent})
    assert len(made) == len(sent)

    async def all_traced() -> list[set[str]]:
        """On a slow machine some come again to another replica, which finds them done."""
        handled = [_handled(stage.traces(name)) & made for name in ("notifications", *names)]
        return handled if set().union(*handled) == made else []

    handled = await until(all_traced)
    print(f"\n{replicas} replicas handled {[len(each) for each in handled]} of {len(made)}")
    assert all(handled)


async def _shared(stage: Stage, replicas: int) -> bool:
    """Every shard of the relay is held, and nobody holds more than a fair share."""
    shares = [row["n"] for row in stage.network.rows("notifications", _SHARES)]
    return len(shares) == replicas and sum(shares) == SHARDS and max(shares) <= -(-SHARDS // replicas)


def _announced(stage: Stage, referrals: set[str]) -> set[str]:
    rows = stage.network.rows("intake", "SELECT event_id, aggregate_id FROM outbox WHERE aggregate_type = 'referral'")
    return {row["event_id"] for row in rows if row["aggregate_id"] in referrals}


def _handled(traces: Path) -> set[str]:
    """The ids of the events that this process handled."""
    spans = (
        span
        for line in traces.read_text().splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
        if span["name"].startswith("process ")
    )
    return {
        attribute["value"]["stringValue"]
        for span in spans
        for attribute in span["attributes"]
        if attribute["key"] == "messaging.message.id"
    }
