"""The sites that this process serves: read from its own database, again every few seconds, and when told to."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import text

from stepway_chassis.database import Database
from stepway_chassis.errors import Refusal
from stepway_chassis.logs import log

_MINE = text("SELECT site FROM site WHERE cell = :cell AND state = 'active' ORDER BY site")


class Sites:
    """Tells `changed` which sites of this cell there were and are; a failed reading removes none."""

    def __init__(
        self, database: Database, cell: str, seconds: float, changed: Callable[[frozenset[str], frozenset[str]], None]
    ) -> None:
        self._database = database
        self._cell = cell
        self._seconds = seconds
        self._changed = changed
        self._nudged = asyncio.Event()
        self.known: frozenset[str] = frozenset()

    def nudge(self) -> None:
        """The register has changed: look now."""
        self._nudged.set()

    async def run(self) -> None:
        while True:
            self._nudged.clear()
            await self._read()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._nudged.wait(), self._seconds)

    async def _read(self) -> None:
        try:
            async with self._database.outside() as connection:
                rows = await connection.execute(_MINE, {"cell": self._cell})
                found = frozenset(row.site for row in rows)
        except Refusal as refusal:
            log.warning("sites.unread", reason=refusal.reason)
            return
        if found != self.known:
            before, self.known = self.known, found
            log.info("sites.changed", count=len(found))
            self._changed(before, found)
