"""Row 18 of the fault matrix: two cells of one site run versions to come while the others stay, and no call fails."""

import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.conftest import SOAK
from tests.faults.commands import Commands
from tests.faults.newer import Version, version
from tests.faults.stage import Stage
from tests.network import LAKESIDE, NORTHSIDE
from tests.waiting import until

SHARE = 1000 if SOAK else 120
NEWER = "dead_letter WHERE reason = 'NEWER_SCHEMA' AND site = '{site}'"
SAYS_MORE = "outbox WHERE site = '{site}' AND convert_from(payload, 'UTF8') LIKE '%\"route\"%'"


async def test_row_18_a_newer_cell_serves_its_site_while_the_others_stay(
    stage: Stage, seed: int, tmp_path: Path
) -> None:
    """Intake says one more field and two values of it; the notifications of its site know no such field, then one
    value, then both.
    """
    first, second = version(tmp_path, "PHONE"), version(tmp_path, "PHONE", "LETTER")
    before, commands = len(stage.history.commands), Commands(stage.history, random.Random(seed))

    async def referred() -> None:
        """Each of the values twice, whatever the load is about."""
        await stage.sent(*(commands.receive(LAKESIDE) for _ in range(4)))

    async with stage.loaded("row 18", seed) as load, stage.home("intake", "notifications"):
        async with (
            running(stage, "intake", "tests.faults.newer_intake", second, "REFERRAL_ROUTE_PHONE,REFERRAL_ROUTE_LETTER"),
            running(stage, "notifications", "stepway_notifications", first),
        ):
            await stage.move(LAKESIDE, "intake", "west")
            load.issue(SHARE // 3)
            await referred()
            await load.finished()
            assert stage.count("intake", SAYS_MORE.format(site=LAKESIDE)) >= 2
            await stage.move(LAKESIDE, "notifications", "west")
            load.issue(SHARE)
            await referred()
            await load.finished()
            await until(lambda: _put_aside(stage, 1))
        async with (
            running(stage, "intake", "tests.faults.newer_intake", second, "REFERRAL_ROUTE_LETTER"),
            running(stage, "notifications", "stepway_notifications", second),
        ):
            await until(lambda: _nothing_aside(stage))
            load.issue(SHARE // 3)
            await referred()
            await load.finished()
            assert await _nothing_aside(stage)
    assert stage.count("notifications", NEWER.format(site=NORTHSIDE)) == 0
    refused = [str(command) for command in stage.history.commands[before:] if not command.done]
    assert refused == []


@asynccontextmanager
async def running(stage: Stage, service: str, module: str, of: Version, says: str = "") -> AsyncIterator[None]:
    """The cell `west` of this service, in that version."""
    name = f"{service}@west"
    told = of.environment(stage.platform.environment(name), says=says)
    async with stage.process(name, [sys.executable, "-m", module], told):
        yield


async def _put_aside(stage: Stage, letters: int) -> bool:
    return stage.count("notifications", NEWER.format(site=LAKESIDE)) >= letters


async def _nothing_aside(stage: Stage) -> bool:
    return stage.count("notifications", NEWER.format(site=LAKESIDE)) == 0
