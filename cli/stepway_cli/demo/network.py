"""The running platform as the demo looks at it: callers by role, the stream, and what the databases hold."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from google.protobuf.message import Message

from stepway_chassis.broker import Stored, read_stream
from stepway_chassis.errors import Refusal
from stepway_chassis.identity import Bearer
from stepway_chassis.rpc.client import Peers
from stepway_chassis.telemetry import Telemetry
from stepway_cli.local.platform import Platform
from stepway_cli.place import KINDS
from stepway_cli.tokens import mint

TOKEN_LIFE = timedelta(hours=1)
PATIENCE_SECONDS = 60.0
T = TypeVar("T")


class NeverHappened(Exception):
    """The demo waited for something that did not come about."""


@dataclass
class Network:
    platform: Platform
    telemetry: Telemetry
    refusals: list[str] = field(default_factory=list)  # what refused calls said, for the canary
    _callers: dict[tuple[str, str, str], Peers] = field(default_factory=dict)

    def caller(self, site: str, role: str, subject: str = "") -> Peers:
        """Somebody with one role at one site; a patient or family member goes by their id."""
        who = (site, role, subject or f"{role}-{site}")
        if who not in self._callers:
            key, now = self.platform.keys.people_key(), datetime.now(UTC)
            kind = KINDS.get(role, "staff")
            token = mint(key, who[2], kind=kind, grants={site: [role]}, now=now, lifetime=TOKEN_LIFE)
            self._callers[who] = Peers(
                self.platform.addresses, Bearer(token), self.telemetry, lambda: datetime.now(UTC)
            )
        return self._callers[who]

    async def refused(self, caller: Peers, rpc: str, request: Message, *, site: str) -> str:
        """The reason with which a call is refused, or "" when it is answered."""
        try:
            await caller.call(rpc, request, site=site)
        except Refusal as refusal:
            self.refusals.append(f"{refusal} {refusal.field}")
            return refusal.reason
        return ""

    async def stream(self) -> list[Stored]:
        return await read_stream(*self.platform.nats_admin)

    async def rows(self, service: str, sql: str) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self.platform.postgres.query, sql, database=f"stepway_{service}")

    async def everywhere(self, sql: str) -> list[dict[str, Any]]:
        return [row for service in self.platform.services for row in await self.rows(service, sql)]

    async def close(self) -> None:
        for caller in self._callers.values():
            await caller.close()


async def until(what: str, look: Callable[[], Awaitable[T]]) -> T:
    """The first true thing that `look` sees. Raises NeverHappened."""
    seen = await if_ever(look)
    if not seen:
        raise NeverHappened(f"{what}: not within {PATIENCE_SECONDS:.0f} s")
    return seen


async def if_ever(look: Callable[[], Awaitable[T]]) -> T:
    """The first true thing that `look` sees, or what it sees when patience is at its end: a promise may be broken."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        seen = await look()
        if seen or time.monotonic() > deadline:
            return seen
        await asyncio.sleep(0.2)
