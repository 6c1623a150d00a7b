"""A PostgreSQL server of our own: passwords for everyone, TCP on 127.0.0.1 only, data that outlives a kill."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepway_cli.local.errors import SetupFailed
from stepway_cli.local.folder import RunFolder, write_private
from stepway_cli.local.leash import leashed
from stepway_cli.local.leftovers import end_leftovers, signal_all
from stepway_cli.local.postgres_home import PostgresHome, home_for
from stepway_cli.local.process import Process
from stepway_cli.local.roles import ROLES, database_of, role_of, roles_sql

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "128MB",
    "max_connections": "200",
    "wal_level": "replica",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_error_verbosity": "terse",  # the detail of a violated constraint quotes the row, and rows hold people
}

_INITDB = ("--username=stepway", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C")
_BUILTIN_LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")

_NO_STRANGERS = "REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC;"


class PostgresServer:
    name = "postgres"

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._home = home_for(folder)
        self.port = folder.port(self.name)
        self._process = Process(
            self.name,
            [self._program("postgres"), "-D", str(self.data), "-p", str(self.port), *_as_arguments(_SETTINGS)],
            _environment(),
            folder.subfolder("logs") / "postgres.log",
            user=self._home.user,
            cwd=self._home.place,
            death_signal=signal.SIGQUIT,  # an immediate shutdown takes the backends and the shared memory along
        )

    @property
    def alive(self) -> bool:
        return self._process.alive

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def data(self) -> Path:
        return self._home.data

    def start(self) -> None:
        """Make the cluster if there is none, end what a killed supervisor left, and wait until it answers."""
        if self.alive:
            return
        self._forget_data_of_a_removed_folder()
        end_leftovers(self.data)
        if not self.data.exists():
            self._make_cluster()
        self._process.start()
        self._process.wait_until(self._answers, timeout=60)

    def stop(self, *, timeout: float = 10.0) -> None:
        """Fast shutdown (sessions are ended, data is flushed); an immediate one for the last third of the time."""
        signal_all(self.data, signal.SIGCONT)
        self._process.ask_to_stop(signal.SIGINT)
        if self.alive and not self._ended_within(timeout * 2 / 3):
            self._process.stop(first=signal.SIGQUIT, timeout=timeout / 3)
        end_leftovers(self.data)

    def kill(self) -> None:
        """SIGKILL to the postmaster; returns when its backends are gone too, so that a start can follow."""
        self._process.kill()
        end_leftovers(self.data)

    def pause(self) -> None:
        signal_all(self.data, signal.SIGSTOP)

    def resume(self) -> None:
        signal_all(self.data, signal.SIGCONT)

    def restart(self) -> None:
        self.stop()
        self.start()

    def remove(self) -> None:
        """Delete the data of this run, which as root is outside the run folder."""
        self.stop()
        shutil.rmtree(self._home.place)

    def provision(self, service: str) -> None:
        """The service's database and roles; may run again."""
        passwords = {role: self._folder.secret(role_of(service, role)) for role in ROLES}
        self.run_sql(_NO_STRANGERS + roles_sql(service, passwords))

    def url(self, service: str, role: str) -> str:
        name = role_of(service, role)
        return f"postgresql://{name}:{self._folder.secret(name)}@127.0.0.1:{self.port}/{database_of(service)}"

    def run_sql(self, sql: str, *, database: str = "postgres") -> str:
        """What psql prints, unaligned, for a script run as the superuser; SetupFailed at the first error."""
        done = self._psql(sql, database)
        if done.returncode != 0:
            raise SetupFailed("psql", done.stderr)
        return done.stdout

    def query(self, sql: str, *, database: str) -> list[dict[str, Any]]:
        """The rows of a SELECT, past every policy: for whoever looks after the machine."""
        whole = f"SELECT coalesce(json_agg(row_to_json(found)), '[]') FROM ({sql}) AS found"  # noqa: S608
        return list(json.loads(self.run_sql(whole, database=database)))

    def _psql(self, sql: str, database: str) -> subprocess.CompletedProcess[str]:
        where = f"host=127.0.0.1 port={self.port} user=stepway dbname={database} connect_timeout=5"
        return subprocess.run(
            [self._program("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-f", "-", where],
            input=sql,
            env=_environment() | {"PGPASSWORD": self._folder.secret("postgres")},
            capture_output=True,
            text=True,
            check=False,
        )

    def _answers(self) -> bool:
        return self._psql("SELECT 1", "postgres").returncode == 0

    def _ended_within(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except TimeoutError:
            return False
        return True

    def _program(self, name: str) -> str:
        return str(self._home.programs / name)

    def _forget_data_of_a_removed_folder(self) -> None:
        """A run folder that was deleted took its passwords along; what it kept elsewhere is of no use to anyone."""
        mark = self._home.place / "belongs-to"
        if mark.exists() and mark.read_text() != self._folder.secret("run"):
            end_leftovers(self.data)
            shutil.rmtree(self.data, ignore_errors=True)
        write_private(mark, self._folder.secret("run"))

    def _make_cluster(self) -> None:
        """Under another name first, so that a half-made cluster is never taken for one."""
        for abandoned in self._home.place.glob("new-*"):
            shutil.rmtree(abandoned)
        with tempfile.TemporaryDirectory(prefix="new-", dir=self._home.place) as new:
            self._initdb(Path(new))
            Path(new, "data").rename(self.data)

    def _initdb(self, new: Path) -> None:
        password = new / "password"
        password.touch(mode=0o600)
        password.write_text(self._folder.secret("postgres"))
        _give(self._home, new, password)
        initdb = [self._program("initdb"), "-D", str(new / "data"), f"--pwfile={password}", *_INITDB, *_BUILTIN_LOCALE]
        done = subprocess.run(
            leashed(initdb, user=self._home.user, death_signal=signal.SIGKILL),
            cwd=new,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SetupFailed("initdb", done.stdout + done.stderr)


def _give(home: PostgresHome, *paths: Path) -> None:
    if home.user is not None:
        for path in paths:
            shutil.chown(path, home.user)


def _as_arguments(settings: Mapping[str, str]) -> list[str]:
    return [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
