"""The platform that faults are played on: what they break must not spill over into other tests."""

import os
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from stepway_cli.bring_up import bring_up
from stepway_cli.local.forget import forget
from stepway_cli.local.platform import Platform
from stepway_cli.services import SERVICES
from stepway_cli.sites import SiteRecord, read_sites
from tests.conftest import OVERRIDES, SOAK
from tests.data import REPOSITORY
from tests.faults import apart as apart_
from tests.faults.apart import Apart
from tests.faults.stage import Stage
from tests.network import Network

CELLS = tuple(f"{service}@west" for service in SERVICES)  # they run where a test starts them
PAGE_AGAIN_SECONDS = 3600  # longer than a run: no ladder is climbed, unless a test wants it


@pytest.fixture(scope="session")
def faulty() -> Iterator[Platform]:
    folder = REPOSITORY / ".stepway" / f"faults-{os.getpid()}"
    platform = Platform(folder, cells=CELLS, overrides=OVERRIDES)
    bring_up(platform, [_day_and_night(record) for record in read_sites([REPOSITORY / "deploy" / "sites"])])
    try:
        yield platform
    finally:
        platform.stop()
        forget(folder)


@pytest.fixture(scope="session")
async def stage(faulty: Platform) -> Stage:
    stage = Stage(Network(faulty))
    await stage.set_up()
    return stage


@pytest.fixture(autouse=True)
async def _whole_for_the_next(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """A row that failed half-way leaves nothing stopped: its failure is its own."""
    yield
    if "stage" in request.fixturenames:
        await request.getfixturevalue("stage").mend()


def _day_and_night(record: SiteRecord) -> SiteRecord:
    """Messages go at any hour, so that what is checked does not depend on when the test runs."""
    always = {"sending_window": ["00:00", "24:00"], "page_again_seconds": PAGE_AGAIN_SECONDS}
    return replace(record, settings={**record.settings, **always})


@pytest.fixture(scope="session")
async def apart(stage: Stage) -> Apart:
    return await apart_.made(stage.platform)


@pytest.fixture
def seed() -> int:
    return random.SystemRandom().randrange(2**32) if SOAK else 20261121


@pytest.fixture
def injections() -> int:
    return 20 if SOAK else 3
