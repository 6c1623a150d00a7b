"""The platform that faults are played on: what they break must not spill over into other tests."""

import os
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from stepway_cli.bring_up import bring_up
from stepway_cli.local.forget import forget
from stepway_cli.local.platform import Platform
from stepway_cli.sites import SiteRecord, read_sites
from tests.conftest import QUICK, SOAK
from tests.data import REPOSITORY
from tests.faults import apart as apart_
from tests.faults.apart import Apart
from tests.faults.stage import Stage
from tests.network import Network

OVERRIDES = {
    "intake": QUICK,
    "notifications": {**QUICK, "STEPWAY_SEND_LEASE_SECONDS": "3"},
}


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    folder = REPOSITORY / ".stepway" / f"faults-{os.getpid()}"
    platform = Platform(folder, overrides={} if SOAK else OVERRIDES)
    bring_up(platform, [_day_and_night(record) for record in read_sites([REPOSITORY / "deploy" / "sites"])])
    try:
        yield Stage(Network(platform))
    finally:
        platform.stop()
        forget(folder)


def _day_and_night(record: SiteRecord) -> SiteRecord:
    """Messages go at any hour, so that what is checked does not depend on when the test runs."""
    return replace(record, settings={**record.settings, "sending_window": ["00:00", "24:00"]})


@pytest.fixture(scope="session")
async def apart(stage: Stage) -> Apart:
    return await apart_.made(stage.platform)


@pytest.fixture
def seed() -> int:
    return random.SystemRandom().randrange(2**32) if SOAK else 20261121


@pytest.fixture
def injections() -> int:
    return 20 if SOAK else 4
