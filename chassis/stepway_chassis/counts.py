"""What is counted at each site: looked at where something has happened, and now and then where nothing was heard of."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select

from stepway_chassis.database import LOOK, Contended, Database
from stepway_chassis.errors import Refusal
from stepway_chassis.logs import log
from stepway_chassis.transaction import Tx

OPEN_SECONDS = 60.0  # what is open becomes overdue without a word
QUIET_SECONDS = 600.0  # another process or an operator may have changed what this one has not touched
MOST = 25  # sites in one look


@dataclass(frozen=True)
class Gauge:
    """A number of each site. `query` is a statement that counts it where the transaction is; all are asked at once."""

    name: str
    description: str
    query: Callable[[Tx], Select[int]]


async def counted(tx: Tx, gauges: Sequence[Gauge]) -> dict[str, int]:
    """All of them in one statement, by name."""
    columns: list[Any] = [gauge.query(tx).scalar_subquery() for gauge in gauges]
    row = (await tx.execute(select(*columns))).one()
    return {gauge.name: count for gauge, count in zip(gauges, row, strict=True)}


class Counting:
    """Keeps the gauges of the sites that this process serves."""

    def __init__(self, database: Database, gauges: Sequence[Gauge], *, seconds: float) -> None:
        self._database = database
        self._metrics = database.metrics
        self._gauges = gauges
        self._seconds = seconds
        self._due: dict[str, float] = {}
        for gauge in gauges:
            self._metrics.gauge(gauge.name, gauge.description)

    def serve(self, sites: frozenset[str]) -> None:
        """A site is looked at when it is first served, and no more when it is gone."""
        now = time.monotonic()
        self._due = {site: self._due.get(site, now) for site in sites}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await self._look_around()

    async def _look_around(self) -> None:
        for site in due(self._due, self._database.taken_touched(), time.monotonic()):
            try:
                await self._look(site)
            except (Refusal, Contended) as error:
                log.info("site.uncounted", site=site, error_type=type(error).__name__)
                self._again(site, OPEN_SECONDS)
                if getattr(error, "reason", "") == "DATABASE_UNAVAILABLE":
                    return

    async def _look(self, site: str) -> None:
        async with self._database.transaction(site, LOOK) as tx:
            counts = await counted(tx, self._gauges)
        self._metrics.counted(site, counts)
        self._again(site, OPEN_SECONDS if any(counts.values()) else QUIET_SECONDS)

    def _again(self, site: str, seconds: float) -> None:
        if site in self._due:
            self._due[site] = time.monotonic() + seconds


def due(known: dict[str, float], touched: Iterable[str], now: float) -> list[str]:
    """The sites to look at now, those that have waited longest first; what was touched is due from now on."""
    for site in touched:
        if site in known:
            known[site] = min(known[site], now)
    return sorted((site for site, at in known.items() if at <= now), key=known.__getitem__)[:MOST]
