"""Calls that outlive a service which is away for a moment, and end an import that cannot go on."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from google.protobuf.message import Message

from stepway_chassis.errors import Denied, NotFound, Refusal, TimedOut, Unauthenticated, Unavailable
from stepway_chassis.rpc.client import Peers

PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 5.0, 5.0, 5.0, 5.0)
"""Seconds between tries: about as long as a service takes to come back from a restart."""


class Stopped(Exception):
    """The import ends here, for a reason that is no fault of the records."""


class Desks:
    """Calls as members of the staff; the same request may be sent again, since its request_id has it done once."""

    def __init__(self, desks: Mapping[str, Peers], site: str, pauses: Sequence[float] = PAUSES) -> None:
        """`desks` by role."""
        self._pauses = pauses
        self._desks = desks
        self._site = site
        self._stop = asyncio.Event()
        self.stopped = ""

    def stop(self, why: str) -> None:
        """Whoever waits gives up; what is under way comes to its end."""
        self.stopped = self.stopped or why
        self._stop.set()

    async def call(self, role: str, rpc: str, request: Message) -> Any:
        """Raises Stopped, and Refusal for what concerns this one record."""
        why = ""
        for pause in (*self._pauses, None):
            try:
                return await self._desks[role].call(rpc, request, site=self._site)
            except (Unavailable, TimedOut) as refusal:
                why = f"{refusal.reason}: the service does not answer"
            except Refusal as refusal:
                if not _concerns_all(refusal):
                    raise
                self.stop(f"{refusal.reason}: {refusal.message}")
            if pause is None or await self._told_to_stop(pause):
                break
        self.stop(why)
        raise Stopped(self.stopped)

    async def _told_to_stop(self, within: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), within)
        return self._stop.is_set()


def _concerns_all(refusal: Refusal) -> bool:
    """No other record would fare better."""
    unknown_site = isinstance(refusal, NotFound) and refusal.reason == "SITE_UNKNOWN"
    return unknown_site or isinstance(refusal, Unauthenticated | Denied)
