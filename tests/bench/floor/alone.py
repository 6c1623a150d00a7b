"""Floors of single steps: a transaction, an indexed read, a publish with a window, a pull of a hundred."""

import asyncio
import time
from collections.abc import Sequence
from itertools import cycle
from uuid import uuid4

import asyncpg
import nats.errors

from tests.bench.floor.places import ADD_EVENT, ADD_REFERRAL, CONSUMER, ENVELOPE, PAYLOAD, STREAM, SUBJECT, connected

WINDOW = 64
BATCH = 100
READ_CONSENT = "SELECT * FROM consent WHERE site = $1 AND id = $2"


async def transact(url: str, workers: int, seconds: float) -> float:
    """Transactions a second, each of a row and an outbox row."""
    async with asyncpg.create_pool(url, min_size=workers, max_size=workers) as pool:
        ends = time.monotonic() + seconds
        counts = await asyncio.gather(*(_transact(pool, ends) for _ in range(workers)))
    return sum(counts) / seconds


async def _transact(pool: asyncpg.Pool, ends: float) -> int:
    count = 0
    async with pool.acquire() as connection:
        while time.monotonic() < ends:
            async with connection.transaction():
                await connection.execute(ADD_REFERRAL, uuid4(), "site-001", PAYLOAD)
                await connection.execute(ADD_EVENT, uuid4(), PAYLOAD)
            count += 1
    return count


async def read(url: str, keys: Sequence[tuple[str, str]], seconds: float) -> list[float]:
    """Seconds that each read of one consent by its primary key took, one after another."""
    connection, taken = await asyncpg.connect(url), []
    ends = time.monotonic() + seconds
    for site, id in cycle(keys):
        if (began := time.monotonic()) >= ends:
            break
        await connection.fetchrow(READ_CONSENT, site, id)
        taken.append(time.monotonic() - began)
    await connection.close()
    return taken


async def publish(nats_admin: tuple[str, str, str], count: int) -> float:
    """Messages a second, with a window of unanswered ones."""
    client = await connected(*nats_admin)
    jetstream, window = client.jetstream(), asyncio.Semaphore(WINDOW)

    async def one() -> None:
        async with window:
            await jetstream.publish(SUBJECT, PAYLOAD, headers={**ENVELOPE, "Nats-Msg-Id": str(uuid4())})

    began = time.monotonic()
    await asyncio.gather(*(one() for _ in range(count)))
    took = time.monotonic() - began
    await client.close()
    return count / took


async def pull(nats_admin: tuple[str, str, str], count: int) -> float:
    """Messages a second, pulled by the hundred, each acknowledged."""
    client = await connected(*nats_admin)
    subscription = await client.jetstream().pull_subscribe_bind(CONSUMER, STREAM)
    began, pulled = time.monotonic(), 0
    while pulled < count:
        try:
            messages = await subscription.fetch(BATCH, timeout=1)
        except nats.errors.TimeoutError:
            break
        for message in messages:
            await message.ack()
        pulled += len(messages)
    await client.flush()
    took = time.monotonic() - began
    await client.close()
    return pulled / took
