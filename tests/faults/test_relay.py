"""The relay alone: replicas share the shards, hand them over when one dies, and keep each aggregate's order."""

import asyncio
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from uuid import UUID, uuid4

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from stepway.intake.v1.events_pb2 import AssessmentCompleted
from stepway_chassis import outbox, telemetry
from stepway_chassis import relay as relay_module
from stepway_chassis.app import App, Runtime, Wiring, utc_now
from stepway_chassis.broker import Broker
from stepway_chassis.database import BY_INDEX, Database, json_connection
from stepway_chassis.relay import LOCKS, SHARDS, Relay
from stepway_chassis.testing import running
from stepway_cli.local.process import Process
from tests.conftest import SOAK
from tests.data import REPOSITORY
from tests.faults.apart import EASTBAY, WESTBAY, Apart
from tests.faults.stage import Stage
from tests.waiting import LONGEST, until

_HELD = f"""
    SELECT pid, count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted
       AND classid = {LOCKS} AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
     GROUP BY pid ORDER BY n"""
SUBJECT = f"evt.v1.{EASTBAY}.general.intake.assessment_completed"
_UNPUBLISHED = "SELECT id FROM outbox WHERE published_at IS NULL"
_BACKLOG = """
    INSERT INTO outbox
           (event_id, site, aggregate_type, aggregate_id, aggregate_seq, subject, headers, payload, created_at,
            published_at)
    SELECT uuidv7(), 'site-' || n % 50, 'referral', uuidv7(), 1, 'nowhere', '{}', '', now(),
           CASE WHEN n > 5000 THEN now() END
      FROM generate_series(1, 50000) AS n;
    ANALYZE outbox"""


@dataclass
class Bench:
    """An outbox that only the relays of a test empty."""

    stage: Stage
    apart: Apart
    database: Database

    async def append(self, aggregate: UUID, events: int = 1, *, site: str = EASTBAY) -> None:
        async with self.database.transaction(site, "test") as tx:
            messages = [AssessmentCompleted(assessment_id=str(aggregate), referral_id=str(uuid4()))] * events
            outbox.append(tx, *messages, label="general")

    @asynccontextmanager
    async def broker(self) -> AsyncIterator[Broker]:
        server = self.stage.platform.nats
        broker = Broker(server.url, "intake", server.password("intake"))
        broker.start()
        try:
            yield broker
        finally:
            await broker.close()

    def relay(self, broker: Broker) -> Relay:
        traces = telemetry.start("intake", ratio=0.0)
        url = self.apart.url("intake", "relay")
        return Relay(url, broker, traces, utc_now, service="intake", poll_seconds=0.1, publish_seconds=2.0)

    @asynccontextmanager
    async def relaying(self, relays: int) -> AsyncIterator[list[asyncio.Task[None]]]:
        async with self.broker() as broker:
            tasks = [asyncio.create_task(self.relay(broker).run()) for _ in range(relays)]
            try:
                yield tasks
            finally:
                await ended(*tasks)

    @contextmanager
    def process(self, name: str) -> Iterator[Process]:
        """A relay that can be paused and killed."""
        server = self.stage.platform.nats
        told = {
            "RELAY_DATABASE_URL": self.apart.url("intake", "relay"),
            "RELAY_NATS_URL": server.url,
            "RELAY_NATS_PASSWORD": server.password("intake"),
            "PYTHONPATH": str(REPOSITORY),
            "PATH": os.environ["PATH"],
        }
        log = self.stage.platform.folder.subfolder("logs") / f"{name}.log"
        process = Process(name, [sys.executable, "-m", "tests.faults.relay_process"], told, log, cwd=REPOSITORY)
        process.start()
        try:
            yield process
        finally:
            process.kill()

    def shares(self) -> list[int]:
        return [row["n"] for row in self.apart.rows("intake", _HELD)]

    def holders(self) -> set[int]:
        return {row["pid"] for row in self.apart.rows("intake", _HELD)}

    async def shared(self, relays: int, *, but_not: set[int] | None = None) -> None:
        """Until so many relays hold all shards, none above its fair share, none through the sessions in `but_not`."""
        fair = -(-SHARDS // relays)

        async def fairly() -> bool:
            shares = self.shares()
            all_held = len(shares) == relays and sum(shares) == SHARDS
            return all_held and max(shares) <= fair and not self.holders() & (but_not or set())

        await until(fairly)

    async def published(self) -> bool:
        return not self.apart.rows("intake", _UNPUBLISHED)

    async def explained(self, query: str, arguments: str) -> str:
        """How the server would go about it, asked as the role `relay`, by a plan for whatever arguments."""
        async with json_connection(self.apart.url("intake", "relay")) as connection:
            for name, value in (BY_INDEX | {"plan_cache_mode": "force_generic_plan"}).items():
                await connection.execute(f"SET {name} = {value}")
            await connection.execute(f"PREPARE asked AS {query}")
            return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE asked ({arguments})"))

    async def in_stream(self) -> dict[str, list[int]]:
        """The sequence numbers of each aggregate, as they lie in the stream."""
        chains: dict[str, list[int]] = defaultdict(list)
        for stored in await self.stage.network.published(f"evt.v1.{EASTBAY}.general.intake.>"):
            chains[stored.headers["ce-subject"]].append(int(stored.headers["ce-sequence"]))
        return chains

    async def complete(self, aggregates: Sequence[UUID], events: int) -> None:
        """Each event of each aggregate lies in the stream once, in its order."""
        chains = await self.in_stream()
        for aggregate in aggregates:
            assert chains[str(aggregate)] == list(range(1, events + 1))


async def ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    _, hanging = await asyncio.wait(tasks, timeout=LONGEST)
    assert not hanging, f"a cancelled relay runs on: {[task.get_stack() for task in hanging]}"


@pytest.fixture
async def bench(stage: Stage, apart: Apart) -> AsyncIterator[Bench]:
    apart.empty("intake")
    async with apart.database("intake") as database:
        yield Bench(stage, apart, database)


@pytest.mark.parametrize("relays", [1, 2, 3])
async def test_live_relays_share_the_shards(bench: Bench, relays: int) -> None:
    async with bench.relaying(relays):
        await bench.shared(relays)


async def test_a_second_relay_is_given_its_share_and_a_first_takes_it_back(bench: Bench) -> None:
    async with bench.relaying(1):
        await bench.shared(1)
        async with bench.relaying(1):
            await bench.shared(2)
        await bench.shared(1)


async def test_a_killed_relay_hands_its_shards_over_at_once(bench: Bench) -> None:
    with bench.process("relay-killed") as process:
        await bench.shared(1)
        async with bench.relaying(1):
            await bench.shared(2)
            process.kill()
            began = time.monotonic()
            await bench.shared(1)
    print(f"\nshards of a killed relay: taken over after {time.monotonic() - began:.1f} s")


async def test_a_paused_relay_loses_its_shards_and_publishes_nothing_stale(bench: Bench) -> None:
    """It is paused in the middle of a batch; every publish is counted, also those that the stream drops as repeats."""
    aggregates = [uuid4() for _ in range(20)]
    with bench.process("relay-paused") as process:
        await bench.shared(1)
        async with listening(bench.stage) as heard:
            each = await _paused_half_way(bench, process, aggregates, heard)
            began, lost, at_pause = time.monotonic(), bench.holders(), await heard.so_far()
            async with bench.relaying(1):
                await bench.shared(1, but_not=lost)
                took = time.monotonic() - began
                await until(bench.published)
                before = await heard.so_far()
                process.resume()
                await bench.shared(2)
                await bench.append(aggregates[0])
                await until(bench.published)
                stale = await heard.so_far() - before - 1
    print(f"\npaused at {at_pause} of {20 * each}; shards taken over after {took:.1f} s; {stale} stale publishes")
    assert stale <= len(aggregates)  # one of each aggregate may have been on its way when the pause began
    await bench.complete(aggregates[1:], each)
    await bench.complete(aggregates[:1], each + 1)


@dataclass
class Heard:
    """Every publish as it passes the server, before the stream recognises repeats."""

    client: Client
    subscription: Subscription | None = None
    publishes: int = 0
    last_at: float = 0.0

    async def note(self, _: Msg) -> None:
        self.publishes, self.last_at = self.publishes + 1, time.monotonic()

    async def so_far(self) -> int:
        """All that had passed the server when this was asked."""
        await self.client.flush()
        await until(self._read)
        return self.publishes

    async def _read(self) -> bool:
        return self.subscription is not None and not self.subscription.pending_msgs

    async def more_than(self, count: int) -> bool:
        return self.publishes > count


@asynccontextmanager
async def listening(stage: Stage) -> AsyncIterator[Heard]:
    async with stage.network.broker() as client:
        heard = Heard(client)
        heard.subscription = await client.subscribe(SUBJECT, cb=heard.note)
        await client.flush()
        yield heard


async def _paused_half_way(bench: Bench, process: Process, aggregates: Sequence[UUID], heard: Heard) -> int:
    """How many events each aggregate has by then; a relay that was done before its pause gets more of them."""
    each = 0
    while True:
        each += 60
        await asyncio.gather(*(bench.append(aggregate, 60) for aggregate in aggregates))
        await until(partial(heard.more_than, (each - 60) * len(aggregates) + 50))
        process.pause()
        if await heard.so_far() < each * len(aggregates):
            return each
        process.resume()


async def test_nothing_is_lost_or_swapped_while_three_relays_end_and_begin_at_random(bench: Bench, seed: int) -> None:
    rng, aggregates = random.Random(seed), [uuid4() for _ in range(20)]
    each = 250 if SOAK else 30
    async with bench.broker() as broker, bench.relaying(1):
        writers = [asyncio.create_task(_write(bench, aggregates[turn::5], each)) for turn in range(5)]
        tasks = [asyncio.create_task(bench.relay(broker).run()) for _ in range(2)]
        ends = 0
        while not all(writer.done() for writer in writers) or ends < 15:
            ends += 1
            await asyncio.sleep(rng.random() / 10)
            await ended(tasks.pop(rng.randrange(2)))
            tasks.append(asyncio.create_task(bench.relay(broker).run()))
        await asyncio.gather(*writers)
        await until(bench.published)
        await ended(*tasks)
    print(f"\n{20 * each} events, {ends} relays ended")
    await bench.complete(aggregates, each)


async def _write(bench: Bench, aggregates: Sequence[UUID], each: int) -> None:
    for _ in range(each):
        for aggregate in aggregates:
            await bench.append(aggregate)


@pytest.mark.parametrize("size", [81 * 1024, 2 * 1024 * 1024])
async def test_an_event_that_is_refused_for_good_parks_its_aggregate_alone(bench: Bench, size: int) -> None:
    spoilt, others = uuid4(), [uuid4() for _ in range(10)]
    for aggregate in (spoilt, *others):
        await bench.append(aggregate, 3)
    where = f"aggregate_id = '{spoilt}' AND aggregate_seq = 2"
    bench.apart.sql("intake", f"UPDATE outbox SET payload = convert_to(repeat('x', {size}), 'UTF8') WHERE {where}")
    async with bench.relaying(1):
        await until(lambda: _only_left(bench, 2))
        blocked = bench.apart.rows("intake", "SELECT aggregate_id FROM outbox_blocked")
        assert [row["aggregate_id"] for row in blocked] == [str(spoilt)]
        await bench.append(others[0])
        await until(lambda: _only_left(bench, 2))
    assert (await bench.in_stream())[str(spoilt)] == [1]
    await bench.complete(others[1:], 3)
    await bench.complete(others[:1], 4)


async def _only_left(bench: Bench, rows: int) -> bool:
    return len(bench.apart.rows("intake", _UNPUBLISHED)) == rows


async def test_the_backlog_of_one_site_holds_up_no_other(bench: Bench) -> None:
    for _ in range(30):
        await bench.append(uuid4(), 100)
    await bench.append(late := uuid4(), site=WESTBAY)

    async with bench.relaying(1):
        await until(bench.published)
    behind = f"stream_seq > (SELECT stream_seq FROM outbox WHERE aggregate_id = '{late}')"
    left = len(bench.apart.rows("intake", f"SELECT id FROM outbox WHERE {behind}"))
    print(f"\nthe newest of a quiet site was published while {left} of 3000 older ones of another waited")
    assert left > 1000


async def test_with_a_backlog_at_many_sites_the_relay_reads_by_its_index(bench: Bench) -> None:
    bench.apart.sql("intake", _BACKLOG)
    shards = ",".join(map(str, range(SHARDS)))
    explained = await bench.explained(relay_module._UNPUBLISHED, f"'{{{shards}}}', {relay_module.BATCH}")
    assert "outbox_waiting" in explained, explained
    assert "Seq Scan on outbox" not in explained


async def test_what_was_published_is_marked_by_its_key_though_the_plan_is_made_of_an_empty_outbox(bench: Bench) -> None:
    """Such a plan is kept while the outbox grows, and would read all of it for each batch."""
    explained = await bench.explained(relay_module._MARK, "'{1}', '{1}'")
    assert "outbox_pkey" in explained, explained


async def test_a_stream_that_is_away_parks_nothing_however_much_waits(bench: Bench) -> None:
    """More waits than the client's buffer of 2 MiB holds."""
    aggregates = [uuid4() for _ in range(64)]
    async with bench.relaying(1):
        await bench.shared(1)
        await bench.stage.kill("nats")
        for aggregate in aggregates:
            await bench.append(aggregate)
        big = "convert_to(repeat('x', 60000), 'UTF8')"
        bench.apart.sql("intake", f"UPDATE outbox SET payload = {big}")
        await until(lambda: _tried_twice(bench))
        await bench.stage.start("nats")
        await until(lambda: _done_or_parked(bench))
    assert bench.apart.rows("intake", "SELECT reason FROM outbox_blocked") == []
    await bench.complete(aggregates, 1)


async def _tried_twice(bench: Bench) -> bool:
    return bool(bench.apart.rows("intake", "SELECT id FROM outbox WHERE attempts >= 2"))


async def _done_or_parked(bench: Bench) -> bool:
    left = len(bench.apart.rows("intake", _UNPUBLISHED))
    return left == len(bench.apart.rows("intake", "SELECT reason FROM outbox_blocked"))


async def test_at_idle_an_event_is_in_the_stream_within_moments_of_its_commit(bench: Bench) -> None:
    """The commit wakes the relay, which would look by itself only when this test has long given up."""
    environ = bench.apart.environment("intake", STEPWAY_RELAY_POLL_SECONDS="3600")
    async with running(App("intake", _silent), environ) as service, listening(bench.stage) as heard:
        await bench.shared(1)
        delays = sorted([await _delay(service.database, heard) for _ in range(20)])
    print(f"\ncommit to stream at idle: p50 {delays[10] * 1000:.1f} ms, worst {delays[-1] * 1000:.1f} ms")


async def test_at_idle_the_relay_of_another_process_hears_of_a_commit_in_its_shards(bench: Bench) -> None:
    environ = bench.apart.environment("intake", STEPWAY_RELAY_POLL_SECONDS="3600")
    async with (
        running(App("intake", _silent), environ) as service,
        running(App("intake", _silent), environ),
        listening(bench.stage) as heard,
    ):
        await bench.shared(2)
        for _ in range(20):
            await _delay(service.database, heard)


def _silent(_: Runtime, __: None) -> Wiring:
    return Wiring([], [])


async def _delay(database: Database, heard: Heard) -> float:
    before = heard.publishes
    async with database.transaction(EASTBAY, "test") as tx:
        event = AssessmentCompleted(assessment_id=str(uuid4()), referral_id=str(uuid4()))
        outbox.append(tx, event, label="general")
    committed = time.monotonic()
    await until(partial(heard.more_than, before))
    return max(0.0, heard.last_at - committed)
