"""What several files of integration tests share."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
import pytest_asyncio

from stepway.intake.v1.risk_service_pb2 import AcknowledgeRiskFlagRequest
from stepway_cli import moves, sites
from stepway_cli.bring_up import bring_up
from stepway_cli.local.forget import forget
from stepway_cli.local.platform import Platform
from stepway_cli.sites import read_sites
from stepway_cli.spreading import spread
from tests.cases import At, a_case
from tests.conftest import OVERRIDES
from tests.data import REPOSITORY
from tests.ledger import Ledger
from tests.network import LAKESIDE, NORTHSIDE, PATIENT, Network, a_referral, phq_9
from tests.transfers import WEST
from tests.waiting import until


@pytest_asyncio.fixture(scope="session")
async def ledger(network: Network) -> AsyncIterator[Ledger]:
    """The database of a service of no clinic, on the platform's own servers."""
    made = Ledger(network)
    await made.create()
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def _connections_given_back(request: pytest.FixtureRequest) -> None:
    """The server has a limited number of them, and a test of the ledger opens several pools."""
    if "ledger" in request.fixturenames:
        request.getfixturevalue("closed_ledger")


@pytest_asyncio.fixture
async def closed_ledger(ledger: Ledger) -> AsyncIterator[None]:
    yield
    await ledger.close()


@pytest.fixture(scope="session")
def sites_apart() -> Iterator[Network]:
    """A network whose lakeside is run by a cell of its own."""
    folder = REPOSITORY / ".stepway" / f"transfers-{os.getpid()}"
    platform = Platform(folder, cells=(WEST,), overrides=OVERRIDES)
    bring_up(platform, read_sites([REPOSITORY / "deploy" / "sites"]))
    try:
        platform.start_services(WEST)
        asyncio.run(_move(platform))
        yield Network(platform, seconds=PATIENT)
    finally:
        platform.stop()
        forget(folder)


async def _move(platform: Platform) -> None:
    register = platform.database_url("intake", "registrar")
    await moves.move(register, LAKESIDE, "west")
    await spread(platform.nats_admin, {"intake": await sites.listed(register)})


@pytest.fixture(scope="module")
async def both_sites_have_records(network: Network) -> None:
    await asyncio.gather(*(made(network, site) for site in (NORTHSIDE, LAKESIDE) for made in (a_case, a_taken_flag)))


async def a_taken_flag(network: Network, site: str) -> None:
    """One that asks for a review: of the case itself nobody has taken the page."""
    at = At(network, site)
    referral = (await at.call("intake", "ReferralService/ReceiveReferral", a_referral())).referral.id
    recorded = await at.call("intake", "AssessmentService/RecordAssessment", phq_9(referral, [1] * 8 + [None]))
    request = AcknowledgeRiskFlagRequest(request_id=str(uuid4()), risk_flag_id=recorded.risk_flag_id)
    await at.call("intake", "RiskService/AcknowledgeRiskFlag", request)

    async def heard() -> bool:
        return bool(network.rows("notifications", f"SELECT 1 FROM taken_flag WHERE id = '{recorded.risk_flag_id}'"))

    await until(heard)
