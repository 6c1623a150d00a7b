"""What every channel does: hand one message over, or say why not."""

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


class MessageChannel(Protocol):
    async def hand_over(self, message: Outgoing) -> None:
        """Raises Refused or Busy."""
