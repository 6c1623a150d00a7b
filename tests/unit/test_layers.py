"""The tree: what a domain really loads, empty packages, and the one shape of every service."""

import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.data import REPOSITORY

SERVICES = REPOSITORY / "services"
OUTSIDE = ("sqlalchemy", "asyncpg", "grpc", "nats", "google.protobuf", "google.rpc", "stepway", "opentelemetry")
DOMAINS = (
    "stepway_intake.domain",
    "stepway_intake.instruments.catalogue",
    "stepway_scheduling.domain",
    "stepway_care.domain",
    "stepway_family.domain",
    "stepway_notifications.domain",
)
SHAPE = {"__init__.py", "__main__.py", "app.py", "domain.py", "store.py", "wire.py", "service.py", "consumers.py"}
OPTIONAL = {"settings.py", "gauges.py"}
ITS_OWN = {
    "intake": {"instruments", "watchdog.py"},
    "scheduling": {"seating.py"},
    "family": {"inviting.py", "consents.py"},
    "notifications": {"channels", "sending.py", "escalating.py", "consents.py"},
}
"""What a service alone has, beside the shape."""
KNOW_CONTRACTS = {"__init__.py", "__main__.py", "app.py", "wire.py", "service.py", "consumers.py", "settings.py"}

LOADED = "import importlib, sys; importlib.import_module(sys.argv[1]); print(*sys.modules, sep='\\n')"


def ours(pattern: str) -> list[Path]:
    roots = [REPOSITORY / name for name in ("chassis", "services", "cli", "tests")]
    return [path for root in roots for path in root.rglob(pattern)]


def packages() -> dict[str, Path]:
    return {path.name: path / f"stepway_{path.name}" for path in SERVICES.iterdir() if path.is_dir()}


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """What each domain loads in an interpreter of its own; all of them at once, to be quick."""
    started = {
        domain: subprocess.Popen([sys.executable, "-c", LOADED, domain], stdout=subprocess.PIPE, text=True)
        for domain in DOMAINS
    }
    found = {domain: set(process.communicate()[0].split()) for domain, process in started.items()}
    assert all(process.returncode == 0 for process in started.values())
    return found


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_loads_no_database_no_network_and_no_contract(loaded: dict[str, set[str]], domain: str) -> None:
    assert domain in loaded[domain]
    assert not {module for module in loaded[domain] for name in OUTSIDE if f"{module}.".startswith(f"{name}.")}


def test_every_domain_is_looked_at() -> None:
    assert {f"stepway_{name}.domain" for name in packages()} <= set(DOMAINS)


def test_every_init_file_is_empty() -> None:
    inits = ours("__init__.py")
    assert len(inits) > 5
    assert [str(path) for path in inits if path.stat().st_size] == []


@pytest.mark.parametrize("service", sorted(packages()))
def test_a_service_has_the_files_that_every_service_has(service: str) -> None:
    found = {path.name for path in packages()[service].iterdir() if path.name != "__pycache__"}
    found = {"domain.py" if name == "domain" else name for name in found}  # a package once it is too long for a file
    assert found >= SHAPE
    assert found - SHAPE - OPTIONAL == ITS_OWN.get(service, set())
    assert list((SERVICES / service / "migrations" / "versions").glob("20??_??_??_????_*.py"))


def test_the_linter_keeps_contracts_from_every_module_but_those_that_may_know_them() -> None:
    rules = ConfigParser()
    rules.read(REPOSITORY / ".importlinter")
    kept_away = set(rules["importlinter:contract:contracts"]["source_modules"].split())
    modules = {
        f"{package.name}.{path.stem}"
        for package in packages().values()
        for path in package.iterdir()
        if path.name not in KNOW_CONTRACTS | {"__pycache__"}
    }
    assert kept_away == modules


@pytest.mark.parametrize("service", sorted(packages()))
def test_a_services_main_only_runs_its_app(service: str) -> None:
    lines = (packages()[service] / "__main__.py").read_text().splitlines()
    imports = {"from stepway_chassis.app import run", f"from stepway_{service}.app import APP"}
    first, second, last = (line for line in lines if line and not line.startswith('"""'))
    assert ({first, second}, last) == (imports, "run(APP)")
