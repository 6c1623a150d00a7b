"""What tests of any service need; shipped code never imports it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import nats
from nats.js.errors import NotFoundError

from stepway_chassis.app import App, Service, configured, utc_now
from stepway_chassis.broker import STREAM


@asynccontextmanager
async def running(
    app: App, environ: Mapping[str, str], now: Callable[[], datetime] = utc_now
) -> AsyncIterator[Service]:
    """The service in this process, on the loop of the test, with the clock of the test."""
    service = configured(app, environ)
    service.now = now
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


@dataclass(frozen=True)
class Published:
    """One message as it lies in the stream."""

    seq: int
    subject: str
    headers: Mapping[str, str]
    payload: bytes


async def published(url: str, user: str, password: str, subject: str = "evt.v1.>") -> list[Published]:
    """Everything in the stream under `subject`, in order."""
    client = await nats.connect(url, user=user, password=password)
    try:
        jetstream, seq = client.jetstream(), 1
        found: list[Published] = []
        while True:
            try:
                message = await jetstream.get_msg(STREAM, seq=seq, subject=subject, next=True)
            except NotFoundError:
                return found
            headers = dict(message.headers or {})
            found.append(Published(message.seq or 0, message.subject or "", headers, message.data or b""))
            seq = (message.seq or 0) + 1
    finally:
        await client.close()
