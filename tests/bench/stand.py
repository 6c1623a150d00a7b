"""Where everything is measured: a platform of the bench alone, with as many sites as wanted."""

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

from stepway_cli.bring_up import prepare
from stepway_cli.local.forget import forget
from stepway_cli.local.health import is_serving
from stepway_cli.local.platform import Platform
from stepway_cli.local.process import Process
from stepway_cli.sites import read_sites
from stepway_cli.tokens import mint
from tests.bench.floor import places
from tests.bench.worker import Worker
from tests.data import REPOSITORY

MOST_SITES, FEW_SITES = 200, 10
NO_PACE = "100000"


def sites(count: int) -> list[str]:
    return [f"site-{number:03d}" for number in range(count)]


class Stand:
    """Started, it has servers, migrated databases, 200 registered sites of which 10 are open, and no service."""

    def __init__(self, folder: Path, *, rounds: int, seconds: float, say: Callable[[str], None]) -> None:
        """`seconds` is how long one round of one measurement takes, about."""
        self.rounds, self.seconds, self.say = rounds, seconds, say
        self.platform = Platform(folder, say=say)
        self.worker = Worker()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.callback(forget, self.platform.folder.path)
            opened.enter_context(self.platform)
            self._note_commit_times()
            self._prepare()
            opened.enter_context(self.worker)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def _note_commit_times(self) -> None:
        """One clock for both sides of a message: when the server has committed what."""
        self.platform.postgres.run_sql("ALTER SYSTEM SET track_commit_timestamp = on")
        self.platform.postgres.restart()

    def _prepare(self) -> None:
        example = read_sites([REPOSITORY / "deploy" / "sites"])[0]
        asyncio.run(prepare(self.platform, [replace(example, site=site) for site in sites(MOST_SITES)]))
        self.open_sites(FEW_SITES)
        self.sql("postgres", f"CREATE DATABASE {places.DATABASE}")
        self.sql(places.DATABASE, places.TABLES)
        asyncio.run(places.make_stream(*self.platform.nats_admin))

    def open_sites(self, count: int) -> None:
        """So many sites belong to this cell from now on, the others to another one."""
        for service in self.platform.services:
            self.sql(
                f"stepway_{service}",
                f"UPDATE site SET cell = CASE WHEN site < 'site-{count:03d}' THEN 'shared' ELSE 'elsewhere' END",
            )

    def sql(self, database: str, script: str) -> None:
        self.platform.postgres.run_sql(script, database=database)

    def rows(self, database: str, query: str) -> list[dict[str, Any]]:
        return self.platform.postgres.query(query, database=database)

    def number(self, database: str, query: str) -> float:
        """The one number that a query gives."""
        return float(next(iter(self.rows(database, query)[0].values())))

    @cached_property
    def superuser(self) -> str:
        """The address of the server's databases past every policy, up to the database's name."""
        password = self.platform.folder.secret("postgres")
        return f"postgresql://stepway:{password}@127.0.0.1:{self.platform.postgres.port}/"

    @cached_property
    def staff(self) -> list[tuple[str, str]]:
        """Each site with a token of its front desk."""
        return self.holders("front_desk", sites(MOST_SITES))

    def holders(self, role: str, at: Sequence[str]) -> list[tuple[str, str]]:
        """Each of these sites with a token of somebody who has the role there."""
        key, now, life = self.platform.keys.people_key(), datetime.now(UTC), timedelta(hours=2)
        grants = {site: {site: [role]} for site in at}
        return [(site, mint(key, f"{role}-{site}", grants=grants[site], now=now, lifetime=life)) for site in grants]

    @contextmanager
    def service(self, name: str, *module: str, label: str = "", **changes: str | None) -> Iterator[Process]:
        """A service that keeps a tenth of its traces, or what `module` runs in its place; None takes a setting away.

        No pace: that of ten sites would be measured instead of what a call costs.
        """
        told = {**self.platform.environment(name), "STEPWAY_TRACE_RATIO": "0.1", "STEPWAY_SITE_PACE": NO_PACE}
        changes = {**self._own_ports(label, told), **changes} if label else changes
        told = {key: value for key, value in {**told, **changes}.items() if value is not None}
        port = self.platform.folder.port(label or name)
        with self.running(label or name, *(module or (f"stepway_{name}",)), told=told, port=port) as process:
            yield process

    def _own_ports(self, label: str, told: Mapping[str, str]) -> dict[str, str | None]:
        """For a second process of a service, beside the first."""
        others = [key for key in told if key.endswith("_LISTEN") and key != "STEPWAY_LISTEN"]
        names = {"STEPWAY_LISTEN": label, **{key: f"{label}-{key}" for key in others}}
        return {key: f"127.0.0.1:{self.platform.folder.port(port)}" for key, port in names.items()}

    @contextmanager
    def running(self, name: str, *module: str, told: Mapping[str, str], port: int = 0) -> Iterator[Process]:
        """A Python module as a process until the block ends; the block begins when it serves on `port`."""
        log = self.platform.folder.subfolder("logs") / f"{name}.log"
        process = Process(name, [sys.executable, "-m", *module], told, log, cwd=REPOSITORY)
        process.start()
        try:
            if port:
                process.wait_until(partial(is_serving, port), timeout=60)
            yield process
        finally:
            process.stop()
