"""A relay alone in a process of its own, so that a test can pause and kill it.

Its publishes wait for longer than any pause, so that nothing but its own doubts keeps it from going on.
"""

import asyncio
import os

from stepway_chassis import telemetry
from stepway_chassis.app import utc_now
from stepway_chassis.broker import Broker
from stepway_chassis.relay import Relay


async def relay() -> None:
    broker = Broker(os.environ["RELAY_NATS_URL"], "intake", os.environ["RELAY_NATS_PASSWORD"])
    broker.start()
    traces = telemetry.start("intake", ratio=0.0)
    await Relay(
        os.environ["RELAY_DATABASE_URL"],
        broker,
        traces,
        utc_now,
        service="intake",
        poll_seconds=0.1,
        publish_seconds=60.0,
    ).run()


if __name__ == "__main__":
    asyncio.run(relay())
