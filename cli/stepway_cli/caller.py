"""The command line as a caller of services."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from stepway_chassis import telemetry
from stepway_chassis.rpc.client import Peers
from stepway_chassis.telemetry import Telemetry
from stepway_cli.place import SHORT, Place


def utc_now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def tracing(folder: Path) -> AsyncIterator[Telemetry]:
    """Traces begin here and are written beside those of the services."""
    spans = telemetry.start("cli", file=folder / "traces" / "cli.jsonl")
    try:
        yield spans
    finally:
        await asyncio.to_thread(spans.close)


class Renewed:
    """Somebody whose token is made anew before it ends, however long the command takes."""

    def __init__(self, made: Callable[[], str], lifetime: timedelta) -> None:
        self._made = made
        self._half = lifetime / 2
        self._token, self._until = "", datetime.min.replace(tzinfo=UTC)

    def token(self, now: datetime) -> str:
        if now >= self._until:
            self._token, self._until = self._made(), now + self._half
        return self._token


@asynccontextmanager
async def calling(place: Place, site: str, *roles: str) -> AsyncIterator[Mapping[str, Peers]]:
    """A caller for each role, at one site."""
    async with tracing(place.folder()) as spans:
        tokens = {role: Renewed(partial(place.token, site, role), SHORT) for role in roles}
        peers = {role: Peers(place.addresses(), tokens[role], spans, utc_now) for role in roles}
        try:
            yield peers
        finally:
            for each in peers.values():
                await each.close()
