"""When nothing more is going to happen: everything published, everything handled, everything handed over."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

from nats.aio.client import Client
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from stepway_chassis.broker import STREAM
from stepway_cli.lags import Lags, behind
from tests.conftest import SOAK
from tests.faults.observed import SITES
from tests.network import Network

LONGEST = 600.0 if SOAK else 300.0
MISSING = -1  # a lane that has not made its durable again yet has all of its events before it
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
    async with _looking(network) as look:
        while True:
            moment = await look()
            if not moment.left and moment == before:
                return
            assert time.monotonic() < deadline, f"still outstanding after {within} s: {moment.left}"
            before = moment
            await asyncio.sleep(0.1)


@asynccontextmanager
async def _looking(network: Network) -> AsyncIterator[Callable[[], Awaitable[Moment]]]:
    """On connections that stay: a busy machine has better things to do than to make new ones for every look."""
    async with network.broker() as client, AsyncExitStack() as stack:
        names = network.platform.services
        services = {name: await stack.enter_async_context(network.superuser(name)) for name in names}

        async def look() -> Moment:
            counted = await asyncio.gather(*(_counted(*each) for each in services.items()))
            reached = tuple(counts.pop("events") for counts in counted)
            left = {
                f"{what} of {service}": n
                for service, counts in zip(services, counted, strict=True)
                for what, n in counts.items()
            }
            lags = Lags(0, 0, behind(await durables(client)))
            for service, site in product(services, SITES):
                lag = lags.of(service, site)
                left[f"pending of {service} at {site}"] = MISSING if lag is None else lag
            return Moment({what: count for what, count in left.items() if count}, reached)

        yield look


async def _counted(service: str, connection: Any) -> dict[str, int]:
    """In one query: what is outstanding, and how many events there were."""
    queries = {**_OUTSTANDING, **_OWN.get(service, {}), "events": "SELECT count(*) FROM outbox"}
    columns = ", ".join(f'({query}) AS "{what}"' for what, query in queries.items())
    return dict(await connection.fetchrow(f"SELECT {columns}"))


async def consumers(network: Network) -> list[ConsumerInfo]:
    async with network.broker() as client:
        return await durables(client)


async def durables(client: Client) -> list[ConsumerInfo]:
    """What the stream knows of each; whoever only looks at the stream has none."""
    try:
        return [each for each in await client.jetstream().consumers_info(STREAM) if each.config.durable_name]
    except NotFoundError:
        return []


async def shared(network: Network, processes: int, *services: str) -> bool:
    """Whether so many processes ask for the events of each lane that these services have at the two sites."""
    prefixes = tuple(f"{service}-{site}-" for service, site in product(services, SITES))
    ours = [each for each in await consumers(network) if each.name.startswith(prefixes)]
    there = Lags(0, 0, behind(ours))
    all_there = all(there.of(*each) is not None for each in product(services, SITES))
    return all_there and all((each.num_waiting or 0) >= processes for each in ours)
