"""The pipeline floor, first half: bare gRPC, one transaction, a naive relay; nothing checked, kept apart or traced."""

import asyncio
import os
from contextlib import suppress
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
from grpc_health.v1 import _async as health_async
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stepway_chassis.database import BY_INDEX
from tests.bench.floor.places import ADD_EVENT, ADD_REFERRAL, PAYLOAD, SUBJECT, connected

SERVICE = "floor.Floor"
RECEIVE, ECHO = f"/{SERVICE}/Receive", f"/{SERVICE}/Echo"
POLL_SECONDS = 0.5


class Floor:
    def __init__(self, pool: Any, jetstream: Any) -> None:
        self._pool = pool
        self._jetstream = jetstream
        self._nudged = asyncio.Event()

    async def receive(self, request: bytes, _: object) -> bytes:
        referral = uuid4()
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(ADD_REFERRAL, referral, "site-001", request)
            await connection.execute(ADD_EVENT, referral, PAYLOAD)
        self._nudged.set()
        return request

    async def echo(self, request: bytes, _: object) -> bytes:
        return request

    async def relay(self) -> None:
        while True:
            self._nudged.clear()
            rows = await self._pool.fetch(
                "SELECT id, event_id, payload FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT 500"
            )
            await asyncio.gather(*(self._publish(row) for row in rows))
            await self._pool.execute(
                "UPDATE outbox SET published_at = now() WHERE id = ANY($1)", [row["id"] for row in rows]
            )
            if not rows:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._nudged.wait(), POLL_SECONDS)

    async def _publish(self, row: Any) -> None:
        await self._jetstream.publish(SUBJECT, row["payload"], headers={"Nats-Msg-Id": str(row["event_id"])})


async def serve() -> None:
    pool = await asyncpg.create_pool(os.environ["FLOOR_DATABASE"], min_size=10, max_size=10, server_settings=BY_INDEX)
    client = await connected(os.environ["FLOOR_NATS"], "admin", os.environ["FLOOR_PASSWORD"])
    floor = Floor(pool, client.jetstream())
    server = grpc.aio.server()
    health = health_async.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    methods = {
        "Receive": grpc.unary_unary_rpc_method_handler(floor.receive),
        "Echo": grpc.unary_unary_rpc_method_handler(floor.echo),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, methods)])
    server.add_insecure_port(os.environ["FLOOR_LISTEN"])
    await server.start()
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    await floor.relay()


if __name__ == "__main__":
    asyncio.run(serve())
