"""Turns: a site with many waiting holds up no other, and no place is ever lost."""

import asyncio
import random
import time
from collections.abc import Callable

import pytest

from stepway_chassis.errors import Unavailable
from stepway_chassis.turns import ALONE_SECONDS, Turns


class Places:
    """Somebody of a site takes a place, and gives it back when the test says so."""

    def __init__(self, at_once: int, of_one: int = 1, now: Callable[[], float] = time.monotonic) -> None:
        self.turns = Turns(at_once, of_one=of_one, now=now)
        self.served: list[str] = []
        self._done: dict[str, list[asyncio.Event]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def come(self, *sites: str) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self._stay(site)) for site in sites]
        self._tasks += tasks
        await settled()
        return tasks

    async def leave(self, site: str) -> None:
        self._done[site].pop(0).set()
        await settled()

    async def all_leave(self) -> None:
        while any(not task.done() for task in self._tasks):
            for site in [site for site, events in self._done.items() if events]:
                await self.leave(site)

    async def _stay(self, site: str) -> None:
        async with self.turns.taken(site):
            self.served.append(site)
            done = asyncio.Event()
            self._done.setdefault(site, []).append(done)
            await done.wait()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("at_once", "most"), [(1, 1), (2, 1), (4, 3), (8, 2)])
async def test_one_site_leaves_room_for_another(at_once: int, most: int) -> None:
    places = Places(at_once, most)
    await places.come(*["noisy"] * 20)
    assert places.served == ["noisy"] * most
    await places.come("quiet")
    if at_once > 1:
        assert places.served[-1] == "quiet"
    await places.all_leave()


async def test_a_site_that_has_been_alone_for_a_minute_may_hold_three_quarters() -> None:
    clock = 0.0
    places = Places(8, of_one=2, now=lambda: clock)
    await places.come(*["alone"] * 20)
    assert len(places.served) == 2
    clock = ALONE_SECONDS + 1
    await places.come("alone")
    await places.leave("alone")
    assert len(places.served) == 1 + 6
    await places.come("other")
    await places.leave("alone")
    assert places.served[7:] == ["other"]
    await places.all_leave()


async def test_of_those_who_wait_each_site_is_served_in_turn() -> None:
    places = Places(1)
    await places.come("a", "a", "a", "a", "b", "b", "c")
    await places.all_leave()
    assert places.served == ["a", "a", "b", "c", "a", "b", "a"]


async def test_within_a_site_it_is_first_come_first_served() -> None:
    turns, order = Turns(2, of_one=1), []

    async def stay(number: int) -> None:
        async with turns.taken("site"):
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(stay(number) for number in range(20)))
    assert order == list(range(20))


async def test_who_gives_up_waiting_takes_no_place_along() -> None:
    places = Places(2)
    waiting = await places.come(*["noisy"] * 5)
    for task in waiting[1:4]:
        task.cancel()
    await settled()
    await places.leave("noisy")
    assert places.served == ["noisy"] * 2
    await places.come("quiet")
    assert places.served[-1] == "quiet"
    await places.leave("quiet")
    await places.leave("noisy")


async def test_a_place_given_to_somebody_who_has_just_given_up_goes_to_the_next() -> None:
    turns = Turns(1, of_one=1)
    inside, out = asyncio.Event(), asyncio.Event()

    async def stay() -> None:
        async with turns.taken("a"):
            inside.set()
            await out.wait()

    async def pass_through() -> str:
        async with turns.taken("b"):
            return "served"

    first = asyncio.create_task(stay())
    await inside.wait()
    gives_up, next_ = asyncio.create_task(pass_through()), asyncio.create_task(pass_through())
    await settled()
    out.set()
    await first
    gives_up.cancel()  # its place was given in the same turn of the loop
    assert await next_ == "served"
    async with asyncio.timeout(1), turns.taken("a"):
        pass


@pytest.mark.parametrize("seed", range(20))
async def test_no_place_is_lost_or_made_whoever_comes_and_goes(seed: int) -> None:
    rng, turns, inside = random.Random(seed), Turns(5, of_one=4), 0

    async def stay(site: str) -> None:
        nonlocal inside
        async with turns.taken(site):
            inside += 1
            try:
                assert inside <= 5
                await asyncio.sleep(0)
            finally:
                inside -= 1

    tasks = [asyncio.create_task(stay(rng.choice("abc"))) for _ in range(200)]
    for _ in range(60):
        await asyncio.sleep(0)
        rng.choice(tasks).cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        assert ended is None or isinstance(ended, asyncio.CancelledError), ended
    assert (turns._free, dict(turns._held), dict(turns._waiting)) == (5, {}, {})


async def test_who_has_waited_long_enough_is_told_and_leaves_the_line() -> None:
    turns = Turns(1, of_one=1)
    async with turns.taken("a"):
        with pytest.raises(Unavailable) as refused:
            async with turns.taken("b", within=0.01):
                pass
    assert refused.value.reason == "BUSY"
    async with asyncio.timeout(1), turns.taken("c"):
        pass
