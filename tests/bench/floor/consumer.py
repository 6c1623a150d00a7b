"""The pipeline floor, second half: pull up to a hundred, insert an inbox row for each, acknowledge."""

import asyncio
import json
import os
from typing import Any

import asyncpg
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.bench.floor.places import CONSUMER, STREAM, connected

BATCH, EXPIRES_SECONDS = 100, 25.0
_CLAIM = "INSERT INTO inbox (event_id) VALUES ($1) ON CONFLICT DO NOTHING"


async def consume(pool: Any, client: Client) -> None:
    arrived: asyncio.Queue[Msg] = asyncio.Queue()
    inbox = client.new_inbox()
    await client.subscribe(inbox, cb=arrived.put)
    async with asyncio.TaskGroup() as handling:
        while True:
            await _ask(client, inbox)
            for _ in range(BATCH):
                message = await arrived.get()
                if not message.reply:  # the request has expired
                    break
                handling.create_task(_handled(pool, message))


async def _ask(client: Client, inbox: str) -> None:
    wanted = {"batch": BATCH, "expires": int(EXPIRES_SECONDS * 1e9)}
    await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}", json.dumps(wanted).encode(), reply=inbox)


async def _handled(pool: Any, message: Msg) -> None:
    await pool.execute(_CLAIM, (message.headers or {})["Nats-Msg-Id"])
    await message.ack()


async def main() -> None:
    pool = await asyncpg.create_pool(os.environ["FLOOR_DATABASE"], min_size=10, max_size=10)
    await consume(pool, await connected(os.environ["FLOOR_NATS"], "admin", os.environ["FLOOR_PASSWORD"]))


if __name__ == "__main__":
    asyncio.run(main())
