"""Moves committed events from the outbox to the stream: none lost, each aggregate in its order."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import nats.errors
from nats.errors import BadHeaderError, BadSubjectError, MaxPayloadError
from nats.js import JetStreamContext
from nats.js.errors import BadRequestError

from stepway_chassis.broker import STREAM, Broker
from stepway_chassis.database import BY_INDEX, understand_json
from stepway_chassis.logs import log
from stepway_chassis.metrics import Waiting
from stepway_chassis.telemetry import Telemetry

SHARDS = 16
LOCKS = 7261  # the namespace of the relay's advisory locks
LIVE = 99  # held, shared, by every live relay
BATCH = 500
COUNTED = 10_000  # of each site: what waits beyond is not counted, so that looking at a backlog stays cheap
CHAINS_IN_FLIGHT = 64
BEAT_SECONDS = 2.0
BALANCE_SECONDS = 2.0
LOOK_SECONDS = 2.0
STALE_SECONDS = 8.0  # shorter than the server's idle_session_timeout of 10 s for this role
LONGEST_PAUSE_SECONDS = 10.0
_REFUSED = (BadRequestError, MaxPayloadError, BadSubjectError, BadHeaderError)  # for good; all else may pass
_AWAY = (nats.errors.Error, TimeoutError, OSError)
_DATABASE_GONE = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)

_SITES = """
    WITH RECURSIVE waiting (site) AS (
        (SELECT site FROM outbox WHERE published_at IS NULL ORDER BY site LIMIT 1)
        UNION ALL
        SELECT (SELECT site FROM outbox AS o WHERE published_at IS NULL AND o.site > w.site ORDER BY site LIMIT 1)
          FROM waiting AS w WHERE w.site IS NOT NULL)"""
_UNPUBLISHED = f"""{_SITES}
    SELECT oldest.* FROM waiting AS w CROSS JOIN LATERAL (
        SELECT id, event_id, site, aggregate_type, aggregate_id, subject, headers, payload, created_at
          FROM outbox AS o
         WHERE o.site = w.site AND shard = ANY($1::smallint[]) AND published_at IS NULL AND NOT EXISTS (
               SELECT FROM outbox_blocked AS b WHERE b.site = o.site
                  AND b.aggregate_type = o.aggregate_type AND b.aggregate_id = o.aggregate_id)
         ORDER BY id LIMIT greatest(1, $2 / (SELECT count(*) FROM waiting WHERE site IS NOT NULL))) AS oldest
     ORDER BY row_number() OVER (PARTITION BY oldest.site ORDER BY oldest.id), oldest.id"""  # noqa: S608
"""The oldest of each site, the sites in turn: a backlog of one holds up no other."""
_MARK = """
    UPDATE outbox SET published_at = now(), stream_seq = sent.seq, attempts = attempts + 1, last_error = NULL
      FROM unnest($1::bigint[], $2::bigint[]) AS sent (id, seq) WHERE outbox.id = sent.id"""
_FAILED = "UPDATE outbox SET attempts = attempts + 1, last_error = $2 WHERE id = $1"
_BLOCK = """
    INSERT INTO outbox_blocked (site, aggregate_type, aggregate_id, event_id, reason, blocked_at)
    VALUES ($1, $2, $3, $4, $5, now()) ON CONFLICT DO NOTHING"""
_WAITING = f"""{_SITES}
    SELECT site, sum(unpublished)::int AS unpublished, min(oldest) AS oldest, sum(blocked)::int AS blocked FROM (
           SELECT w.site, count(*) AS unpublished, min(first.created_at) AS oldest, 0 AS blocked
             FROM waiting AS w CROSS JOIN LATERAL (
                  SELECT created_at FROM outbox AS o
                   WHERE o.site = w.site AND shard = ANY($1::smallint[]) AND published_at IS NULL
                   ORDER BY id LIMIT $2) AS first GROUP BY w.site
            UNION ALL
           SELECT site, 0, NULL, count(*) FROM outbox_blocked
            WHERE hashtextextended(aggregate_type || '/' || aggregate_id::text, 0) & 15 = ANY($1) GROUP BY site)
     GROUP BY site"""  # noqa: S608
_LIVE_RELAYS = """
    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND classid = $1 AND objid = $2"""


def commits(service: str) -> str:
    """The subject under which the relays of a service tell each other that there is something to look for."""
    return f"committed.{service}"


@dataclass(frozen=True)
class Row:
    """One unpublished event, as it lies in the outbox."""

    id: int
    event_id: UUID
    site: str
    aggregate_type: str
    aggregate_id: UUID
    subject: str
    headers: Mapping[str, str]
    payload: bytes
    created_at: datetime

    @property
    def aggregate(self) -> tuple[str, str, UUID]:
        return self.site, self.aggregate_type, self.aggregate_id


class Relay:
    """Runs in every replica; each shard belongs to one of them at a time."""

    def __init__(
        self,
        database_url: str,
        broker: Broker,
        telemetry: Telemetry,
        now: Callable[[], datetime],
        *,
        service: str,
        poll_seconds: float,
        publish_seconds: float,
    ) -> None:
        self._url = database_url
        self._broker = broker
        self._telemetry = telemetry
        self._now = now
        self._commits = commits(service)
        self._poll_seconds = poll_seconds
        self._publish_seconds = publish_seconds
        self._committed = False
        self._nudged = asyncio.Event()
        self._stopping = False

    def committed(self) -> None:
        """This process has committed something: look now, and have the others look who hold other shards."""
        self._committed = True
        self.nudge()

    def nudge(self) -> None:
        """Something was committed somewhere: look now."""
        self._nudged.set()

    def stop(self) -> None:
        self._stopping = True
        self.nudge()

    async def run(self) -> None:
        """Work until stopped; then publish what is there and give the shards back."""
        while not self._stopping:
            try:
                async with _Session(self._url) as session:
                    await self._work(session)
            except _DATABASE_GONE as error:
                log.warning("relay.disconnected", error_type=type(error).__name__)
                await asyncio.sleep(min(1.0, self._poll_seconds))

    async def _work(self, session: "_Session") -> None:
        pause = self._poll_seconds
        while True:
            last_round = self._stopping
            self._nudged.clear()
            await session.balance()
            await self._pass_on(session)
            rows = await session.unpublished()
            moved, refused = await self._publish(session, rows) if rows else (0, False)
            await self._look(session)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS) if refused else self._poll_seconds
            if last_round and not moved:
                return
            if not moved:
                await self._rest(session, pause)

    async def _pass_on(self, session: "_Session") -> None:
        told, self._committed = self._committed, False
        if told and len(session.shards) < SHARDS:
            await self._broker.tell(self._commits)

    async def _rest(self, session: "_Session", seconds: float) -> None:
        """Wait for a nudge, at most `seconds`, and keep the session alive and its share fair meanwhile."""
        until = time.monotonic() + seconds
        while not self._nudged.is_set() and (left := until - time.monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, BEAT_SECONDS)):
                    await self._nudged.wait()
            if await session.balance():
                return
            await session.beat()
            await self._look(session)

    async def _look(self, session: "_Session") -> None:
        """What waits in the shards held here: the numbers of all relays add up."""
        if (waiting := await session.waiting()) is not None:
            self._telemetry.metrics.outbox(waiting)

    async def _publish(self, session: "_Session", rows: list[Row]) -> tuple[int, bool]:
        try:
            jetstream = await self._broker.jetstream(self._publish_seconds)
        except TimeoutError:
            log.warning("relay.waiting", reason="BROKER_UNREACHABLE")
            return 0, True
        chains: dict[tuple[str, str, UUID], list[Row]] = {}
        for row in rows:
            chains.setdefault(row.aggregate, []).append(row)
        sent: dict[int, int] = {}
        slots = asyncio.Semaphore(CHAINS_IN_FLIGHT)
        keeper = asyncio.create_task(session.keep_beating())
        try:
            results = await asyncio.gather(
                *(self._publish_chain(session, jetstream, chain, sent, slots) for chain in chains.values()),
                return_exceptions=True,
            )
        finally:  # also when told to stop: what was acknowledged is marked
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await session.mark(sent)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return len(sent), not all(results)

    async def _publish_chain(
        self,
        session: "_Session",
        jetstream: JetStreamContext,
        chain: list[Row],
        sent: dict[int, int],
        slots: asyncio.Semaphore,
    ) -> bool:
        """Send one aggregate's events, each after the one before is acknowledged; False if the stream is away."""
        async with slots:
            for row in chain:
                if not session.fresh():
                    return True
                try:
                    sent[row.id] = await self._send(jetstream, row)
                except _REFUSED as error:
                    await session.block(row, type(error).__name__)
                    return True
                except _AWAY as error:
                    await session.failed(row, type(error).__name__)
                    return False
        return True

    async def _send(self, jetstream: JetStreamContext, row: Row) -> int:
        template = _template(row.subject)
        span = self._telemetry.send(
            template, str(row.event_id), row.headers["ce-type"], row.headers, row.created_at, self._now()
        )
        with span, self._telemetry.metrics.publishing(template, row.site):
            async with asyncio.timeout(self._publish_seconds + 1):
                acknowledged = await jetstream.publish(
                    row.subject,
                    row.payload,
                    timeout=self._publish_seconds,
                    stream=STREAM,
                    headers=dict(row.headers),
                )
            return acknowledged.seq


def _template(subject: str) -> str:
    _, _, _, label, service, event = subject.split(".")
    return f"evt.v1.{{site}}.{label}.{service}.{event}"


class _Session:
    """The relay's own connection, which holds its shards for as long as it lives."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._one_at_a_time = asyncio.Lock()
        self._beaten_at = 0.0
        self._balanced_at = -BALANCE_SECONDS
        self._looked_at = -LOOK_SECONDS
        self.shards: set[int] = set()

    async def __aenter__(self) -> "_Session":
        self._connection: Any = await asyncpg.connect(self._url, timeout=5, command_timeout=5, server_settings=BY_INDEX)
        try:
            await understand_json(self._connection)
            await self._fetch("SELECT pg_advisory_lock_shared($1, $2)", LOCKS, LIVE)
        except BaseException:  # nobody else would close it, and it would count as a live relay
            self._connection.terminate()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(*_DATABASE_GONE):
            await self._connection.close(timeout=2)

    async def _fetch(self, query: str, *arguments: Any) -> list[Any]:
        async with self._one_at_a_time:
            asked_at = time.monotonic()  # the answer may be read long after the server gave it
            rows = await self._connection.fetch(query, *arguments)
            self._beaten_at = asked_at
            return list(rows)

    async def beat(self) -> None:
        if time.monotonic() - self._beaten_at >= BEAT_SECONDS:
            await self._fetch("SELECT 1")

    async def keep_beating(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await self.beat()

    def fresh(self) -> bool:
        """Whether the shards are still certainly held: a paused process may have lost them."""
        return time.monotonic() - self._beaten_at < STALE_SECONDS

    async def balance(self) -> bool:
        """Now and then: take free shards up to a fair share among the live relays, and give back what is over.

        Whether there are new ones.
        """
        if time.monotonic() - self._balanced_at < BALANCE_SECONDS:
            return False
        self._balanced_at = time.monotonic()
        live = (await self._fetch(_LIVE_RELAYS, LOCKS, LIVE))[0][0]
        share = -(-SHARDS // max(1, live))
        for shard in sorted(self.shards)[share:]:
            await self._fetch("SELECT pg_advisory_unlock($1, $2)", LOCKS, shard)
            self.shards.discard(shard)
        before = len(self.shards)
        for shard in range(SHARDS):
            if len(self.shards) >= share:
                break
            if (
                shard not in self.shards
                and (await self._fetch("SELECT pg_try_advisory_lock($1, $2)", LOCKS, shard))[0][0]
            ):
                self.shards.add(shard)
        return len(self.shards) > before

    async def unpublished(self) -> list[Row]:
        """The oldest rows of each site in the shards that are held, about BATCH of them."""
        return [Row(**row) for row in await self._fetch(_UNPUBLISHED, sorted(self.shards), BATCH)]

    async def waiting(self) -> list[Waiting] | None:
        """By site; None when the last look is fresh."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return None
        self._looked_at = time.monotonic()
        return [Waiting(**row) for row in await self._fetch(_WAITING, sorted(self.shards), COUNTED)]

    async def mark(self, sent: Mapping[int, int]) -> None:
        if sent:
            await self._fetch(_MARK, list(sent), list(sent.values()))

    async def failed(self, row: Row, error: str) -> None:
        await self._fetch(_FAILED, row.id, error)

    async def block(self, row: Row, error: str) -> None:
        """The stream refuses this event for good: park its aggregate, let the others go on."""
        await self._fetch(_BLOCK, row.site, row.aggregate_type, row.aggregate_id, row.event_id, error)
        await self._fetch(_FAILED, row.id, error)
        log.error("relay.blocked", site=row.site, event_id=str(row.event_id), error_type=error)
