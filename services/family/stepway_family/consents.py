"""Asking intake whether something may be told: now, and for half a second."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from stepway_chassis.errors import Unavailable
from stepway_chassis.rpc.client import Peers
from stepway_family import wire

WORTH_WAITING = 0.5  # seconds; by then a yes has lapsed, whatever it says
_CHECK = "stepway.intake.v1.ConsentService/CheckConsents"


@dataclass(frozen=True)
class Answers:
    """One for each question, in the order asked; a yes may be used until `until`, by `time.monotonic()`."""

    granted: Sequence[bool]
    until: float

    @property
    def lapsed(self) -> bool:
        return time.monotonic() >= self.until


async def may_know_schedule(peers: Peers, pairs: Iterable[tuple[UUID, UUID]], *, site: str) -> Answers:
    """Whether each (patient, family member) pair is covered, at most 100 of them.

    Raises what intake refuses with, or Unavailable when there is no answer in time: then nobody may know anything.
    """
    asked_at = time.monotonic()
    request = wire.schedule_questions(pairs)
    if not request.questions:
        return Answers((), asked_at + 1)
    try:
        async with asyncio.timeout(WORTH_WAITING):
            answer = await peers.call(_CHECK, request, site=site)
    except TimeoutError:
        raise Unavailable("CONSENT_UNCONFIRMED", "Intake does not say in time whether a consent covers this.") from None
    granted, use_within = wire.consent_answers(answer)
    return Answers(granted, asked_at + use_within.total_seconds())
