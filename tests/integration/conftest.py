"""What several files of integration tests share."""

from collections.abc import AsyncIterator

import pytest
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


@pytest_asyncio.fixture(autouse=True)
async def _connections_given_back(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """The server has a limited number of them, and a test of the ledger opens several pools."""
    yield
    if "ledger" in request.fixturenames:
        await request.getfixturevalue("ledger").close()
