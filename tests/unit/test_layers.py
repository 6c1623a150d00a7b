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
    "stepway_intake.instruments.battery",
    "stepway_intake.instruments.coded",
    "stepway_intake.instruments.words",
    "stepway_scheduling.domain",
    "stepway_care.domain",
    "stepway_family.domain",
    "stepway_notifications.domain",
)
SHAPE = {"__init__.py", "__main__.py", "app.py", "domain.py", "store.py", "wire.py", "service.py", "consumers.py"}
OPTIONAL = {"settings.py", "gauges.py"}
BY_NOUN = ("domain", "store", "wire", "service")
"""What becomes a package once it is too long for a file: a file for each noun, by the same name in each of them."""
ITS_OWN = {
    "intake": {
        "instruments",
        "expiring.py",
        "handing_over.py",
        "leaving.py",
        "left_open.py",
        "watchdog.py",
        "fallback.py",
    },
    "scheduling": {"seating.py"},
    "family": {"inviting.py", "consents.py"},
    "notifications": {"channels", "sending.py", "escalating.py", "consents.py", "contacts.py"},
}
"""What a service alone has, beside the shape."""
KNOW_CONTRACTS = {"__init__", "__main__", "app", "wire", "service", "consumers", "settings"}

LOADED = """
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
print(*sys.modules, sep="\\n")
"""


def ours(pattern: str) -> list[Path]:
    roots = [REPOSITORY / name for name in ("chassis", "services", "cli", "tests")]
    return [path for root in roots for path in root.rglob(pattern)]


def packages() -> dict[str, Path]:
    return {path.name: path / f"stepway_{path.name}" for path in SERVICES.iterdir() if path.is_dir()}


def nouns(service: str, layer: str) -> set[str]:
    """None where the layer is one file; `tables` is what those of a store share."""
    return {path.stem for path in (packages()[service] / layer).glob("*.py")} - {"__init__", "tables"}


def modules_of(domain: str) -> list[str]:
    """The package's own file is empty, and to import it would prove nothing of those in it."""
    package = packages()[domain.split(".")[0].removeprefix("stepway_")]
    inside = package.joinpath(*domain.split(".")[1:]).glob("*.py")
    return [domain, *(f"{domain}.{path.stem}" for path in inside if path.stem != "__init__")]


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """What each domain loads in an interpreter of its own; all of them at once, to be quick."""
    started = {
        domain: subprocess.Popen([sys.executable, "-c", LOADED, *modules_of(domain)], stdout=subprocess.PIPE, text=True)
        for domain in DOMAINS
    }
    found = {domain: set(process.communicate()[0].split()) for domain, process in started.items()}
    assert all(process.returncode == 0 for process in started.values())
    return found


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_loads_no_database_no_network_and_no_contract(loaded: dict[str, set[str]], domain: str) -> None:
    assert set(modules_of(domain)) <= loaded[domain]
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
    found = {f"{name}.py" if name in BY_NOUN else name for name in found}
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
        if path.stem not in KNOW_CONTRACTS | {"__pycache__"}
    }
    assert kept_away == modules


@pytest.mark.parametrize("service", sorted(packages()))
def test_whoever_knows_a_noun_of_the_domain_finds_it_by_that_name_in_every_layer(service: str) -> None:
    beside = set[str]().union(*(nouns(service, layer) for layer in BY_NOUN[1:]))
    assert beside <= nouns(service, "domain")


@pytest.mark.parametrize("service", sorted(packages()))
def test_a_services_main_only_runs_its_app(service: str) -> None:
    lines = (packages()[service] / "__main__.py").read_text().splitlines()
    imports = {"from stepway_chassis.app import run", f"from stepway_{service}.app import APP"}
    first, second, last = (line for line in lines if line and not line.startswith('"""'))
    assert ({first, second}, last) == (imports, "run(APP)")
