"""Runs one service: everything it needs is opened in order, and closed in the reverse order within 15 seconds."""

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from stepway_chassis import dead_letters, logs, loops, outbox, retention, telemetry
from stepway_chassis.broker import SITES, Broker
from stepway_chassis.consumers import Consumers, Pace
from stepway_chassis.contracts import ContractError
from stepway_chassis.counts import Counting, Gauge
from stepway_chassis.database import Database
from stepway_chassis.deliveries import Deliveries, Handler
from stepway_chassis.errors import Refusal
from stepway_chassis.identity import ServiceIdentity, Verifier
from stepway_chassis.logs import log
from stepway_chassis.loops import Loop, Rounds, Tasks
from stepway_chassis.metrics import Metrics
from stepway_chassis.pacing import Pacing
from stepway_chassis.relay import Relay, commits
from stepway_chassis.rpc.client import Peers
from stepway_chassis.rpc.server import Gate, Server
from stepway_chassis.sealing import Sealer
from stepway_chassis.seals import SealKeys, Signer
from stepway_chassis.settings import Settings, SettingsError, read
from stepway_chassis.sites import Sites
from stepway_chassis.telemetry import Telemetry
from stepway_chassis.watched import Watched

WATCH_SECONDS = 1.0
WELCOME_SECONDS = 5.0
SEAL_SECONDS = 1.0
RELAY_SECONDS = 2.0
CLOSE_SECONDS = 3.0


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Runtime:
    """What the chassis hands to a service."""

    database: Database
    peers: Peers
    telemetry: Telemetry
    now: Callable[[], datetime]


@dataclass(frozen=True)
class Wiring:
    """What a service hands to the chassis."""

    servicers: Sequence[Any]
    handlers: Sequence[Handler[Any]] = ()
    loops: Sequence[Loop] = ()
    gauges: Sequence[Gauge] = ()


@dataclass(frozen=True)
class App:
    """A service: its name, how it is wired, and the shape of its own settings if it has any."""

    name: str
    wire: Callable[[Runtime, Any], Wiring]
    settings: type[Any] | None = None


@dataclass
class Service:
    """A running App."""

    app: App
    settings: Settings
    own_settings: Any = None
    now: Callable[[], datetime] = utc_now
    port: int = 0
    _tasks: Tasks = field(default_factory=Tasks)

    async def start(self) -> None:
        settings, name = self.settings, self.app.name
        self.telemetry = telemetry.start(
            name,
            cell=settings.cell,
            file=settings.trace_file,
            endpoint=settings.otlp_endpoint,
            ratio=settings.trace_ratio,
            metrics_listen=settings.metrics_listen,
        )
        self.broker = Broker(settings.nats_url, settings.nats_user, settings.nats_password)
        self.database = self._database(settings.database_url, settings.pool_size, self.telemetry.metrics)
        self.keeper = self._database(settings.keeper_database_url, 1)
        identity = ServiceIdentity(name, settings.service_key_file, issuer=settings.issuer, audience=settings.audience)
        self.peers = Peers(settings.peers, identity, self.telemetry, self.now)
        wiring = self.app.wire(Runtime(self.database, self.peers, self.telemetry, self.now), self.own_settings)
        self._build(wiring)
        self.broker.start()
        self.port = await self.server.start(settings.listen)
        self._start_tasks()
        log.info("service.started", port=self.port)

    def _database(self, url: str, pool_size: int, metrics: Metrics | None = None) -> Database:
        cell, name = self.settings.cell, self.app.name
        database = Database(url, service=name, cell=cell, pool_size=pool_size, nudge=self._nudge, metrics=metrics)
        database.statements = self.telemetry.watch(database.engine)
        return database

    def _build(self, wiring: Wiring) -> None:
        settings = self.settings
        verifier = Verifier(settings.jwks_file, issuer=settings.issuer, audience=settings.audience)
        gate = Gate(verifier, self.database, self.telemetry, Pacing(settings.site_pace), self.now)
        self.server = Server(wiring.servicers, gate, reflect=settings.reflection)
        self.relay = Relay(
            settings.relay_database_url,
            self.broker,
            self.telemetry,
            self.now,
            service=self.app.name,
            poll_seconds=settings.relay_poll_seconds,
            publish_seconds=settings.publish_seconds,
        )
        deliveries = Deliveries(self.database, self.telemetry, self.now, max_failures=settings.max_failures)
        pace = Pace(settings.ack_wait_seconds, settings.fetch_seconds, settings.retry_seconds)
        at_once = max(1, settings.pool_size // 2)
        metrics, handlers = self.telemetry.metrics, wiring.handlers
        self.consumers = Consumers(
            self.app.name, handlers, self.broker, deliveries, pace, at_once=at_once, metrics=metrics
        )
        own = [dead_letters.retrying(self.database, deliveries, handlers), retention.forgetting(self.keeper)]
        self.rounds = [Rounds(loop, self.database, poll_seconds=loops.SELDOM_SECONDS) for loop in (*wiring.loops, *own)]
        keys, signer = Watched(settings.jwks_file, SealKeys).now, Signer(settings.service_key_file)
        self.sealer = Sealer(
            self.database,
            self.keeper,
            signer,
            keys,
            self.now,
            seconds=settings.seal_seconds,
            served=lambda: self.sites.known,
        )
        gauges = (dead_letters.WAITING, *wiring.gauges)
        self.counting = Counting(self.database, gauges, seconds=settings.counts_seconds)
        self.sites = Sites(self.database, settings.cell, settings.sites_seconds, self._sites_changed)
        self.broker.hear(f"$KV.{SITES}.{self.app.name}.>", self.sites.nudge)
        self.broker.hear(commits(self.app.name), self.relay.nudge)

    def _start_tasks(self) -> None:
        self._relaying = self._tasks.start("relay", self.relay.run)
        self._sealing = self._tasks.start("sealer", self.sealer.run)
        self._reading = self._tasks.start("sites", self.sites.run)
        self._tasks.start("counts", self.counting.run)
        self._tasks.start("due", self._watch)
        for rounds in self.rounds:
            self._tasks.start("rounds", rounds.run)

    def _nudge(self, work_left: set[str]) -> None:
        if outbox.RELAY in work_left:
            self.relay.committed()
        for rounds in self.rounds:
            if rounds.name in work_left:
                rounds.nudge()

    def _sites_changed(self, before: frozenset[str], sites: frozenset[str]) -> None:
        self.telemetry.metrics.serve(sites)
        self.counting.serve(sites)
        self.consumers.serve(sites)
        for site in sites - before:
            self._tasks.start("welcome", partial(self._welcome, site))

    async def _welcome(self, site: str) -> None:
        """What a site gets when this process first sees it, unless another cell has it by then."""
        while site in self.sites.known:
            try:
                async with self.database.transaction(site, "welcome") as tx:
                    await loops.wake(tx, retention.LOOP, tx.now)
                    await dead_letters.retry_newer(tx)
                self.sealer.look_at(site)
                return
            except Refusal as refusal:
                log.warning("site.unwelcomed", site=site, reason=refusal.reason)
                await asyncio.sleep(WELCOME_SECONDS)

    async def _watch(self) -> None:
        """Nudge the loops that are due; SERVING while the database answers that, NATS may be away."""
        while True:
            try:
                self._nudge(await asyncio.wait_for(loops.due(self.database), 2))
                await self.server.serving(True)
            except Exception as error:
                log.warning("service.unready", error_type=type(error).__name__)
                await self.server.serving(False)
            slept = time.monotonic()
            await asyncio.sleep(WATCH_SECONDS)
            self.telemetry.metrics.loop_delayed(time.monotonic() - slept - WATCH_SECONDS)

    async def stop(self) -> None:
        """Say no, stop pulling, finish what was begun, seal it, publish what was committed, close."""
        grace = self.settings.drain_seconds
        await self.server.leaving()
        self._reading.cancel()  # no lane opens any more
        background = (self.consumers.stop(), *(rounds.stop() for rounds in self.rounds))
        await asyncio.gather(self.server.stop(grace), _at_most(grace, asyncio.gather(*background)))
        self.sealer.stop()
        await _at_most(SEAL_SECONDS, asyncio.shield(self._sealing))
        self.relay.stop()
        await _at_most(RELAY_SECONDS, asyncio.shield(self._relaying))
        await self._tasks.stop()
        closing = (self.peers.close(), self.broker.close(), self.database.close(), self.keeper.close())
        await asyncio.gather(
            asyncio.to_thread(self.telemetry.close), *(_at_most(CLOSE_SECONDS, each) for each in closing)
        )
        log.info("service.stopped")


async def _at_most(seconds: float, work: Any) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(work, seconds)


def configured(app: App, environ: Mapping[str, str]) -> Service:
    """Raises SettingsError."""
    shapes = (Settings, app.settings) if app.settings else (Settings,)
    settings, *own = read(environ, *shapes)
    return Service(app, settings, own[0] if own else None)


def run(app: App) -> None:
    """What `python -m` runs: until SIGTERM or SIGINT."""
    logs.configure(app.name, os.environ.get("STEPWAY_CELL", "shared"))
    try:
        service = configured(app, os.environ)
    except SettingsError as error:
        sys.exit(f"stepway {app.name}: {error}")
    try:
        asyncio.run(_until_told(service))
    except (OSError, ValueError, ContractError) as error:
        sys.exit(f"stepway {app.name}: cannot start: {error}")


async def _until_told(service: Service) -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await service.start()
    gc.freeze()  # what has been loaded lasts: no collection needs to look at it again
    await told.wait()
    await service.stop()
