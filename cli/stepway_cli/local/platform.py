"""A whole Stepway on one machine: its servers, its services, and what each service is told."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol, Self

from stepway_cli.local.folder import RunFolder
from stepway_cli.local.health import accepts, is_serving
from stepway_cli.local.nats import NatsServer
from stepway_cli.local.postgres import PostgresServer
from stepway_cli.local.process import Process
from stepway_cli.services import SERVICES
from stepway_cli.tokens import AUDIENCE, ISSUER, KeyFolder

_KEPT_FROM_CALLER = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
_STOP_SERVICES = 12.0
_STOP_ALL = 14.5


class Running(Protocol):
    """What a fault test may do to a server or a service."""

    @property
    def name(self) -> str: ...
    @property
    def alive(self) -> bool: ...
    @property
    def pid(self) -> int: ...
    def start(self) -> None: ...
    def stop(self, *, timeout: float = ...) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def restart(self) -> None: ...


class Platform:
    def __init__(
        self,
        folder: Path,
        services: tuple[str, ...] = SERVICES,
        *,
        cells: tuple[str, ...] = (),
        overrides: Mapping[str, Mapping[str, str]] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`cells` are further processes such as "intake@west", which start when they are named.

        `overrides` adds to or replaces parts of one service's environment; `say` hears what is going on.
        """
        self.folder = RunFolder(folder)
        self.services = services
        self.cells = cells
        self.keys = KeyFolder(self.folder.path / "keys")
        self._overrides = overrides or {}
        self._say = say
        self._running: dict[str, Running] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """The servers, empty databases, roles and keys; no service yet. When a part fails, all parts stop again."""
        self.folder.hold()
        try:
            self._start_servers()
            self._provision()
        except BaseException:
            self.stop()
            raise

    def start_services(self, *names: str) -> None:
        """Every service if none is named, side by side; returns when each says SERVING."""
        chosen = names or self.services
        for name in chosen:
            self._launch(name)
        for name in chosen:
            self.wait_until_serving(name)

    def start_service(self, name: str) -> None:
        self.start_services(name)

    def wait_until_serving(self, name: str, *, timeout: float = 60.0) -> None:
        """DidNotStart, with the last log lines, when the process ends first."""
        service = self._running[name]
        assert isinstance(service, Process), f"{name} is no service"
        service.wait_until(partial(is_serving, self.folder.port(name)), timeout=timeout)

    def stop(self) -> None:
        """Everything, within 15 seconds, whatever state it is in."""
        deadline = time.monotonic() + _STOP_ALL
        self._stop_services(time.monotonic() + _STOP_SERVICES)
        for name in ("smtp", "nats", "postgres"):
            if name in self._running:
                self._running.pop(name).stop(timeout=max(0.5, (deadline - time.monotonic()) / 2))
        self.folder.release()

    def process(self, name: str) -> Running:
        """A started service, or one of "postgres", "nats" and "smtp"."""
        return self._running[name]

    def address(self, service: str) -> str:
        """Of a service, or of one cell of it."""
        return f"127.0.0.1:{self.folder.port(service)}"

    @property
    def addresses(self) -> dict[str, str]:
        return {name: self.address(name) for name in (*self.services, *self.cells)}

    def metrics_address(self, name: str) -> str:
        return f"127.0.0.1:{self.folder.port(f'{name}-metrics')}"

    def database_url(self, service: str, role: str) -> str:
        return self.postgres.url(service, role)

    @property
    def postgres(self) -> PostgresServer:
        server = self._running["postgres"]
        assert isinstance(server, PostgresServer)
        return server

    @property
    def nats(self) -> NatsServer:
        server = self._running["nats"]
        assert isinstance(server, NatsServer)
        return server

    @property
    def nats_admin(self) -> tuple[str, str, str]:
        """The address, the user, the password."""
        return self.nats.url, "admin", self.nats.password("admin")

    @property
    def mails(self) -> Path:
        return self.folder.subfolder("mails")

    @property
    def texts(self) -> Path:
        return self.folder.subfolder("texts")

    def environment(self, name: str) -> dict[str, str]:
        """All that a service, or a cell of it, is told; nothing of the caller's own STEPWAY_ variables."""
        service, _, cell = name.partition("@")
        return {
            **_base_environment(),
            **({"STEPWAY_CELL": cell} if cell else {}),
            "STEPWAY_LISTEN": self.address(name),
            "STEPWAY_DATABASE_URL": self.database_url(service, "app"),
            "STEPWAY_RELAY_DATABASE_URL": self.database_url(service, "relay"),
            "STEPWAY_KEEPER_DATABASE_URL": self.database_url(service, "keeper"),
            "STEPWAY_NATS_URL": self.nats.url,
            "STEPWAY_NATS_USER": service,
            "STEPWAY_NATS_PASSWORD": self.nats.password(service),
            "STEPWAY_JWKS_FILE": str(self.keys.jwks_file),
            "STEPWAY_SERVICE_KEY_FILE": str(self.keys.service_key_file(service)),
            "STEPWAY_ISSUER": ISSUER,
            "STEPWAY_AUDIENCE": AUDIENCE,
            "STEPWAY_PEERS": ",".join(f"{peer}={address}" for peer, address in self.addresses.items()),
            "STEPWAY_TRACE_FILE": str(self.folder.subfolder("traces") / f"{name}.jsonl"),
            "STEPWAY_METRICS_LISTEN": self.metrics_address(name),
            "STEPWAY_REFLECTION": "true",
            **({"STEPWAY_SMTP_URL": self._smtp_url} if service in ("intake", "notifications") else {}),
            **({"STEPWAY_SMS_DIRECTORY": str(self.texts)} if service == "notifications" else {}),
            **self._overrides.get(service, {}),
        }

    @property
    def _smtp_url(self) -> str:
        return f"smtp://127.0.0.1:{self.folder.port('smtp')}"

    def _start_servers(self) -> None:
        self._say("Starting PostgreSQL")
        self._start(PostgresServer(self.folder))
        self._say("Starting NATS")
        self._start(NatsServer(self.folder, self.services))
        self._say("Starting a mail server that delivers to a folder")
        sink = self._mail_sink()
        self._start(sink)
        sink.wait_until(partial(accepts, self.folder.port("smtp")), timeout=30)

    def _start(self, server: Running) -> None:
        self._running[server.name] = server
        server.start()

    def _provision(self) -> None:
        self.keys.create(self.services)
        for service in self.services:
            self._say(f"Preparing the database of {service}")
            self.postgres.provision(service)

    def _launch(self, name: str) -> None:
        if name not in self._running:
            self._running[name] = self._service(name)
        self._say(f"Starting {name} on {self.address(name)}")
        self._running[name].start()

    def _mail_sink(self) -> Process:
        arguments = ["--port", str(self.folder.port("smtp")), "--directory", str(self.mails)]
        return self._python("smtp", "stepway_cli.local.smtp_sink", arguments, _base_environment())

    def _service(self, name: str) -> Process:
        return self._python(name, f"stepway_{name.partition('@')[0]}", [], self.environment(name))

    def _python(self, name: str, module: str, arguments: list[str], env: Mapping[str, str]) -> Process:
        log = self.folder.subfolder("logs") / f"{name}.log"
        return Process(name, [sys.executable, "-m", module, *arguments], env, log, cwd=self.folder.path)

    def _stop_services(self, deadline: float) -> None:
        names = (*self.services, *self.cells)
        services = [self._running.pop(name) for name in names if name in self._running]
        asked = [service for service in services if isinstance(service, Process)]
        for service in asked:
            self._say(f"Stopping {service.name}")
            service.ask_to_stop()
        for service in asked:
            service.wait_or_kill(max(0.0, deadline - time.monotonic()))


def _base_environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_FROM_CALLER if name in os.environ}
    return kept | {"PYTHONUNBUFFERED": "1"}
