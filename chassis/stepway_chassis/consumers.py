"""Pulls each site's events from the stream, urgent ones in a lane of their own."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from zlib import crc32

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from stepway_chassis.broker import STREAM, Broker
from stepway_chassis.deliveries import Deliveries, Delivery, Handler, Outcome
from stepway_chassis.logs import log
from stepway_chassis.loops import Tasks
from stepway_chassis.metrics import Metrics
from stepway_chassis.turns import Turns

OF_ONE_SITE = 2  # events of one lane that are handled at the same time
IN_FLIGHT = 8  # each has to be done within the ack time, so that no more wait than are soon handled
URGENT_AT_ONCE = 4
MAX_ACK_PENDING = 512
FORGOTTEN_SECONDS = 7 * 24 * 3600.0
LONGEST_PAUSE_SECONDS = 10.0
REQUEST_SECONDS = 5.0
_GONE = ("503", "409")  # no such consumer, or it was deleted under us


def durable(service: str, site: str, urgent: bool, subjects: Iterable[str]) -> str:
    """<service>-<site>-<lane>-<generation>; another set of event types is another generation."""
    generation = hashlib.sha256("\n".join(sorted(subjects)).encode()).hexdigest()[:8]
    return f"{service}-{site}-{'urgent' if urgent else 'normal'}-{generation}"


def _event(subject: str) -> str:
    """evt.v1.<site>.<label>.<service>.<event> without all that differs from site to site."""
    return subject.split(".", 4)[4]


@dataclass(frozen=True)
class Pace:
    """How long the stream waits for an answer, a request for messages at most, and a failed one until the next try."""

    ack_wait_seconds: float
    fetch_seconds: float
    retry_seconds: float


def _between_half_and_all(name: str) -> float:
    return 0.5 + crc32(name.encode()) / 2**33


class Consumers:
    """Two lanes for every site of this cell."""

    def __init__(
        self,
        service: str,
        handlers: Sequence[Handler[Any]],
        broker: Broker,
        deliveries: Deliveries,
        pace: Pace,
        *,
        at_once: int,
        metrics: Metrics,
    ) -> None:
        """At most `at_once` events of all normal lanes are handled at a time, so that calls find a connection too."""
        self._turns = {
            False: Turns(at_once, of_one=OF_ONE_SITE),
            True: Turns(URGENT_AT_ONCE, of_one=OF_ONE_SITE),
        }
        self._service = service
        self._handlers = handlers
        self._broker = broker
        self._deliveries = deliveries
        self._pace = pace
        self._metrics = metrics
        self._lanes: dict[tuple[str, bool], Lane] = {}
        self._stopped: list[Lane] = []
        self._tasks = Tasks()

    def serve(self, sites: frozenset[str]) -> None:
        """Pull for these sites; a lane of a site that is gone stops after what it holds."""
        for site in sites:
            for urgent in (True, False):
                if (site, urgent) not in self._lanes:
                    self._open(site, urgent)
        for (site, urgent), lane in list(self._lanes.items()):
            if site not in sites:
                lane.stop()
                self._stopped = [each for each in self._stopped if each.busy] + [lane]
                del self._lanes[site, urgent]

    def _open(self, site: str, urgent: bool) -> None:
        handlers = {_event(handler.subject(site)): handler for handler in self._handlers if handler.urgent == urgent}
        if not handlers:
            return
        lane = Lane(
            durable(self._service, site, urgent, (handler.subject("*") for handler in handlers.values())),
            site,
            handlers,
            self._broker,
            self._deliveries,
            self._pace,
            self._turns[urgent],
            partial(self._metrics.pending, site, "urgent" if urgent else "normal"),
        )
        self._lanes[site, urgent] = lane
        self._tasks.start(lane.name, lane.run)

    async def stop(self) -> None:
        """Pull nothing more, and finish what is in flight."""
        lanes = [*self._lanes.values(), *self._stopped]
        for lane in lanes:
            lane.stop()
        await asyncio.gather(*(lane.drained() for lane in lanes))
        await self._tasks.stop()


class Lane:
    """One durable of one site: a standing pull request, and a bounded number of messages in flight."""

    def __init__(
        self,
        name: str,
        site: str,
        handlers: dict[str, Handler[Any]],
        broker: Broker,
        deliveries: Deliveries,
        pace: Pace,
        turns: Turns,
        pending: Callable[[int], None],
    ) -> None:
        self._turns = turns
        self._pending = pending
        self.name = name
        self._site = site
        self._handlers = handlers
        self._broker = broker
        self._deliveries = deliveries
        self._pace = pace
        self._fetch_seconds = pace.fetch_seconds * _between_half_and_all(name)  # lanes do not ask all at once
        self._stopping = asyncio.Event()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._away = False
        self._pause = 0.0

    def stop(self) -> None:
        self._stopping.set()

    @property
    def busy(self) -> bool:
        return bool(self._in_flight)

    async def drained(self) -> None:
        if self._in_flight:
            await asyncio.wait(self._in_flight)

    async def run(self) -> None:
        while not self._stopping.is_set():
            try:
                client = await self._broker.client(REQUEST_SECONDS)
                await self._ensure(client.jetstream(timeout=REQUEST_SECONDS))
                async with self._arrivals(client) as arrivals:
                    await self._pull(client, *arrivals)
            except (nats.errors.Error, TimeoutError, OSError) as error:
                log.warning("lane.waiting", lane=self.name, error_type=type(error).__name__)
                await self._sleep(self._pace.retry_seconds)

    async def _ensure(self, jetstream: JetStreamContext) -> None:
        """Make the durable when it is missing: from the beginning, since the inbox knows what was handled.

        One that nobody has pulled from for a week is forgotten by the server: a generation of another version.
        """
        with suppress(NotFoundError):
            known = await jetstream.consumer_info(STREAM, self.name)
            self._pending(known.num_pending or 0)
            return
        made = await jetstream.add_consumer(
            STREAM,
            api.ConsumerConfig(
                durable_name=self.name,
                deliver_policy=api.DeliverPolicy.ALL,
                ack_policy=api.AckPolicy.EXPLICIT,
                ack_wait=self._pace.ack_wait_seconds,
                max_deliver=-1,
                max_ack_pending=MAX_ACK_PENDING,
                inactive_threshold=FORGOTTEN_SECONDS,
                filter_subjects=[handler.subject(self._site) for handler in self._handlers.values()],
            ),
        )
        self._pending(made.num_pending or 0)
        log.info("lane.made", lane=self.name)

    @asynccontextmanager
    async def _arrivals(self, client: Client) -> AsyncIterator[tuple[str, asyncio.Queue[Msg | None]]]:
        """An inbox and what arrives in it; None says that the connection is new and every request was forgotten."""
        queue: asyncio.Queue[Msg | None] = asyncio.Queue()
        subscription = await client.subscribe(client.new_inbox(), cb=queue.put)
        try:
            with self._broker.when_back(lambda: queue.put_nowait(None)):
                yield subscription.subject, queue
        finally:
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()
            await self._give_back(queue)

    async def _give_back(self, queue: asyncio.Queue[Msg | None]) -> None:
        """What has come and was not begun: somebody else may have it at once."""
        while not queue.empty():
            message = queue.get_nowait()
            if message is not None and message.reply:
                await self._answer(message.nak)

    async def _pull(self, client: Client, inbox: str, queue: asyncio.Queue[Msg | None]) -> None:
        while not self._stopping.is_set():
            await self._breathe()
            batch = 1 if self._pause else IN_FLIGHT
            await self._request(client, inbox, batch)
            async for message in self._answers(queue, batch):
                while len(self._in_flight) >= IN_FLIGHT:
                    await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
                task = asyncio.create_task(self._settle(message))
                self._in_flight.add(task)
                task.add_done_callback(self._in_flight.discard)

    async def _breathe(self) -> None:
        """Something that the handlers need did not answer: let what is held come back, then try with one message."""
        if self._away:
            await self.drained()
            self._away = False
            self._pause = min(LONGEST_PAUSE_SECONDS, self._pause * 2 or self._pace.retry_seconds)
            await self._sleep(self._pause)

    async def _request(self, client: Client, inbox: str, batch: int) -> None:
        wanted = {"batch": batch, "expires": int(self._fetch_seconds * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{self.name}"
        await client.publish(subject, json.dumps(wanted).encode(), reply=inbox)

    async def _answers(self, queue: asyncio.Queue[Msg | None], batch: int) -> AsyncIterator[Msg]:
        """The messages of one request, until it is filled, has expired, or was forgotten."""
        for _ in range(batch):
            message = await self._next(queue)
            if message is None:
                return
            status = "" if message.reply else (message.headers or {}).get("Status")  # an event can be answered
            if status in _GONE:
                raise nats.errors.Error("the consumer is gone")
            if status:
                return
            yield message

    async def _next(self, queue: asyncio.Queue[Msg | None]) -> Msg | None:
        arrival = asyncio.ensure_future(queue.get())
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({arrival, stopped}, timeout=self._fetch_seconds + 2, return_when=asyncio.FIRST_COMPLETED)
            return arrival.result() if arrival.done() else None
        finally:
            arrival.cancel()
            stopped.cancel()

    async def _settle(self, message: Msg) -> None:
        handler = self._handlers.get(_event(message.subject))
        if handler is None or self._stopping.is_set():
            await self._answer(message.nak)
            return
        told = message.metadata
        self._pending(told.num_pending)
        delivery = Delivery(self._site, message.subject, dict(message.headers or {}), message.data, told.num_delivered)
        match await self._handled(handler, delivery):
            case Outcome.ENDED:
                self._pause = 0.0
                await self._answer(message.ack)
            case Outcome.AGAIN:
                await self._answer(lambda: message.nak(delay=self._delay(delivery.count)))
            case Outcome.UNAVAILABLE:
                self._away = True
                await self._answer(lambda: message.nak(delay=self._pace.retry_seconds))

    async def _handled(self, handler: Handler[Any], delivery: Delivery) -> Outcome:
        try:
            async with self._turns.taken(self._site):
                return await self._deliveries.handle(handler, delivery)
        except Exception:
            log.error("lane.failed", lane=self.name, exc_info=True)
            return Outcome.AGAIN

    def _delay(self, deliveries: int) -> float:
        return float(min(60.0, self._pace.retry_seconds * 2 ** min(deliveries - 1, 6)))

    async def _answer(self, answer: Callable[[], Any]) -> None:
        """An answer that does not reach the stream costs a redelivery, which the inbox recognises."""
        with suppress(nats.errors.Error, OSError):
            await answer()

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
