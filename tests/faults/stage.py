"""Where the faults are played: a platform of their own, its history, and what may be done to its parts."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from tests.faults import checker, load
from tests.faults.checker import Buried
from tests.faults.history import History
from tests.faults.load import PATIENT, Load
from tests.faults.observed import Observed, Observer
from tests.faults.quiet import quiet
from tests.network import Network


@dataclass
class Stage:
    network: Network
    history: History = field(default_factory=History)
    letters: set[Buried] = field(default_factory=set)  # the dead letters that have to be there

    def __post_init__(self) -> None:
        self.platform = self.network.platform
        self.observer = Observer(self.network)

    @asynccontextmanager
    async def loaded(self, row: str, seed: int) -> AsyncIterator[Load]:
        """Play one row under load, and check every invariant when all is quiet."""
        began, before = time.monotonic(), len(self.history.commands)
        async with load.loaded(self.network, self.history, seed) as running:
            yield running
        ran = time.monotonic() - began
        seen = await self.settled()
        print(
            f"\n{row}: seed {seed}, {len(self.history.commands) - before} commands in {ran:.1f} s,"
            f" all checked after {time.monotonic() - began:.1f} s; {len(seen.stream)} events so far"
        )

    async def settled(self) -> Observed:
        """Check when quiet; then ask again whatever had no answer, and check that as well."""
        seen = await self.checked()
        unknown = self.history.unknown()
        if unknown:
            for command in unknown:
                await load.send(self.network, command, PATIENT)
            seen = await self.checked()
        assert not self.history.unknown()
        return seen

    async def checked(self) -> Observed:
        await quiet(self.network)
        seen = await self.observer.look()
        faults = checker.faults(self.history, seen, self.letters)
        assert not faults, f"{len(faults)} faults: " + "\n".join(faults[:20])
        return seen

    async def kill(self, name: str) -> None:
        await asyncio.to_thread(self.platform.process(name).kill)

    async def start(self, name: str) -> None:
        """Back when a server answers, or a service says SERVING."""
        await asyncio.to_thread(self.platform.process(name).start)
        if name in self.platform.services:
            await asyncio.to_thread(self.platform.wait_until_serving, name)

    def pids(self) -> list[int]:
        return [self.platform.process(name).pid for name in self.platform.services]

    def count(self, service: str, query: str) -> int:
        return int(self.network.rows(service, f"SELECT count(*) AS n FROM {query}")[0]["n"])

    @asynccontextmanager
    async def superuser(self, service: str) -> AsyncIterator[Any]:
        """A connection past every policy, for holding locks."""
        password, port = self.platform.folder.secret("postgres"), self.platform.postgres.port
        url = f"postgresql://stepway:{password}@127.0.0.1:{port}/stepway_{service}"
        connection = await asyncpg.connect(url)
        try:
            yield connection
        finally:
            await connection.close()
