"""The connection to NATS, which a service can start and serve without, and the one stream of events."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from stepway_chassis.logs import log

STREAM = "EVENTS"
SITES = "SITES"  # the bucket in which the register of sites is spread, under <service>.<site>
MAX_AGE_SECONDS = 90 * 24 * 3600
_UNREACHABLE = (nats.errors.Error, OSError, TimeoutError)


class Broker:
    """One connection, made in the background and made again for ever."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self._url = url
        self._user = user
        self._password = password
        self._client = Client()
        self._ready = asyncio.Event()
        self._connecting: asyncio.Task[None] | None = None
        self._when_back: set[Callable[[], None]] = set()
        self._heard: list[tuple[str, Callable[[], None]]] = []
        self._leaving = False

    def start(self) -> None:
        self._connecting = asyncio.create_task(self._connect())

    async def client(self, timeout: float) -> Client:
        """Wait until the first connection was made; raises TimeoutError."""
        async with asyncio.timeout(timeout):
            await self._ready.wait()
        return self._client

    async def jetstream(self, timeout: float) -> JetStreamContext:
        return (await self.client(timeout)).jetstream(timeout=timeout)

    @contextmanager
    def when_back(self, told: Callable[[], None]) -> Iterator[None]:
        """Call `told` each time the connection was lost and is there again: what was asked before is forgotten."""
        self._when_back.add(told)
        try:
            yield
        finally:
            self._when_back.discard(told)

    def hear(self, subject: str, told: Callable[[], None]) -> None:
        """Call `told` at every message under `subject`, whatever it says; to be asked for before the start."""
        self._heard.append((subject, told))

    async def tell(self, subject: str) -> None:
        """Have whoever hears this subject look; while the connection is away nobody does."""
        if self._client.is_connected:
            with suppress(*_UNREACHABLE):
                await self._client.publish(subject)

    async def _back(self) -> None:
        log.info("broker.reconnected")
        self._tell()

    def _tell(self) -> None:
        for told in self._when_back:
            told()

    async def _closed(self) -> None:
        """The server has sent this client away for good, after a change of its users for example: begin anew."""
        if not self._leaving:
            log.warning("broker.closed")
            self._ready.clear()
            self._client = Client()
            self._connecting = asyncio.create_task(self._connect())
            self._tell()

    async def _connect(self) -> None:
        while not self._client.is_connected:
            try:
                await self._client.connect(
                    self._url,
                    user=self._user,
                    password=self._password,
                    name=f"stepway-{self._user}",
                    inbox_prefix=f"_INBOX_{self._user}".encode(),
                    connect_timeout=2,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.25,  # type: ignore[arg-type]
                    ping_interval=5,
                    max_outstanding_pings=2,
                    allow_reconnect=True,
                    error_cb=_noted,
                    reconnected_cb=self._back,
                    closed_cb=self._closed,
                )
            except _UNREACHABLE as error:
                log.warning("broker.unreachable", error_type=type(error).__name__)
                await asyncio.sleep(0.5)
                self._client = Client()
        for subject, told in self._heard:
            await self._client.subscribe(subject, cb=_telling(told))
        log.info("broker.connected")
        self._ready.set()

    async def close(self) -> None:
        self._leaving = True
        if self._connecting:
            self._connecting.cancel()
            with suppress(asyncio.CancelledError):
                await self._connecting
        with suppress(*_UNREACHABLE):
            await asyncio.wait_for(self._client.close(), 2)


def _telling(told: Callable[[], None]) -> Callable[[Msg], Awaitable[None]]:
    async def heard(_: Msg) -> None:
        told()

    return heard


async def _noted(error: Exception) -> None:
    log.warning("broker.error", error_type=type(error).__name__)


async def ensure_stream(url: str, user: str, password: str) -> None:
    """Make the stream and the bucket of sites, or bring an existing stream to these limits, with the replicas that it
    has. Run by the operator.
    """
    client = await nats.connect(url, user=user, password=password, connect_timeout=5, max_reconnect_attempts=2)
    try:
        jetstream = client.jetstream()
        try:
            found = await jetstream.stream_info(STREAM)
        except NotFoundError:
            await jetstream.add_stream(_stream(replicas=1))
        else:
            await jetstream.update_stream(_stream(found.config.num_replicas or 1))
        await _ensure_bucket(jetstream)
    finally:
        await client.close()


async def _ensure_bucket(jetstream: JetStreamContext) -> None:
    try:
        await jetstream.key_value(SITES)
    except NotFoundError:
        await jetstream.create_key_value(bucket=SITES, history=1)


@dataclass(frozen=True)
class Stored:
    """One message as it lies in the stream."""

    seq: int
    subject: str
    headers: Mapping[str, str]
    payload: bytes


async def read_stream(url: str, user: str, password: str, subject: str = "evt.v1.>") -> list[Stored]:
    """Everything in the stream under `subject`, in order; for looking at it, not for consuming it."""
    client = await nats.connect(url, user=user, password=password, connect_timeout=5, max_reconnect_attempts=2)
    try:
        jetstream, seq = client.jetstream(), 1
        found: list[Stored] = []
        while True:
            try:
                message = await jetstream.get_msg(STREAM, seq=seq, subject=subject, next=True)
            except NotFoundError:
                return found
            headers = dict(message.headers or {})
            found.append(Stored(message.seq or 0, message.subject or "", headers, message.data or b""))
            seq = (message.seq or 0) + 1
    finally:
        await client.close()


def _stream(replicas: int) -> api.StreamConfig:
    return api.StreamConfig(
        name=STREAM,
        subjects=["evt.v1.>"],
        retention=api.RetentionPolicy.LIMITS,
        storage=api.StorageType.FILE,
        max_age=MAX_AGE_SECONDS,
        duplicate_window=600,
        deny_delete=True,
        max_msg_size=80 * 1024,
        max_consumers=20_000,
        num_replicas=replicas,
    )
