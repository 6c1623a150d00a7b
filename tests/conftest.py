"""The servers and the running platform that tests share, and whether this is a soak."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from stepway_cli.bring_up import bring_up
from stepway_cli.local.forget import forget
from stepway_cli.local.platform import Platform
from stepway_cli.services import SERVICES
from stepway_cli.sites import read_sites
from tests.data import REPOSITORY
from tests.network import PATIENT, Network

pytest.register_assert_rewrite("tests.fhir", "tests.transfers")

SOAK = os.environ.get("STEPWAY_SOAK") == "1"

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=25)
settings.register_profile("soak", deadline=None, max_examples=5000)
settings.load_profile("soak" if SOAK else "fixed")

QUICK = {
    "STEPWAY_SITES_SECONDS": "0.5",
    "STEPWAY_ACK_WAIT_SECONDS": "4",
    "STEPWAY_FETCH_SECONDS": "5",
    "STEPWAY_RETRY_SECONDS": "0.2",
    "STEPWAY_RELAY_POLL_SECONDS": "0.2",
    "STEPWAY_PUBLISH_SECONDS": "2",
    "STEPWAY_SEAL_SECONDS": "1",
    "STEPWAY_COUNTS_SECONDS": "0.5",
}
"""Time-outs shortened so that a test sees a recovery within seconds; a soak keeps the real ones."""
_OWN = {
    "intake": {"STEPWAY_WATCH_SECONDS": "1", "STEPWAY_FALLBACK_SECONDS": "4"},
    "notifications": {"STEPWAY_SEND_LEASE_SECONDS": "3"},
}
OVERRIDES = {} if SOAK else {service: {**QUICK, **_OWN.get(service, {})} for service in SERVICES}


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    """A whole Stepway with two sites, of this test run alone."""
    folder = REPOSITORY / ".stepway" / f"test-{os.getpid()}"
    platform = Platform(folder, overrides=OVERRIDES)
    bring_up(platform, read_sites([REPOSITORY / "deploy" / "sites"]))
    try:
        yield Network(platform, seconds=PATIENT)
    finally:
        platform.stop()
        forget(folder)
