"""What every channel does: hand one message over, or say why not."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


class Refused(Exception):
    """The address will never take this message; trying again is of no use."""


class Busy(Exception):
    """Nobody took the message now; a later attempt may succeed."""


@dataclass(frozen=True)
class Outgoing:
    """One message to one address. The same `id` handed over twice is the same message."""

    id: UUID
    site: str
    sender: str
    sender_address: str
    address: str
    body: str


@dataclass(frozen=True)
class Leave:
    """That a message may go, until `until` by `time.monotonic()`."""

    until: float

    def check(self) -> None:
        """Raises Busy when it has lapsed: asked again, the answer may be another."""
        if time.monotonic() >= self.until:
            raise Busy


Ask = Callable[[], Awaitable[Leave]]
"""Whether a message may still go; raises when it may not, or when nobody can say."""


class MessageChannel(Protocol):
    async def hand_over(self, message: Outgoing, ask: Ask) -> None:
        """Ask as late as can be, and check the leave right before the message is out of our hands.

        Raises Refused or Busy, and what `ask` raises.
        """
