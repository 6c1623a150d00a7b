"""Where a command acts: on a run of this machine, or on servers that the environment names."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from stepway_cli.local.folder import RunFolder
from stepway_cli.local.roles import database_of, role_of
from stepway_cli.services import SERVICES
from stepway_cli.tokens import KeyFolder, Kind, mint

KINDS: dict[str, Kind] = {
    "front_desk": "staff",
    "clinician": "staff",
    "site_lead": "staff",
    "patient": "patient",
    "family_member": "family",
}
RUNS = Path(".stepway")
SHORT = timedelta(minutes=10)

_CELL = re.compile(rf"({'|'.join(SERVICES)})(@[a-z0-9-]+)?")
RUN_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")


class PlaceError(Exception):
    """The command does not know where to act, or may not; the message says what to set."""


class Place(Protocol):
    def addresses(self) -> Mapping[str, str]:
        """host:port of each service, and of each cell such as "intake@west" that runs apart."""

    def token(self, site: str, role: str, *, subject: str = "", lifetime: timedelta = SHORT) -> str: ...

    def database_url(self, service: str, role: str) -> str: ...

    def nats_admin(self) -> tuple[str, str, str]:
        """Address, user, password."""

    def jwks(self) -> str:
        """The public keys of the services, as a JSON Web Key Set."""

    def metrics(self) -> Mapping[str, str]:
        """host:port of each service's /metrics, as far as it is known."""

    def folder(self) -> Path:
        """Where traces are."""


def folder_of(run: str) -> Path:
    """Raises PlaceError for a name that is none."""
    if not RUN_NAME.fullmatch(run):
        raise PlaceError("a run's name is lower-case letters, digits and hyphens")
    return RUNS / run


@dataclass(frozen=True)
class LocalRun:
    """A run that another terminal has started with `stepway up`."""

    name: str

    def folder(self) -> Path:
        folder = folder_of(self.name)
        if not (folder / "ports.json").exists():
            raise PlaceError(f"nothing runs in {folder}: start it with `make up`, or set STEPWAY_ADDRESSES")
        return folder

    def addresses(self) -> Mapping[str, str]:
        ports = self._run().ports()
        return {name: f"127.0.0.1:{port}" for name, port in ports.items() if _CELL.fullmatch(name)}

    def token(self, site: str, role: str, *, subject: str = "", lifetime: timedelta = SHORT) -> str:
        if role not in KINDS:
            raise PlaceError(f"no such role; one of {', '.join(KINDS)}")
        key = KeyFolder(self.folder() / "keys").people_key()
        who = subject or f"{role}-{site}"
        return mint(key, who, kind=KINDS[role], grants={site: [role]}, now=datetime.now(UTC), lifetime=lifetime)

    def database_url(self, service: str, role: str) -> str:
        run, name = self._run(), role_of(service, role)
        return f"postgresql://{name}:{run.secret(name)}@127.0.0.1:{run.port('postgres')}/{database_of(service)}"

    def nats_admin(self) -> tuple[str, str, str]:
        run = self._run()
        return f"nats://127.0.0.1:{run.port('nats')}", "admin", run.secret("nats_admin")

    def jwks(self) -> str:
        return KeyFolder(self.folder() / "keys").jwks_file.read_text(encoding="utf-8")

    def metrics(self) -> Mapping[str, str]:
        ports = self._run().ports()
        return {
            name: f"127.0.0.1:{ports[f'{name}-metrics']}" for name in self.addresses() if f"{name}-metrics" in ports
        }

    def _run(self) -> RunFolder:
        return RunFolder(self.folder())


@dataclass(frozen=True)
class Servers:
    """Servers named by the environment, for operators and scripts."""

    environ: Mapping[str, str]

    def addresses(self) -> Mapping[str, str]:
        return _pairs(self._get("STEPWAY_ADDRESSES"))

    def metrics(self) -> Mapping[str, str]:
        return _pairs(self.environ.get("STEPWAY_METRICS_ADDRESSES", ""))

    def token(self, site: str, role: str, *, subject: str = "", lifetime: timedelta = SHORT) -> str:
        return self._get("STEPWAY_TOKEN")

    def database_url(self, service: str, role: str) -> str:
        return self._get(f"STEPWAY_{service}_{role}_URL".upper())

    def nats_admin(self) -> tuple[str, str, str]:
        return self._get("STEPWAY_NATS_URL"), self._get("STEPWAY_NATS_USER"), self._get("STEPWAY_NATS_PASSWORD")

    def jwks(self) -> str:
        return self._get("STEPWAY_JWKS")

    def folder(self) -> Path:
        return Path(self._get("STEPWAY_TRACES"))

    def _get(self, name: str) -> str:
        """The variable, or what the file holds that the variable with _FILE behind it names."""
        if file := self.environ.get(f"{name}_FILE"):
            return Path(file).read_text(encoding="utf-8").strip()
        if not self.environ.get(name):
            raise PlaceError(f"set {name}, or unset STEPWAY_ADDRESSES to act on a run of this machine")
        return self.environ[name]


def _pairs(text: str) -> Mapping[str, str]:
    pairs = (part.partition("=") for part in text.split(","))
    return {name: value for name, _, value in pairs if name}


def place(run: str) -> Place:
    """STEPWAY_ADDRESSES in the environment means servers; else the local run of this name."""
    return Servers(os.environ) if "STEPWAY_ADDRESSES" in os.environ else LocalRun(run)
