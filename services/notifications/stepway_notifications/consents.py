"""Asking intake whether something may be told: now, and for half a second."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from stepway.intake.v1.consent_pb2 import CONSENT_CATEGORY_SCHEDULE, CONSENT_FINDING_GRANTED
from stepway.intake.v1.consent_service_pb2 import CheckConsentsRequest, ConsentQuestion
from stepway_chassis.rpc.client import Peers

MOST_QUESTIONS = 100
_CHECK = "stepway.intake.v1.ConsentService/CheckConsents"


@dataclass(frozen=True)
class Answers:
    """One for each question, in the order asked; a yes may be used until `until`, by `time.monotonic()`."""

    granted: Sequence[bool]
    until: float

    @property
    def lapsed(self) -> bool:
        return time.monotonic() >= self.until


async def may_know_schedule(peers: Peers, pairs: Iterable[tuple[UUID, UUID | None]], *, site: str) -> Answers:
    """Whether each (patient, family member) pair is covered, at most 100 of them.

    Raises what intake refuses with, Unavailable or TimedOut when there is no answer: then nobody may know anything.
    """
    questions = [
        ConsentQuestion(patient_id=str(patient), family_member_id=str(member), category=CONSENT_CATEGORY_SCHEDULE)
        for patient, member in pairs
    ]
    if not questions:
        return Answers((), time.monotonic() + 1)
    asked_at = time.monotonic()
    answer = await peers.call(_CHECK, CheckConsentsRequest(questions=questions), site=site)
    granted = [each.finding == CONSENT_FINDING_GRANTED for each in answer.answers]
    return Answers(granted, asked_at + answer.use_within.ToTimedelta().total_seconds())
