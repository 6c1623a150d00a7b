"""The databases of the services as their roles come to them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from stepway_cli.services import SERVICES
from tests.network import Network

every_database = pytest.mark.parametrize("service", SERVICES)


@asynccontextmanager
async def connected(network: Network, service: str, role: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(network.platform.database_url(service, role))
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def entered(network: Network, service: str, role: str, site: str | None) -> AsyncIterator[asyncpg.Connection]:
    """A transaction of this role with `app.site` set, which is rolled back."""
    async with connected(network, service, role) as connection:
        transaction = connection.transaction()
        await transaction.start()
        if site is not None:
            await connection.execute("SELECT set_config('app.site', $1, true)", site)
        try:
            yield connection
        finally:
            await transaction.rollback()


async def sites_seen(connection: asyncpg.Connection, table: str) -> set[str]:
    return {row["site"] for row in await connection.fetch(f"SELECT DISTINCT site FROM {table}")}
