"""The command line as a caller of services."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from stepway_chassis import telemetry
from stepway_chassis.identity import Bearer
from stepway_chassis.rpc.client import Peers
from stepway_chassis.telemetry import Telemetry


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


@asynccontextmanager
async def calling(addresses: Mapping[str, str], token: str, folder: Path) -> AsyncIterator[Peers]:
    async with tracing(folder) as spans:
        peers = Peers(addresses, Bearer(token), spans, utc_now)
        try:
            yield peers
        finally:
            await peers.close()
