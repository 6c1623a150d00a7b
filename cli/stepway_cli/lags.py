"""How far each service is behind the stream at each site, as the stream itself counts."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import nats
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo

from stepway_chassis.broker import STREAM
from stepway_chassis.consumers import durable
from stepway_cli.listeners import handlers
from stepway_cli.stream import Admin

PAGE = 256  # as many consumers as the server tells at once
WITHIN_SECONDS = 3
LANES = {"urgent": True, "normal": False}
_DURABLE = re.compile(r"(?P<service>[a-z]+)-(?P<site>.+)-(?P<lane>urgent|normal)-[0-9a-f]{8}")

Place = tuple[str, str, str]  # service, site, lane


@dataclass(frozen=True)
class Lags:
    """What waits behind each durable, delivered and not acknowledged, or not delivered yet."""

    events: int
    durables: int
    behind: Mapping[Place, int]

    def of(self, service: str, site: str) -> int | None:
        """Both lanes together; None when one that the service should have is not there."""
        lanes = [self.behind.get((service, site, lane)) for lane in _lanes(service)]
        return None if None in lanes else sum(lane or 0 for lane in lanes)


async def lags(admin: Admin) -> Lags:
    """Raises what nats raises when the server does not answer or holds no stream."""
    async with _asking(admin) as jetstream:
        state = (await jetstream.stream_info(STREAM)).state
        return Lags(state.messages, state.consumer_count, behind(await _consumers(jetstream)))


def behind(consumers: Sequence[ConsumerInfo]) -> dict[Place, int]:
    """Of each lane the generation that somebody pulls from, else the one of this version, else any.

    A cell of another version may listen to other types of events, and leaves this version's durable to itself.
    """
    found: dict[Place, int] = {}
    for consumer in sorted(consumers, key=lambda each: (_is_pulled(each), _is_current(each))):
        named = _DURABLE.fullmatch(consumer.name)
        if named:
            waiting = (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
            found[named["service"], named["site"], named["lane"]] = waiting
    return found


def _is_pulled(consumer: ConsumerInfo) -> bool:
    """Somebody waits for more, or has enough in hand."""
    return bool(consumer.num_waiting or consumer.num_ack_pending)


def _is_current(consumer: ConsumerInfo) -> bool:
    named = _DURABLE.fullmatch(consumer.name)
    if named is None:
        return False
    service, urgent = named["service"], LANES[named["lane"]]
    return consumer.name == durable(service, named["site"], urgent, _subjects(service, urgent))


@cache
def _subjects(service: str, urgent: bool) -> frozenset[str]:
    return frozenset(each.subject("*") for each in handlers().get(service, ()) if each.urgent == urgent)


def _lanes(service: str) -> list[str]:
    return [lane for lane, urgent in LANES.items() if _subjects(service, urgent)]


@asynccontextmanager
async def _asking(admin: Admin) -> Any:
    async with asyncio.timeout(WITHIN_SECONDS):
        client = await nats.connect(
            admin.url, user=admin.user, password=admin.password, max_reconnect_attempts=1, error_cb=_unsaid
        )
    try:
        yield client.jetstream(timeout=WITHIN_SECONDS)
    finally:
        await client.close()


async def _unsaid(error: Exception) -> None:
    """The caller says it, once."""


async def _consumers(jetstream: JetStreamContext) -> list[ConsumerInfo]:
    found: list[ConsumerInfo] = []
    while page := await jetstream.consumers_info(STREAM, offset=len(found)):
        found += page
        if len(page) < PAGE:
            break
    return found
