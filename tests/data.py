"""Where real input is read from, when it is there."""

import json
import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DEMO_DATA = REPOSITORY / "cli" / "stepway_cli" / "demo_data"
TEST_DATA = Path(os.environ.get("STEPWAY_TEST_DATA", REPOSITORY.parent / "shared" / "data"))


def documents(folder: Path) -> list[tuple[str, bytes]]:
    """The name and content of every JSON file in a folder."""
    return [(path.name, path.read_bytes()) for path in sorted(folder.glob("*.json"))]


def resources(folder: Path) -> int:
    """How many FHIR resources lie in a folder and those within it: a bundle is what it holds."""
    return sum(len(json.loads(path.read_bytes()).get("entry", " ")) for path in folder.rglob("*.json"))
