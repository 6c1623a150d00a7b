"""Moving a site to another cell of a service: what has begun there ends, and only then does the other cell begin."""

import asyncio
from dataclasses import dataclass
from typing import Any

import asyncpg

from stepway_chassis.database import json_connection
from stepway_cli.sites import SiteError

PATIENCE_SECONDS = 1.0  # how long those who want to enter the site wait behind the move
TRIES = 40  # together longer than the longest transaction, which the server ends after 30 s

_FIND = "SELECT cell, state, epoch FROM site WHERE site = $1"
_DRAIN = "UPDATE site SET state = 'draining' WHERE site = $1"
_REOPEN = "UPDATE site SET state = 'active' WHERE site = $1 AND epoch = $2"
_WAIT = "SELECT pg_advisory_xact_lock(hashtextextended('site/' || $1, 0))"  # for all who are inside the site
_HAND_OVER = "UPDATE site SET cell = $2, state = 'active', epoch = epoch + 1 WHERE site = $1 RETURNING epoch"


@dataclass(frozen=True)
class Moved:
    site: str
    before: str
    cell: str
    epoch: int


async def move(url: str, site: str, cell: str) -> Moved:
    """Give the site to `cell`, as the role `registrar`; a move that was cut off is finished by the next.

    The hand-over is one transaction that waits for all who are inside. A site where somebody stays longer is drained
    first: nobody new is let in until it is empty. Raises SiteError when there is no such site, or it does not empty.
    """
    async with json_connection(url) as connection:
        found = await connection.fetchrow(_FIND, site)
        if found is None:
            raise SiteError(f"{site}: no such site; `stepway sites list` has them")
        if (found["cell"], found["state"]) == (cell, "active"):
            return Moved(site, cell, cell, found["epoch"])
        epoch = await _handed_over(connection, site, cell) or await _drained(connection, site, cell, found["epoch"])
        return Moved(site, found["cell"], cell, epoch)


async def _drained(connection: asyncpg.Connection, site: str, cell: str, before: int) -> int:
    await connection.execute(_DRAIN, site)
    for _ in range(TRIES):
        if epoch := await _handed_over(connection, site, cell):
            return epoch
        await asyncio.sleep(0.1)
    await connection.execute(_REOPEN, site, before)
    raise SiteError(f"{site}: somebody stays inside; nothing was moved, and the site is open where it was")


async def _handed_over(connection: asyncpg.Connection, site: str, cell: str) -> int | None:
    """The new epoch; None when somebody is still inside."""
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{PATIENCE_SECONDS}s'")
            await connection.execute(_WAIT, site)
            moved: Any = await connection.fetchval(_HAND_OVER, site, cell)
            return int(moved)
    except asyncpg.LockNotAvailableError:
        return None
