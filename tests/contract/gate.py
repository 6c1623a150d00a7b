"""What `make check` asks of the contracts: their style, their promises to older clients, and the rules of the house."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from google.protobuf.descriptor import FileDescriptor

from stepway_chassis.contracts import faults
from stepway_cli.catalogue import page

REPOSITORY = Path(__file__).resolve().parents[2]
PROTOS = REPOSITORY / "protos"
GENERATED = PROTOS / "gen"
IMAGE = GENERATED / "image.binpb"
CATALOGUE = REPOSITORY / "docs" / "event-catalogue.md"
BUF = Path(sys.executable).with_name("buf")
NOT_OURS = ["google", "buf"]
OPTIONS = ("stepway/access/", "stepway/privacy/", "stepway/events/")  # they say what the rules mean
NO_RELEASE = "none"


def lint(image: Path) -> list[str]:
    return _buf("lint", str(image), lint={"use": ["STANDARD"], "ignore": NOT_OURS})


def breaking(image: Path, released: Path) -> list[str]:
    """What a client of the released contracts would stumble over."""
    return _buf("breaking", str(image), "--against", str(released), breaking={"use": ["FILE"], "ignore": NOT_OURS})


def _buf(*arguments: str, **rules: dict[str, list[str]]) -> list[str]:
    config = json.dumps({"version": "v2", **rules})
    done = subprocess.run([BUF, *arguments, "--config", config], capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    return said or ["buf failed and did not say why"] if done.returncode else []


def broken_since(baseline: str, repository: Path, image: Path) -> list[str]:
    """Compare with the contracts at the commit `baseline` of `repository`."""
    with tempfile.TemporaryDirectory() as temporary:
        protos, released = Path(temporary, "protos"), Path(temporary, "released.binpb")
        exported = subprocess.run(
            ["git", "-C", str(repository), "archive", "--format=tar", baseline, "--", "protos"],
            capture_output=True,
            check=False,
        )
        if exported.returncode:
            return [f"git cannot show the protos at {baseline}: {exported.stderr.decode().strip()}"]
        subprocess.run(["tar", "-x", "-C", temporary], input=exported.stdout, check=True)
        if build().build_image(protos, released):
            return [f"protoc cannot read the protos at {baseline}"]
        return breaking(image, released)


def build() -> ModuleType:
    """protos/build.py, which belongs to no package."""
    spec = spec_from_file_location("stepway_protos_build", PROTOS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def contracts() -> list[FileDescriptor]:
    """All are imported before any is looked at: they name each other's RPCs."""
    names = [file.relative_to(GENERATED).with_suffix("") for file in sorted((GENERATED / "stepway").rglob("*_pb2.py"))]
    return [import_module(".".join(name.parts)).DESCRIPTOR for name in names if not str(name).startswith(OPTIONS)]


def full_inits(folder: Path) -> list[str]:
    """Package files that hold something, and so run when a neighbour is imported; hidden folders are not ours."""
    visible = (child for child in folder.iterdir() if not child.name.startswith("."))
    inits = sorted(init for child in visible for init in child.rglob("__init__.py"))
    return [f"{init.relative_to(folder)}: empty it" for init in inits if init.stat().st_size]


def stale_pages() -> list[str]:
    """Pages that are made from the contracts, and are not what would be made now."""
    current = CATALOGUE.exists() and CATALOGUE.read_text(encoding="utf-8") == page()
    return [] if current else [f"{CATALOGUE.relative_to(REPOSITORY)}: run `make catalogue`"]


def since_the_release() -> list[str]:
    baseline = (PROTOS / "BASELINE").read_text().strip()
    return [] if baseline == NO_RELEASE else broken_since(baseline, REPOSITORY, IMAGE)


def _compared_with() -> str:
    baseline = (PROTOS / "BASELINE").read_text().strip()
    return "there is no release to compare with" if baseline == NO_RELEASE else f"compared with {baseline}"


def main() -> int:
    checks: dict[str, Callable[[], list[str]]] = {
        "contracts: buf lint, STANDARD": lambda: lint(IMAGE),
        f"contracts: buf breaking, {_compared_with()}": since_the_release,
        "contracts: access, privacy and events": lambda: faults(contracts()),
        "docs: the event catalogue": stale_pages,
        "packages: every __init__.py is empty": lambda: full_inits(REPOSITORY),
    }
    broken = {name: check() for name, check in checks.items()}
    for name, found in broken.items():
        print("\n  ".join([f"{name}: {'BROKEN' if found else 'ok'}", *found]))
    return 1 if any(broken.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
