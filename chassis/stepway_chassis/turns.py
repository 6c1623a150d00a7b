"""Fairness between sites: so many at a time, and whoever is next belongs to another site than the one before."""

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from stepway_chassis.errors import Unavailable

ALONE_SECONDS = 60.0


class Company:
    """Which sites have come lately: whether the one that came last has been alone for a minute."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last, self._last_at, self._other_at = "", now(), now()

    def came(self, site: str) -> None:
        if site != self._last:
            self._last, self._other_at = site, self._last_at
        self._last_at = self._now()

    @property
    def alone(self) -> bool:
        return self._last_at - self._other_at > ALONE_SECONDS


class Turns:
    """`at_once` places that sites take in turn, each site at most `of_one` of them.

    So another finds a place at once; and of those who wait, each site is served once before any is served again.
    Within a site it is first come, first served. A site that has been alone for a minute may hold three quarters.
    """

    def __init__(self, at_once: int, *, of_one: int, now: Callable[[], float] = time.monotonic) -> None:
        self._free = at_once
        self._of_one = of_one
        self._alone = max(of_one, at_once - at_once // 4)
        self._company = Company(now)
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def taken(self, site: str, *, within: float | None = None) -> AsyncIterator[None]:
        """Raises Unavailable (BUSY) when no place came free for `within` seconds."""
        await self._take(site, within)
        try:
            yield
        finally:
            self._give(site)

    async def _take(self, site: str, within: float | None) -> None:
        self._company.came(site)
        if self._may(site) and site not in self._waiting:
            self._hold(site)
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(site, deque()).append(place)
        try:
            async with asyncio.timeout(within):
                await place
        except TimeoutError:
            self._gave_up(site, place)
            raise Unavailable("BUSY", "Others are at work here; ask again.") from None
        except asyncio.CancelledError:
            self._gave_up(site, place)
            raise

    def _gave_up(self, site: str, place: asyncio.Future[None]) -> None:
        if place.cancelled():
            self._leave(site, place)
        else:  # it was given just before
            self._give(site)

    def _may(self, site: str) -> bool:
        return self._free > 0 and self._held[site] < (self._alone if self._company.alone else self._of_one)

    def _hold(self, site: str) -> None:
        self._free -= 1
        self._held[site] += 1

    def _give(self, site: str) -> None:
        self._free += 1
        self._held[site] -= 1
        if not self._held[site]:
            del self._held[site]
        self._serve()

    def _serve(self) -> None:
        while found := next((site for site in self._waiting if self._may(site)), None):
            place = self._waiting[found][0]
            self._waiting.move_to_end(found)
            self._leave(found, place)
            if not place.cancelled():
                self._hold(found)
                place.set_result(None)

    def _leave(self, site: str, place: asyncio.Future[None]) -> None:
        """It may have left already, between its cancellation and the moment that it hears of it."""
        waiting = self._waiting.get(site, deque())
        if place in waiting:
            waiting.remove(place)
        if not waiting:
            self._waiting.pop(site, None)
