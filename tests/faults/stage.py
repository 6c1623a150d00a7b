"""Where the faults are played: a platform of their own, its history, and what may be done to its parts."""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from stepway.scheduling.v1.track_pb2 import DAYPART_EVENING, DAYPART_MORNING, Daypart
from stepway_chassis.broker import ensure_stream
from stepway_cli import moves, sites
from stepway_cli.local.health import is_serving
from stepway_cli.local.process import Process
from stepway_cli.spreading import spread
from tests.conftest import SOAK
from tests.faults import checker, load
from tests.faults.commands import Commands
from tests.faults.history import Command, History
from tests.faults.load import Load
from tests.faults.observed import SITES, Observed, Observer
from tests.faults.quiet import LONGEST, quiet
from tests.faults.stream_checks import Buried
from tests.network import Network

SERVERS = ("postgres", "nats", "smtp")


@dataclass(frozen=True)
class TakenIn:
    """The ids of somebody who is in the programme, and of whom they let be told."""

    site: str
    patient: str
    referral: str
    consent: str
    family_member: str
    admission: str


@dataclass
class Stage:
    network: Network
    history: History = field(default_factory=History)
    letters: set[Buried] = field(default_factory=set)  # the dead letters that have to be there
    reported: set[str] = field(default_factory=set)  # faults: each fails the row that found it, and no other

    def __post_init__(self) -> None:
        self.platform = self.network.platform
        self.observer = Observer(self.network)

    async def set_up(self) -> None:
        """Few seats in the evening, so that a line forms, and enough in the morning; a small group for families."""
        commands = Commands(self.history, random.Random(1))
        for site in SITES:
            await self.sent(
                commands.open_track(site, DAYPART_EVENING, seats=2),
                commands.open_track(site, DAYPART_MORNING, seats=100),
                commands.plan_group(site, seats=10),
            )

    async def sent(self, *commands: Command) -> None:
        """Side by side, each asked again until it is answered."""
        await asyncio.gather(*(load.send(self.network, command) for command in commands))
        assert all(command.done for command in commands), [str(command) for command in commands]

    async def take_in(self, commands: Commands, site: str, *available: Daypart) -> "TakenIn":
        """Somebody's whole way into the programme, with a family member who may be told of the groups."""
        await self.sent(received := commands.receive(site))
        referral, patient = received.ids["id"], received.ids["patient"]
        await self.sent(commands.assess(site, referral), granted := commands.grant(site, patient))
        await self.sent(commands.decide(site, referral))
        await self.sent(admitted := commands.admit(site, referral, available))
        member = granted.ids["family_member"]
        return TakenIn(site, patient, referral, granted.ids["id"], member, admitted.ids["id"])

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
        """Ask again whatever had no answer, and check when quiet; a soak checks before that as well."""
        if SOAK:
            await self.checked()
        await asyncio.gather(*(load.send(self.network, command) for command in self.history.unknown()))
        assert not self.history.unknown()
        return await self.checked()

    async def checked(self) -> Observed:
        await quiet(self.network)
        seen = await self.observer.look()
        faults = [each for each in checker.faults(self.history, seen, self.letters) if each not in self.reported]
        self.reported.update(faults)
        assert not faults, f"{len(faults)} faults: " + "\n".join(faults[:20])
        return seen

    async def mend(self) -> None:
        """Whatever is paused or dead runs again, and there is a stream; what is whole stays as it is."""
        for name in (*SERVERS, *self.platform.services):
            self.platform.process(name).resume()
        for name in SERVERS:
            await self.start(name)
        await ensure_stream(*self.platform.nats_admin)
        await asyncio.gather(*(self.start(name) for name in self.platform.services))

    async def kill(self, name: str) -> None:
        await asyncio.to_thread(self.platform.process(name).kill)

    async def stop(self, name: str) -> None:
        await asyncio.to_thread(self.platform.process(name).stop)

    async def start(self, name: str) -> None:
        """Back when a server answers, or a service says SERVING."""
        await asyncio.to_thread(self.platform.process(name).start)
        if name in self.platform.addresses:
            await asyncio.to_thread(self.platform.wait_until_serving, name, timeout=LONGEST)

    def pids(self) -> list[int]:
        return [self.platform.process(name).pid for name in self.platform.services]

    def count(self, service: str, query: str) -> int:
        return int(self.network.rows(service, f"SELECT count(*) AS n FROM {query}")[0]["n"])

    @asynccontextmanager
    async def cells(self, *names: str) -> AsyncIterator[None]:
        """Cells such as "intake@west" run in here; at the end every site is back in the cell without a name."""
        try:
            await asyncio.to_thread(self.platform.start_services, *names)
            async with self.home(*(name.partition("@")[0] for name in names)):
                yield
        finally:
            for name in names:
                await self.stop(name)

    @asynccontextmanager
    async def home(self, *services: str) -> AsyncIterator[None]:
        """At the end every site is back in the cell without a name, however this ends."""
        try:
            yield
        finally:
            await self.mend()
            for service in services:
                for site in SITES:
                    await self.move(site, service, "shared")

    async def move(self, site: str, service: str, cell: str) -> None:
        """As `stepway sites move` does."""
        register = self.platform.database_url(service, "registrar")
        await moves.move(register, site, cell)
        await spread(self.platform.nats_admin, {service: await sites.listed(register)})

    @asynccontextmanager
    async def replica(self, service: str, number: int = 1) -> AsyncIterator[Process]:
        """Another process of a service, on the same database; nobody calls it, and it does all else that one does."""
        name = f"{service}-replica-{number}"
        told = {
            **self.platform.environment(service),
            "STEPWAY_LISTEN": f"127.0.0.1:{self.platform.folder.port(name)}",
            "STEPWAY_TRACE_FILE": str(self.traces(name)),
            "STEPWAY_METRICS_LISTEN": "127.0.0.1:0",
        }
        async with self.process(name, [sys.executable, "-m", f"stepway_{service}"], told) as process:
            yield process

    def traces(self, name: str) -> Path:
        return self.platform.folder.subfolder("traces") / f"{name}.jsonl"

    @asynccontextmanager
    async def process(self, name: str, argv: list[str], told: Mapping[str, str]) -> AsyncIterator[Process]:
        """A service that the platform knows nothing of; it is told where to listen, and serves when this begins."""
        port = int(told["STEPWAY_LISTEN"].rpartition(":")[2])
        log = self.platform.folder.subfolder("logs") / f"{name}.log"
        process = Process(name, argv, told, log)
        process.start()
        try:
            await asyncio.to_thread(process.wait_until, partial(is_serving, port), timeout=LONGEST)
            yield process
        finally:
            await asyncio.to_thread(process.stop)

    @contextmanager
    def stall(self) -> Iterator[None]:
        """What a process hands over while it is stopped in here had begun before."""
        began = datetime.now(UTC)
        yield
        self.history.stalls.append((began, datetime.now(UTC)))
