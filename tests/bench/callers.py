"""The load: callers over gRPC, the same to the floor and to the real service."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import grpc

from tests.bench.asked import ASKED, REFERRAL

TIMEOUT_SECONDS = 30.0
WARM_UP_SECONDS = 0.3


@dataclass
class Crowd:
    """Callers who work alike: `at` are the sites that they take in turn, each with a token and the ids it is about.

    `asked` is what they ask (`asked.py`), `pause` how many seconds each waits before it sends the next. `count` are all
    answers, `within` those of the time that is measured; `taken` are the seconds that each took which came in it or
    later.
    """

    at: Sequence[Sequence[str]]
    callers: int
    pause: float = 0.0
    asked: str = REFERRAL
    taken: list[float] = field(default_factory=list)
    within: int = 0
    count: int = 0
    refused: int = 0

    def beginnings(self) -> Iterator[Iterator[Sequence[str]]]:
        """The places of each caller; they begin far from each other: in step they would wait for the same record."""
        for caller in range(self.callers):
            first = caller * len(self.at) // self.callers
            yield cycle([*self.at[first:], *self.at[:first]])

    def answered(self, sent: float, at: float, begins: float, ends: float) -> None:
        self.count += 1
        self.within += begins <= at <= ends
        if at >= begins:  # also after the end: the slowest are not left out
            self.taken.append(at - sent)


async def call(address: str, method: str, crowds: dict[str, dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Load one address for so long; for each crowd its rate a second, its latencies and how often it was refused."""
    async with grpc.aio.insecure_channel(address) as channel:
        invoke = channel.unary_unary(method)
        working = {name: Crowd(**crowd) for name, crowd in crowds.items()}
        begins = time.monotonic() + WARM_UP_SECONDS
        ends = begins + seconds
        callers = [
            _caller(invoke, each, places, begins, ends) for each in working.values() for places in each.beginnings()
        ]
        await asyncio.gather(*callers)
    return {
        name: {
            "rate": crowd.within / seconds,
            "taken": crowd.taken,
            "count": crowd.count,
            "refused": crowd.refused,
        }
        for name, crowd in working.items()
    }


async def _caller(invoke: Any, crowd: Crowd, places: Iterator[Sequence[str]], begins: float, ends: float) -> None:
    ask = ASKED[crowd.asked]()
    while (sent := time.monotonic()) < ends:
        site, token, *about = next(places)
        metadata = (("authorization", f"Bearer {token}"), ("stepway-site", site))
        try:
            await invoke(ask(*about), metadata=metadata, timeout=TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            crowd.refused += 1
        else:
            crowd.answered(sent, time.monotonic(), begins, ends)
        await asyncio.sleep(crowd.pause)
