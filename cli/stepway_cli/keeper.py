"""What an operator may look at inside one site: a transaction as the role that keeps the tables tidy."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stepway_chassis.database import Database
from stepway_chassis.transaction import Tx
from stepway_cli.sites import cell_of


@asynccontextmanager
async def inside(url: str, service: str, site: str, action: str) -> AsyncIterator[Tx]:
    """In the place of the cell that runs the site. Raises NotFound (SITE_UNKNOWN)."""
    database = Database(url, service=service, cell=await cell_of(url, site), pool_size=1)
    try:
        async with database.transaction(site, action) as tx:
            yield tx
    finally:
        await database.close()
