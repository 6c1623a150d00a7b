"""What an operator does about events that could not be applied by a consumer or published by the relay."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any
from uuid import UUID

from stepway_chassis import blocked, dead_letters
from stepway_chassis.counts import counted
from stepway_chassis.database import Database
from stepway_chassis.errors import Unavailable
from stepway_cli.keeper import inside


async def listed(url: str, service: str, site: str) -> list[dict[str, Any]]:
    async with inside(url, service, site, "dead-letters") as tx:
        letters = [{"service": service, "kind": "consumer", **asdict(each)} for each in await dead_letters.listed(tx)]
        parked = [{"service": service, "kind": "relay", **asdict(each)} for each in await blocked.listed(tx)]
        return letters + parked


async def waiting(url: str, service: str, cells: Mapping[str, str]) -> dict[str, int]:
    """How many letters of consumers each site has, by the cell that runs it; without a site that is being moved."""
    found: dict[str, int] = {}
    for cell in set(cells.values()):
        database = Database(url, service=service, cell=cell, pool_size=1)
        try:
            for site in (site for site, of in cells.items() if of == cell):
                with suppress(Unavailable):
                    found[site] = await _waiting(database, site)
        finally:
            await database.close()
    return found


async def _waiting(database: Database, site: str) -> int:
    async with database.transaction(site, "status") as tx:
        return (await counted(tx, [dead_letters.WAITING]))[dead_letters.WAITING.name]


async def retry(url: str, service: str, site: str, id: UUID) -> str:
    """Raises NotFound (DEAD_LETTER_NOT_FOUND)."""
    async with inside(url, service, site, "dead-letters") as tx:
        if await blocked.release(tx, id):
            return "released: the relay publishes it again within a second"
        await dead_letters.retry(tx, id)
        return "asked: the service tries it again within a second; list the letters to see whether it is gone"
