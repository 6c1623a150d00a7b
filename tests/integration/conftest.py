"""What several files of integration tests share."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.ledger import Ledger
from tests.network import Network


@pytest_asyncio.fixture(scope="session")
async def ledger(network: Network) -> AsyncIterator[Ledger]:
    """The database of a service of no clinic, on the platform's own servers."""
    made = Ledger(network)
    await made.create()
    yield made
    await made.close()
