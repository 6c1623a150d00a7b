"""Rows 1 to 6 of the fault matrix: something dies under load, and nothing is lost or done twice."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from stepway.scheduling.v1.track_pb2 import DAYPART_MORNING
from tests.conftest import SOAK
from tests.faults.commands import Commands
from tests.faults.load import Load
from tests.faults.stage import Stage
from tests.network import NORTHSIDE
from tests.scraping import scraped
from tests.waiting import until

SHARE = 150 if SOAK else 40  # commands for each service that is killed
SERVER_SHARE = 150 if SOAK else 70  # for each time that a server is
UNPUBLISHED = "outbox WHERE published_at IS NULL"
MORE = "(SELECT count(*) FROM {table}) AS now (n) WHERE n > {before}"
WAITING = (
    "pg_locks WHERE NOT granted AND relation = '{table}'::regclass"
    " AND pid IN (SELECT pid FROM pg_locks WHERE granted AND relation = 'inbox'::regclass)"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
TABLES = {
    "intake": "risk_flag",
    "notifications": "patient",
    "scheduling": "enrollment",
    "care": "treatment_plan",
    "family": "consent_link",
}
"""What each service writes to when it hears that somebody was referred, admitted or seated, or has taken a page."""
VICTIMS = [*TABLES]


async def test_row_1_a_service_that_is_killed_comes_back_and_owes_nothing(
    stage: Stage, seed: int, injections: int
) -> None:
    rng = random.Random(seed)
    async with stage.loaded("row 1", seed) as load:
        for victim in _victims(injections):
            load.issue(SHARE)
            await load.under_way(rng.randint(5, SHARE // 3))
            await stage.kill(victim)
            await stage.start(victim)
            await load.finished()


def _victims(injections: int) -> list[str]:
    """Each service at least once, in turn."""
    return [VICTIMS[turn % len(VICTIMS)] for turn in range(max(injections, len(VICTIMS)))]


async def test_row_2_killed_between_commit_and_publish_the_event_comes_later(
    stage: Stage, seed: int, injections: int
) -> None:
    async with stage.loaded("row 2", seed) as load:
        for turn, victim in enumerate(_victims(injections)):
            silent = turn % 10 < 5
            load.issue(SHARE)
            await load.under_way(SHARE // 4)
            async with _something_to_say(stage, load, victim):
                await _hush(stage, silent)
                before = stage.count(victim, "outbox")
            await until(partial(_any, stage, victim, MORE.format(table="outbox", before=before)))
            await stage.kill(victim)
            assert await _any(stage, victim, UNPUBLISHED)
            await _speak(stage, silent)
            await stage.start(victim)
            await load.finished()


@asynccontextmanager
async def _something_to_say(stage: Stage, load: Load, service: str) -> AsyncIterator[None]:
    """Whatever becomes of the stream meanwhile, the service will have something to announce."""
    if service == "intake":  # it is called, and needs to hear of nothing
        yield
        await stage.sent(Commands(stage.history, random.Random(3)).receive(NORTHSIDE))
        return
    if service == "family":
        await stage.sent(Commands(stage.history, random.Random(3)).plan_group(NORTHSIDE, seats=100))
    async with _something_in_hand(stage, load, service):
        yield


@asynccontextmanager
async def _something_in_hand(stage: Stage, load: Load, service: str) -> AsyncIterator[None]:
    """The service has heard of something and cannot write it down, for as long as a lock of ours is held."""
    table, commands = TABLES[service], Commands(stage.history, random.Random(2))
    page = await _a_page(stage, load, commands) if service == "intake" else ""
    patient = await _a_patient(stage, commands) if service == "family" else ""
    async with stage.network.superuser(service) as holder, holder.transaction():
        await holder.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        if page:
            await stage.sent(commands.acknowledge(NORTHSIDE, page))
        elif patient:
            await stage.sent(commands.grant(NORTHSIDE, patient))
        else:
            await stage.take_in(commands, NORTHSIDE, DAYPART_MORNING)
        await until(lambda: _any(stage, service, WAITING.format(table=table)))
        yield


async def _a_patient(stage: Stage, commands: Commands) -> str:
    """Of whose admission family has heard: it invites nobody before."""
    somebody = await stage.take_in(commands, NORTHSIDE, DAYPART_MORNING)
    await until(lambda: _any(stage, "family", f"patient WHERE id = '{somebody.patient}'"))
    return somebody.patient


async def _a_page(stage: Stage, load: Load, commands: Commands) -> str:
    """One that nobody has taken, and that no caller is about to take."""
    await stage.sent(received := commands.receive(NORTHSIDE))
    await stage.sent(commands.assess(NORTHSIDE, received.ids["id"], in_danger=True))
    return await until(partial(load.untaken, NORTHSIDE))


async def _hush(stage: Stage, silent: bool) -> None:
    """The stream answers nobody: what was sent waits for it, or is lost on the way."""
    if silent:
        stage.platform.nats.pause()
    else:
        await stage.kill("nats")


async def _speak(stage: Stage, silent: bool) -> None:
    if silent:
        stage.platform.nats.resume()
    else:
        await stage.start("nats")


async def test_row_3_killed_between_publish_and_mark_the_repeat_is_dropped(
    stage: Stage, seed: int, injections: int
) -> None:
    async with stage.loaded("row 3", seed) as load:
        for victim in _victims(injections):
            load.issue(SHARE)
            await load.under_way(SHARE // 4)
            async with _something_to_say(stage, load, victim):
                stage.platform.nats.pause()
            await _kill_before_mark(stage, victim)
            await stage.start(victim)
            await load.finished()


async def _kill_before_mark(stage: Stage, victim: str) -> None:
    """Rows are locked while the stream cannot answer, so that it answers before they can be marked.

    What it had answered before may be marked before it is locked: then there are others, or there soon will be.
    """
    async with stage.network.superuser(victim) as holder, holder.transaction():
        rows = await until(lambda: holder.fetch(f"SELECT event_id FROM {UNPUBLISHED} FOR UPDATE"))
        held = {str(row["event_id"]) for row in rows}
        stage.platform.nats.resume()
        published = await until(lambda: _in_stream(stage, held))
        await stage.kill(victim)
        marked = "SELECT count(*) FROM outbox WHERE event_id::text = ANY($1) AND published_at IS NOT NULL"
        assert await holder.fetchval(marked, published) == 0


async def _in_stream(stage: Stage, ids: set[str]) -> list[str]:
    return [event.id for event in await stage.observer.stream() if event.id in ids]


async def test_row_4_killed_after_the_effect_and_before_the_ack_it_is_not_done_again(
    stage: Stage, seed: int, injections: int
) -> None:
    """Each that was killed is handed once more, after that, what it had handled before."""
    async with stage.loaded("row 4", seed) as load:
        for victim in _victims(injections):
            load.issue(SHARE)
            await load.under_way(SHARE // 4)
            await _kill_before_ack(stage, load, victim)
            await stage.start("nats")
            await stage.start(victim)
            await load.finished()
            repeats = await until(partial(_repeats, stage, victim))
            print(f"row 4: {victim} was handed {repeats} events again")


async def _repeats(stage: Stage, service: str) -> int:
    """How many events came to this process that had been handled before."""
    return int((await scraped(stage.network, service)).sum("stepway_inbox_duplicates_total"))


async def _kill_before_ack(stage: Stage, load: Load, victim: str) -> None:
    """The effect waits for a lock of ours; the stream is gone before it can commit."""
    async with _something_in_hand(stage, load, victim):
        await stage.kill("nats")
        before = stage.count(victim, "inbox")
    await until(partial(_any, stage, victim, MORE.format(table="inbox", before=before)))
    await stage.kill(victim)


async def test_row_5_no_write_is_lost_when_the_database_is_killed(stage: Stage, seed: int, injections: int) -> None:
    rng = random.Random(seed)
    async with stage.loaded("row 5", seed) as load:
        pids = stage.pids()
        for _ in range(injections):
            load.issue(SERVER_SHARE)
            await load.under_way(rng.randint(5, SERVER_SHARE // 3))
            await stage.kill("postgres")
            await stage.start("postgres")
            await load.finished()
        assert stage.pids() == pids


async def test_row_6_the_stream_is_killed_and_commands_are_taken_all_the_while(
    stage: Stage, seed: int, injections: int
) -> None:
    rng = random.Random(seed)
    async with stage.loaded("row 6", seed) as load:
        pids = stage.pids()
        for _ in range(injections):
            load.issue(SERVER_SHARE)
            await load.under_way(rng.randint(5, SERVER_SHARE // 3))
            await stage.kill("nats")
            await load.under_way(SERVER_SHARE // 3)
            await stage.start("nats")
            await load.finished()
        assert stage.pids() == pids


async def test_row_6_a_service_starts_and_serves_while_the_stream_is_away(stage: Stage, seed: int) -> None:
    async with stage.loaded("row 6, starting", seed) as load:
        load.issue(SHARE)
        await load.under_way(SHARE // 4)
        await stage.kill("nats")
        for service in stage.platform.services:
            await stage.kill(service)
        await asyncio.gather(*(stage.start(service) for service in stage.platform.services))
        await load.under_way(SHARE // 4)
        await stage.start("nats")


async def _any(stage: Stage, service: str, query: str) -> bool:
    return stage.count(service, query) > 0
