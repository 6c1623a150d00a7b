"""Pacing: a site that never stops calling waits, and nobody else does."""

import asyncio

import pytest

from stepway_chassis.errors import Unavailable
from stepway_chassis.pacing import AHEAD_SECONDS, LONGEST_SECONDS, Pacing
from stepway_chassis.turns import ALONE_SECONDS

PACE = 128  # so that sums of steps are exact
AHEAD = int(PACE * AHEAD_SECONDS)


class Clock:
    """Stands still until it is set; whoever is told to wait waits in real time."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.pacing = Pacing(PACE, now=lambda: self.at)

    async def at_once(self, *sites: str) -> int:
        """How many of these calls need not wait, asked one after the other."""
        went, calls = 0, []
        for site in sites:
            call = asyncio.create_task(self.pacing.keep(site))
            await asyncio.sleep(0)
            went += call.done()
            calls.append(call)
        for call in calls:
            call.cancel()
        return went


async def test_a_site_may_run_ahead_and_then_keeps_its_pace() -> None:
    clock = Clock()
    assert await clock.at_once(*["noisy"] * 2 * AHEAD) == AHEAD + 1
    clock.at += AHEAD_SECONDS + 9 / PACE
    assert await clock.at_once(*["noisy"] * 30) == 10


async def test_who_waits_is_served_in_order_and_in_time() -> None:
    clock, served = Clock(), []

    async def call(number: int) -> None:
        await clock.pacing.keep("noisy")
        served.append(number)

    async with asyncio.timeout(5):
        await asyncio.gather(*(call(number) for number in range(AHEAD + 5)))
    assert served == list(range(AHEAD + 5))


async def test_another_site_does_not_wait() -> None:
    clock = Clock()
    await clock.at_once(*["noisy"] * 2 * AHEAD)
    assert await clock.at_once("quiet") == 1


async def test_a_site_that_has_been_alone_for_a_minute_goes_as_fast_as_it_can() -> None:
    clock = Clock()
    await clock.at_once("other")
    clock.at += ALONE_SECONDS + 1
    await clock.at_once("alone")
    clock.at += ALONE_SECONDS + 1
    assert await clock.at_once(*["alone"] * 5 * AHEAD) == 5 * AHEAD
    assert await clock.at_once("other", *["alone"] * 2 * AHEAD) < 2 * AHEAD


async def test_a_wait_that_would_be_too_long_is_refused_at_once_and_costs_no_turn() -> None:
    clock = Clock()
    most = int(PACE * (AHEAD_SECONDS + LONGEST_SECONDS)) + 1
    await clock.at_once(*["noisy"] * most)
    for _ in range(10):
        with pytest.raises(Unavailable) as refused:
            await clock.pacing.keep("noisy")
    assert refused.value.reason == "BUSY"
    clock.at += AHEAD_SECONDS + LONGEST_SECONDS
    assert await clock.at_once(*["noisy"] * 2 * AHEAD) == AHEAD
