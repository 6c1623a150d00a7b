"""The stream as an operator reads it: from a moment on, as it grows, and compared with what the outboxes hold."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import unquote

import nats
import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from stepway_chassis import republishing
from stepway_chassis.broker import STREAM, Stored

BATCH = 200
LOOK_SECONDS = 1.0
FORGOTTEN_AFTER_SECONDS = 60.0
EVERYTHING = "evt.v1.>"


class NoStream(Exception):
    """There is no stream to read; the message says how to make it."""


@dataclass(frozen=True)
class Admin:
    """Where NATS is, and who asks."""

    url: str
    user: str
    password: str


@dataclass(frozen=True)
class Republished:
    """Of one service: events that were marked as published, those that the stream lacks, those sent again."""

    service: str
    published: int
    missing: int
    sent_again: int


def subject(site: str = "", service: str = "", event: str = "") -> str:
    """What the server filters by; `event` is the token of a subject, such as patient_admitted."""
    return f"evt.v1.{site or '*'}.*.{service or '*'}.{event or '*'}"


async def stored(
    admin: Admin, subject: str = EVERYTHING, *, since: datetime | None = None, follow: bool = False, bare: bool = False
) -> AsyncIterator[Stored]:
    """Events in the order of the stream, `bare` ones without payload; with `follow` also what is still to come.

    Raises NoStream.
    """
    client = await nats.connect(
        admin.url, user=admin.user, password=admin.password, connect_timeout=5, max_reconnect_attempts=2
    )
    try:
        async for message in _read(client.jetstream(), subject, _Place(since=since), follow=follow, bare=bare):
            yield _stored(message)
    except NotFoundError:
        raise NoStream(f"there is no stream {STREAM}: `stepway migrate` makes it") from None
    finally:
        await client.close()


@dataclass(frozen=True)
class _Place:
    """Where in the stream to begin: behind the message `after`, else at a moment, else with the first."""

    since: datetime | None = None
    after: int = 0


async def _read(
    jetstream: JetStreamContext, subject: str, place: _Place, *, follow: bool, bare: bool
) -> AsyncIterator[Msg]:
    """Whoever looks away for long, behind a pager say, finds the reader forgotten; another goes on where it was."""
    reader, got = await _opened(jetstream, subject, place, bare), 0
    left = await _left(reader, got)
    while any(left) or follow:
        _end_if_interrupted()
        came = await _next(reader)
        for message in came:
            place, got = _Place(after=message.metadata.sequence.stream), message.metadata.sequence.consumer
            yield message
        try:
            left = await _left(reader, got)
            lost = left.under_way > 0 and not came
        except NotFoundError:
            lost = True
        if lost:
            await _closed(jetstream, reader)
            reader, got = await _opened(jetstream, subject, place, bare), 0
            left = await _left(reader, got)
    await _closed(jetstream, reader)


async def _opened(
    jetstream: JetStreamContext, subject: str, place: _Place, bare: bool
) -> JetStreamContext.PullSubscription:
    return await jetstream.pull_subscribe(subject, stream=STREAM, config=_reader(place, bare))


async def _closed(jetstream: JetStreamContext, reader: JetStreamContext.PullSubscription) -> None:
    with suppress(NotFoundError):  # it is forgotten already
        await jetstream.delete_consumer(STREAM, (await reader.consumer_info()).name)


def _end_if_interrupted() -> None:
    """Until Python 3.12 `asyncio.wait_for` loses an interruption that comes together with what it waits for."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Left(NamedTuple):
    """What a reader has still to be sent, and what it was sent and has not come: a look may end in between."""

    waiting: int
    under_way: int


async def _left(reader: JetStreamContext.PullSubscription, got: int) -> _Left:
    """What has aged out meanwhile is not left. `got` is the number of the last message. Raises NotFoundError."""
    info = await reader.consumer_info()
    sent = info.delivered.consumer_seq if info.delivered else 0
    return _Left(info.num_pending or 0, max(0, sent - got))


def _reader(place: _Place, bare: bool) -> api.ConsumerConfig:
    """It acknowledges nothing, and where nobody takes it away the server forgets it soon after."""
    begin = api.DeliverPolicy.BY_START_TIME if place.since else api.DeliverPolicy.ALL
    return api.ConsumerConfig(
        ack_policy=api.AckPolicy.NONE,
        deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE if place.after else begin,
        opt_start_seq=place.after + 1 if place.after else None,
        opt_start_time=place.since,
        headers_only=bare or None,
        inactive_threshold=FORGOTTEN_AFTER_SECONDS,
    )


async def _next(reader: JetStreamContext.PullSubscription) -> list[Msg]:
    """Nothing while nothing comes, or when the reader is forgotten."""
    try:
        return list(await reader.fetch(BATCH, timeout=LOOK_SECONDS))
    except (nats.errors.TimeoutError, nats.errors.NoRespondersError, APIError):
        return []


def _stored(message: Msg) -> Stored:
    return Stored(message.metadata.sequence.stream, message.subject, dict(message.headers or {}), message.data)


def line(event: Stored) -> str:
    """One event on one line, with a dash for each attribute that it lacks."""
    _, _, site, label, service, name = event.subject.split(".")
    time, source, record, number, id = (
        unquote(event.headers.get(f"ce-{each}", "-")) for each in ("time", "source", "subject", "sequence", "id")
    )
    noun = source.rpartition("/")[0].rpartition("/")[2]
    return f"{time[:23]}  {site}  {label:7}  {service}.{name}  {noun} {record} #{number.lstrip('0')}  {id}"


def structured(event: Stored) -> str:
    """The event as CloudEvents JSON, as a webhook would carry it; data_base64 has what is no JSON."""
    attributes = {
        name.lower().removeprefix("ce-"): unquote(value)
        for name, value in event.headers.items()
        if name.lower().startswith("ce-")
    }
    traces = {name: event.headers[name] for name in ("traceparent", "tracestate") if name in event.headers}
    return json.dumps({**attributes, **traces, **_data(event.payload)})


def _data(payload: bytes) -> dict[str, Any]:
    try:
        return {"data": json.loads(payload)}
    except (ValueError, RecursionError):
        return {"data_base64": b64encode(payload).decode()}


async def republish(
    admin: Admin, relay_urls: Mapping[str, str], since: datetime, *, dry_run: bool
) -> list[Republished]:
    """Have the relays send again what the stream lacks of what was marked as published since then.

    The outboxes are read before the stream: what is published meanwhile is in neither list, and what the stream holds
    is never sent again. Raises NoStream.
    """
    marked = {service: await republishing.published_since(url, since) for service, url in relay_urls.items()}
    held = {event.headers.get("ce-id") async for event in stored(admin, bare=True)}
    done = []
    for service, url in relay_urls.items():
        missing = {event_id for event_id in marked[service] if str(event_id) not in held}
        again = 0 if dry_run else await republishing.send_again(url, missing)
        done.append(Republished(service, len(marked[service]), len(missing), again))
    return done
