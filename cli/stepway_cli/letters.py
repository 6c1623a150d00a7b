"""What an operator does about events that could not be applied by a consumer or published by the relay."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from stepway_chassis import blocked, dead_letters
from stepway_cli.keeper import inside


async def listed(url: str, service: str, site: str) -> list[dict[str, Any]]:
    async with inside(url, service, site, "dead-letters") as tx:
        letters = [{"service": service, "kind": "consumer", **asdict(each)} for each in await dead_letters.listed(tx)]
        parked = [{"service": service, "kind": "relay", **asdict(each)} for each in await blocked.listed(tx)]
        return letters + parked


async def retry(url: str, service: str, site: str, id: UUID) -> str:
    """Raises NotFound (DEAD_LETTER_NOT_FOUND)."""
    async with inside(url, service, site, "dead-letters") as tx:
        if await blocked.release(tx, id):
            return "released: the relay publishes it again within a second"
        await dead_letters.retry(tx, id)
        return "asked: the service tries it again within a second; list the letters to see whether it is gone"
