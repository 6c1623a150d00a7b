"""When nothing more is going to happen: everything published, everything handled, everything handed over."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nats

from stepway_chassis.broker import STREAM
from tests.conftest import SOAK
from tests.network import Network

_OUTSTANDING = {
    "unpublished": "SELECT count(*) AS n FROM outbox AS o WHERE published_at IS NULL AND NOT EXISTS ("
    "SELECT FROM outbox_blocked AS b WHERE b.site = o.site AND b.aggregate_id = o.aggregate_id)",
    "retrying letters": "SELECT count(*) AS n FROM dead_letter WHERE state = 'retrying'",
}
LONGEST = 600.0 if SOAK else 120.0
_QUEUED = "SELECT count(*) AS n FROM message WHERE status = 'queued'"
_EVENTS = "SELECT count(*) AS n FROM outbox"


@dataclass(frozen=True)
class Moment:
    """`left` names what is outstanding; `reached` grows with everything that happens."""

    left: Mapping[str, int]
    reached: tuple[int, ...]


async def quiet(network: Network, *, within: float = LONGEST) -> None:
    """Wait until nothing is left to do, and nothing new came up while looking."""
    deadline, before = time.monotonic() + within, None
    while True:
        moment = await _moment(network)
        if not moment.left and moment == before:
            return
        assert time.monotonic() < deadline, f"still outstanding after {within} s: {moment.left}"
        before = moment
        await asyncio.sleep(0.1)


async def _moment(network: Network) -> Moment:
    left: dict[str, int] = {}
    for service in network.platform.services:
        for what, query in _OUTSTANDING.items():
            left[f"{what} of {service}"] = _count(network, service, query)
    left["queued messages"] = _count(network, "notifications", _QUEUED)
    for consumer in await consumers(network):
        left[f"pending of {consumer.name}"] = (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
    reached = tuple(_count(network, service, _EVENTS) for service in network.platform.services)
    return Moment({what: count for what, count in left.items() if count}, reached)


def _count(network: Network, service: str, query: str) -> int:
    return int(network.rows(service, query)[0]["n"])


async def consumers(network: Network) -> list[Any]:
    """What the stream knows of each durable."""
    url, user, password = network.platform.nats_admin
    client = await nats.connect(url, user=user, password=password)
    try:
        return list(await client.jetstream().consumers_info(STREAM))
    finally:
        await client.close()


async def deliveries(network: Network) -> int:
    """How often the stream has handed out anything, repeats included."""
    return sum(consumer.delivered.consumer_seq for consumer in await consumers(network))
