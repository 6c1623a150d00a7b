"""When nothing more is going to happen: everything published, everything handled, everything handed over."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nats
from nats.js.errors import NotFoundError

from stepway_chassis.broker import STREAM
from tests.conftest import SOAK
from tests.network import Network

LONGEST = 600.0 if SOAK else 120.0
SOON = "interval '2 minutes'"  # later than this are the next tidying up, and the next page of a ladder
_OUTSTANDING = {
    "unpublished": "SELECT count(*) FROM outbox AS o WHERE published_at IS NULL AND NOT EXISTS ("
    "SELECT FROM outbox_blocked AS b WHERE b.site = o.site AND b.aggregate_id = o.aggregate_id)",
    "retrying letters": "SELECT count(*) FROM dead_letter WHERE state = 'retrying'",
    "unsealed": "SELECT count(*) FROM audit WHERE seq IS NULL",
    "work": f"SELECT count(*) FROM work WHERE due_at < now() + {SOON}",
}
_OWN = {"notifications": {"queued messages": "SELECT count(*) FROM message WHERE status = 'queued'"}}


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
    services = network.platform.services
    counted = await asyncio.gather(*(asyncio.to_thread(_counted, network, service) for service in services))
    reached = tuple(counts.pop("events") for counts in counted)
    left = {
        f"{what} of {service}": n
        for service, counts in zip(services, counted, strict=True)
        for what, n in counts.items()
    }
    for consumer in await consumers(network):
        left[f"pending of {consumer.name}"] = (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
    return Moment({what: count for what, count in left.items() if count}, reached)


def _counted(network: Network, service: str) -> dict[str, int]:
    """In one query: what is outstanding, and how many events there were."""
    queries = {**_OUTSTANDING, **_OWN.get(service, {}), "events": "SELECT count(*) FROM outbox"}
    columns = ", ".join(f'({query}) AS "{what}"' for what, query in queries.items())
    return dict(network.rows(service, f"SELECT {columns}")[0])


async def consumers(network: Network) -> list[Any]:
    """What the stream knows of each durable; whoever only looks at the stream has none."""
    url, user, password = network.platform.nats_admin
    client = await nats.connect(url, user=user, password=password)
    try:
        return [each for each in await client.jetstream().consumers_info(STREAM) if each.config.durable_name]
    except NotFoundError:
        return []
    finally:
        await client.close()


async def deliveries(network: Network) -> int:
    """How often the stream has handed out anything, repeats included."""
    return sum(consumer.delivered.consumer_seq for consumer in await consumers(network))
