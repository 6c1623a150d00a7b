"""Callers who keep working at both sites, ask again when they hear nothing, and write down what they heard."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from stepway.notifications.v1.escalation_service_pb2 import AcknowledgeEscalationRequest, ListEscalationsRequest
from stepway_chassis.errors import Refusal, TimedOut, Unavailable
from stepway_chassis.times import to_proto
from tests.faults.history import Command, History, Kind, Outcome
from tests.faults.observed import SITES
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral, phq_9

RPCS = {
    Kind.RECEIVE: ("stepway.intake.v1.ReferralService/ReceiveReferral", "front_desk"),
    Kind.ASSESS: ("stepway.intake.v1.AssessmentService/RecordAssessment", "clinician"),
    Kind.ACKNOWLEDGE: ("stepway.notifications.v1.EscalationService/AcknowledgeEscalation", "clinician"),
}
LIST = "stepway.notifications.v1.EscalationService/ListEscalations"
ON_CALL = {NORTHSIDE: "staff-2041", LAKESIDE: "staff-3077"}
CALLERS = 8
PATIENT, IMPATIENT = 600, 1  # how often a caller asks before it gives up
PAUSE_SECONDS = 0.1


class Load:
    """Sends as many commands as were issued; the mix is drawn from `rng`."""

    def __init__(self, network: Network, history: History, rng: random.Random) -> None:
        self._network = network
        self._history = history
        self._rng = rng
        self._tickets = asyncio.Semaphore(0)
        self._issued = 0
        self._done = 0
        self._moved = asyncio.Condition()
        self._referrals: dict[str, list[str]] = defaultdict(list)
        self._taken: set[str] = set()
        self.acknowledged = 0

    def issue(self, commands: int) -> None:
        """Let the callers go on with this many more."""
        self._issued += commands
        for _ in range(commands):
            self._tickets.release()

    async def under_way(self, acknowledged: int, *, within: float = 90.0) -> None:
        """Until so many more commands were acknowledged."""
        target = self.acknowledged + acknowledged
        await self._wait(lambda: self.acknowledged >= target, within, f"{acknowledged} acknowledged commands")

    async def finished(self, *, within: float = 180.0) -> None:
        await self._wait(lambda: self._done >= self._issued, within, "the end of all commands")

    async def _wait(self, reached: Any, within: float, what: str) -> None:
        async with self._moved:
            try:
                await asyncio.wait_for(self._moved.wait_for(reached), within)
            except TimeoutError:
                raise AssertionError(f"{what}: not within {within} s; {self._done} of {self._issued} done") from None

    async def call(self) -> None:
        """One caller: a command for every ticket."""
        while True:
            await self._tickets.acquire()
            await self._one()
            async with self._moved:
                self._done += 1
                self._moved.notify_all()

    async def _one(self) -> None:
        rng = self._rng
        command = self._history.add(await self._drawn(rng.choice(SITES), rng.random()))
        patience = IMPATIENT if rng.random() < 0.2 else PATIENT
        twins = 2 if rng.random() < 0.1 else 1
        await asyncio.gather(*(send(self._network, command, patience) for _ in range(twins)))
        if command.outcome is Outcome.ACKNOWLEDGED:
            self.acknowledged += 1
            if command.kind is Kind.RECEIVE:
                self._referrals[command.site].append(command.ids["id"])

    async def _drawn(self, site: str, chance: float) -> Command:
        if chance < 0.2 and (page := await self._untaken(site)):
            return self._acknowledge(site, page)
        if chance < 0.6 and self._referrals[site]:
            return self._assess(site, self._rng.choice(self._referrals[site]))
        return self._receive(site)

    def _receive(self, site: str) -> Command:
        request_id, number = str(uuid4()), len(self._history.commands)
        points = [{"phone": f"+1212{number:07}"}, {"email": f"p{number}@example.org"}, {"phone": f"+1312{number:07}"}]
        person = {"given_name": "Quillan", "family_name": "Vexmoor"}
        person |= {"contact_points": self._rng.sample(points, self._rng.randint(1, 3))}  # type: ignore[dict-item]
        request = a_referral(request_id=request_id, person=person, reason=request_id)
        return Command(Kind.RECEIVE, site, request, "desk", mark=request_id)

    def _assess(self, site: str, referral: str) -> Command:
        answered_at = self._history.answered_at()
        values = [self._rng.randint(0, 3) for _ in range(8)] + [self._rng.choice((0, 0, 1, 3))]
        request = phq_9(referral, [*values], answered_at=to_proto(answered_at))
        return Command(Kind.ASSESS, site, request, "assessor", mark=answered_at.isoformat(), about=referral)

    def _acknowledge(self, site: str, page: str) -> Command:
        request = AcknowledgeEscalationRequest(request_id=str(uuid4()), escalation_id=page)
        return Command(Kind.ACKNOWLEDGE, site, request, ON_CALL[site], mark=page, about=page)

    async def _untaken(self, site: str) -> str | None:
        """A page that nobody has taken, and that no other caller of ours is about to take."""
        newest = ListEscalationsRequest(page_size=100)
        try:
            pages = await self._network.call(LIST, newest, role="clinician", site=site, subject=ON_CALL[site])
        except (Unavailable, TimedOut):
            return None
        free = [each.id for each in pages.escalations if not each.acknowledged_by and each.id not in self._taken]
        if not free:
            return None
        self._taken.add(free[0])
        return str(free[0])


async def send(network: Network, command: Command, patience: int) -> None:
    """Ask, and ask again with the same request_id, until it is answered or the caller gives up."""
    rpc, role = RPCS[command.kind]
    for _ in range(patience):
        try:
            answer = await network.call(rpc, command.request, role=role, site=command.site, subject=command.subject)
        except (Unavailable, TimedOut) as error:
            command.heard.append(error.reason)
            await asyncio.sleep(PAUSE_SECONDS)
        except Refusal as refusal:
            return command.refused(refusal.reason)
        else:
            return command.acknowledged(answer)
    return None


@asynccontextmanager
async def loaded(network: Network, history: History, seed: int, callers: int = CALLERS) -> AsyncIterator[Load]:
    """A load that has sent all that was issued when the block is left."""
    load = Load(network, history, random.Random(seed))
    tasks = [asyncio.create_task(load.call()) for _ in range(callers)]
    try:
        yield load
        await load.finished()
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended
