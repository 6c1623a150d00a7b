"""The stepway command as a script runs it."""

import subprocess
import sys
from pathlib import Path

from tests.data import REPOSITORY
from tests.network import Network

STEPWAY = Path(sys.executable).with_name("stepway")


def stepway(network: Network, *arguments: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
    """On the running platform of these tests."""
    run = network.platform.folder.path.name
    return subprocess.run(
        [STEPWAY, *arguments, "--run", run],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
