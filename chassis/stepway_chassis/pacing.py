"""A pace for the calls of each site, so that one that never stops calling is not felt by the others."""

import asyncio
import time
from collections.abc import Callable

from stepway_chassis.errors import Unavailable
from stepway_chassis.turns import Company

AHEAD_SECONDS = 0.5  # how far a site may run ahead of its pace
LONGEST_SECONDS = 5.0


class Pacing:
    """`pace` calls a second of each site; one that has been alone for a minute goes as fast as it can."""

    def __init__(self, pace: float, *, now: Callable[[], float] = time.monotonic) -> None:
        if pace <= 0:
            raise ValueError("a pace has to be above zero")
        self._apart = 1 / pace
        self._now = now
        self._company = Company(now)
        self._due: dict[str, float] = {}  # when the next call of each site would be, at an even pace

    async def keep(self, site: str) -> None:
        """Wait until the site may go on. Raises Unavailable (BUSY) at once when that would take too long."""
        self._company.came(site)
        if self._company.alone:
            return
        now = self._now()
        due = max(now, self._due.get(site, now))
        wait = due - AHEAD_SECONDS - now
        if wait > LONGEST_SECONDS:
            raise Unavailable("BUSY", "This site asks faster than others leave room for; ask again in some seconds.")
        self._due[site] = due + self._apart
        if wait > 0:
            await asyncio.sleep(wait)
