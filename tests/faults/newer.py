"""Versions to come, made from the contracts of today: one event says more, and later more values of that."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.data import REPOSITORY

EVENTS = Path("stepway/intake/v1/events.proto")
_ENUM = """
// The way by which word of somebody came.
enum ReferralRoute {{
  REFERRAL_ROUTE_UNSPECIFIED = 0;
{values}
}}
"""
_LAST = "  google.protobuf.Timestamp received_at = 3 [(buf.validate.field).required = true];\n"
_FIELD = "  ReferralRoute route = 4;\n"


@dataclass(frozen=True)
class Version:
    """What a process of this version is told; `says` is what its intake says of each referral."""

    contracts: Path

    def environment(self, told: Mapping[str, str], *, says: str = "") -> dict[str, str]:
        return {**told, "PYTHONPATH": f"{self.contracts}:{REPOSITORY}", "SAYS": says}


def version(folder: Path, *routes: str) -> Version:
    """A version in whose contracts ReferralReceived has a route, one of these; each is generated once."""
    contracts = folder / "-".join(routes)
    if not contracts.exists():
        _generate(_changed(routes), contracts)
    return Version(contracts)


def _changed(routes: tuple[str, ...]) -> str:
    today = (REPOSITORY / "protos" / EVENTS).read_text()
    values = "\n".join(f"  REFERRAL_ROUTE_{name} = {number};" for number, name in enumerate(routes, start=1))
    changed = today.replace(_LAST, _LAST + _FIELD, 1)
    assert changed != today
    return changed + _ENUM.format(values=values)


def _generate(events: str, contracts: Path) -> None:
    source = contracts.with_name(f"{contracts.name}-source")
    for folder in (source / EVENTS.parent, contracts):
        folder.mkdir(parents=True)
    (source / EVENTS).write_text(events)
    program = (
        "import sys; sys.path.insert(0, 'protos'); import build; from pathlib import Path;"
        f" sys.exit(build.run(Path({str(source)!r}), ['--proto_path=protos', '--python_out={contracts}', '{EVENTS}']))"
    )
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)
