"""What tests of any service need; shipped code never imports it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

from stepway_chassis.app import App, Service, configured, utc_now
from stepway_chassis.broker import Stored, read_stream

Published = Stored
published = read_stream


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
