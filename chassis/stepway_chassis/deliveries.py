"""One delivery of one event: applied once, or kept as a dead letter; never lost and never done twice."""

import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, Generic, TypeVar
from uuid import UUID

from google.protobuf.message import Message
from sqlalchemy import text

from stepway_chassis import events, inbox
from stepway_chassis.contracts import event_rule
from stepway_chassis.database import Contended, Database
from stepway_chassis.errors import Denied, Refusal, TimedOut, Unauthenticated, Unavailable
from stepway_chassis.events import Event
from stepway_chassis.logs import log
from stepway_chassis.telemetry import Telemetry
from stepway_chassis.transaction import Tx

Facts = TypeVar("Facts")
TOO_OLD = timedelta(days=89)  # the inbox remembers 90 days; what is older cannot be told from a repeat
SUSPECT_DELIVERIES = 3  # from then on an attempt is counted before it begins, in case it takes the process down

_BURY = text(
    "INSERT INTO dead_letter AS letter (site, consumer, event_id, subject, headers, payload, reason, error_type, count)"
    " VALUES (:site, :consumer, :event_id, :subject, CAST(:headers AS jsonb), :payload, :reason, :error_type, :count)"
    " ON CONFLICT (site, consumer, event_id) DO UPDATE SET state = 'waiting', reason = excluded.reason,"
    " error_type = excluded.error_type, count = GREATEST(letter.count + 1, excluded.count), last_at = now()"
)


@dataclass(frozen=True)
class Handler(Generic[Facts]):
    """How a service reacts to one type of event.

    `name` keys the inbox and never changes. `fetch` asks other services, before the transaction; `apply` writes.
    `commutative` says why the order of deliveries does not matter; row 17 of the fault matrix tries it.
    """

    name: str
    event: type[Message]
    apply: Callable[[Tx, Event, Facts], Awaitable[None]]
    commutative: str
    fetch: Callable[[Event], Awaitable[Facts]] | None = None

    @property
    def urgent(self) -> bool:
        return event_rule(self.event.DESCRIPTOR).urgent

    def subject(self, site: str) -> str:
        rule = event_rule(self.event.DESCRIPTOR)
        return f"evt.v1.{site}.*.{rule.service}.{rule.token}"


@dataclass(frozen=True)
class Delivery:
    """What came off the stream; `count` is how often it has come, from 1."""

    site: str
    subject: str
    headers: Mapping[str, str]
    payload: bytes
    count: int = 1

    @property
    def event_id(self) -> UUID:
        """The event's id; a delivery without a readable one gets an id of its own bytes."""
        try:
            return UUID(self.headers["ce-id"])
        except (KeyError, ValueError):
            return UUID(bytes=hashlib.sha256(self.subject.encode() + self.payload).digest()[:16], version=5)


class Outcome(Enum):
    """What the lane does with the message: ENDED is acknowledged, the others come again."""

    ENDED = auto()
    AGAIN = auto()
    UNAVAILABLE = auto()


class Deliveries:
    """Applies deliveries for one service."""

    def __init__(
        self, database: Database, telemetry: Telemetry, now: Callable[[], datetime], *, max_failures: int
    ) -> None:
        self._database = database
        self._telemetry = telemetry
        self._metrics = telemetry.metrics
        self._now = now
        self._max_failures = max_failures
        self._owed: Counter[tuple[str, UUID]] = Counter()  # counts of a consumer's event that are to be taken back

    async def handle(self, handler: Handler[Any], delivery: Delivery) -> Outcome:
        if delivery.count > 1:
            self._metrics.redelivered(handler.name, delivery.site)
        try:
            return await self._handled(handler, delivery)
        except (Unavailable, TimedOut, Contended) as error:
            log.warning(
                "delivery.postponed", consumer=handler.name, site=delivery.site, error_type=type(error).__name__
            )
            return Outcome.UNAVAILABLE

    async def _handled(self, handler: Handler[Any], delivery: Delivery) -> Outcome:
        try:
            event = events.read(delivery.subject, delivery.headers, delivery.payload, handler.event)
        except events.Malformed:
            return await self._bury(handler, delivery, "MALFORMED", "Malformed", 1)
        except events.NewerSchema:
            return await self._bury(handler, delivery, "NEWER_SCHEMA", "NewerSchema", 1)
        if self._now() - event.time > TOO_OLD:
            log.warning("delivery.expired", consumer=handler.name, site=event.site, event_id=str(event.id))
            return Outcome.ENDED
        suspect = delivery.count > SUSPECT_DELIVERIES
        if suspect and await self._was_handled(handler, event):  # an acknowledgement was lost, and nothing else
            return Outcome.ENDED
        counted = await self._count(handler, delivery, "DeliveryLost") if suspect else 0
        if counted > self._max_failures:
            return await self._bury(handler, delivery, "DELIVERED_TOO_OFTEN", "DeliveryLost", delivery.count)
        try:
            await self.apply(handler, event)
        except (Unavailable, TimedOut, Contended):
            if suspect:
                await self._uncount(handler, delivery)
            raise
        except Refusal as refusal:
            return await self._bury(handler, delivery, refusal.reason, type(refusal).__name__, 1)
        except Exception as error:
            return await self._failed(handler, delivery, error, counted)
        return Outcome.ENDED

    async def apply(self, handler: Handler[Any], event: Event) -> None:
        """Ask, then write, once: the inbox row, the effect and what it announces share one transaction."""
        with self._telemetry.process(
            handler.subject("{site}"), str(event.id), event.type, handler.name, event.context, event.time,
            self._now(), event.site,
        ):  # fmt: skip
            if handler.fetch and await self._was_handled(handler, event):
                return
            facts = await _fetched(handler, event)
            claim = inbox.claim(handler.name, event.id)
            async with self._database.transaction(event.site, handler.name, claim=claim) as tx:
                tx.correlation, tx.causation = event.correlation, str(event.id)
                if tx.claimed:
                    await handler.apply(tx, event, facts)
                    await inbox.finish(tx, event.id)
                else:
                    await inbox.settle(tx, handler.name, event.id)
            self._measure(handler, event, tx.claimed)

    def _measure(self, handler: Handler[Any], event: Event, first: bool) -> None:
        if first:
            self._metrics.applied(handler.name, event.site, (self._now() - event.time).total_seconds())
        else:
            self._metrics.duplicate(handler.name, event.site)

    async def _was_handled(self, handler: Handler[Any], event: Event) -> bool:
        """Asked before others are asked: a repeat costs nobody else anything."""
        async with self._database.transaction(event.site, handler.name) as tx:
            handled = await inbox.handled(tx, handler.name, event.id)
            if handled:
                await inbox.settle(tx, handler.name, event.id)
        if handled:
            self._metrics.duplicate(handler.name, event.site)
        return handled

    async def _failed(self, handler: Handler[Any], delivery: Delivery, error: Exception, counted: int) -> Outcome:
        """`counted` is how often it has failed, this time included, or 0 when this time is not counted yet."""
        error_type = type(error).__name__
        log.error(
            "delivery.failed", consumer=handler.name, site=delivery.site, event_id=str(delivery.event_id), exc_info=True
        )
        count = counted or await self._count(handler, delivery, error_type)
        if count < self._max_failures:
            return Outcome.AGAIN
        return await self._bury(handler, delivery, "HANDLER_FAILED", error_type, count)

    async def _count(self, handler: Handler[Any], delivery: Delivery, error_type: str) -> int:
        async with self._paying(handler, delivery) as (tx, key, owed):
            return await inbox.count_failure(tx, *key, error_type, owed)

    async def _uncount(self, handler: Handler[Any], delivery: Delivery) -> None:
        """Who lives to say so was not taken down; what cannot be said (the site has moved) is with the next count."""
        self._owed[handler.name, delivery.event_id] += 1
        async with self._paying(handler, delivery) as (tx, key, owed):
            await inbox.uncount_failures(tx, *key, owed)

    @asynccontextmanager
    async def _paying(
        self, handler: Handler[Any], delivery: Delivery
    ) -> AsyncIterator[tuple[Tx, tuple[str, UUID], int]]:
        """What is owed is this transaction's to take back, and owed again if that fails."""
        key = handler.name, delivery.event_id
        owed = self._owed.pop(key, 0)
        try:
            async with self._database.transaction(delivery.site, handler.name) as tx:
                yield tx, key, owed
        except BaseException:
            if owed:
                self._owed[key] += owed
            raise

    async def _bury(
        self, handler: Handler[Any], delivery: Delivery, reason: str, error_type: str, count: int
    ) -> Outcome:
        """Only a committed dead letter ends a message that could not be applied."""
        letter = {
            "site": delivery.site,
            "consumer": handler.name,
            "event_id": delivery.event_id,
            "subject": delivery.subject,
            "headers": json.dumps({name: value.replace("\0", "") for name, value in delivery.headers.items()}),
            "payload": delivery.payload,
            "reason": reason,
            "error_type": error_type,
            "count": count,
        }
        async with self._database.transaction(delivery.site, handler.name) as tx:
            await tx.execute(_BURY, letter)
            await inbox.forgive(tx, handler.name, delivery.event_id)
        self._metrics.buried(handler.name, delivery.site, reason)
        log.error(
            "delivery.buried", consumer=handler.name, site=delivery.site, reason=reason, event_id=str(delivery.event_id)
        )
        return Outcome.ENDED


async def _fetched(handler: Handler[Any], event: Event) -> Any:
    """What the handler asks others. That they do not believe who we are is an outage, not the event's fault."""
    try:
        return await handler.fetch(event) if handler.fetch else None
    except (Unauthenticated, Denied) as refusal:
        log.error("delivery.distrusted", consumer=handler.name, site=event.site, reason=refusal.reason)
        raise Unavailable("PEER_REFUSES_US", "Another service does not accept this service's identity.") from None
