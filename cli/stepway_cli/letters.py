"""What an operator does about events that could not be applied by a consumer or published by the relay."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any
from uuid import UUID

from stepway_chassis import blocked, dead_letters
from stepway_chassis.database import Database
from stepway_chassis.transaction import Tx


async def listed(url: str, service: str, site: str) -> list[dict[str, Any]]:
    async with _inside(url, service, site) as tx:
        letters = [{"service": service, "kind": "consumer", **asdict(each)} for each in await dead_letters.listed(tx)]
        parked = [{"service": service, "kind": "relay", **asdict(each)} for each in await blocked.listed(tx)]
        return letters + parked


async def retry(url: str, service: str, site: str, id: UUID) -> str:
    """Raises NotFound (DEAD_LETTER_NOT_FOUND)."""
    async with _inside(url, service, site) as tx:
        if await blocked.release(tx, id):
            return "released: the relay publishes it again within a second"
        await dead_letters.retry(tx, id)
        return "asked: the service tries it again within a second; list the letters to see whether it is gone"


@asynccontextmanager
async def _inside(url: str, service: str, site: str) -> AsyncIterator[Tx]:
    """A transaction as the keeper, inside one site."""
    database = Database(url, service=service, cell="shared", pool_size=1)
    try:
        async with database.transaction(site, "dead-letters") as tx:
            yield tx
    finally:
        await database.close()
