"""Callers who keep working at both sites, ask again when they hear nothing, and write down what they heard."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf.message import Message

from stepway.notifications.v1.escalation_service_pb2 import ListEscalationsRequest
from stepway.scheduling.v1.enrollment_pb2 import ENROLLMENT_STATUS_ENDED
from stepway.scheduling.v1.enrollment_service_pb2 import ListEnrollmentsRequest
from stepway.scheduling.v1.track_pb2 import DAYPART_EVENING
from stepway_chassis.errors import PeerFailed, Refusal, TimedOut, Unavailable
from tests.cases import ON_CALL
from tests.faults.commands import RPCS, Commands
from tests.faults.history import Command, History, Kind
from tests.faults.journeys import Journeys
from tests.faults.observed import SITES
from tests.network import Network

LIST_PAGES = "stepway.notifications.v1.EscalationService/ListEscalations"
LIST_ENROLLMENTS = "stepway.scheduling.v1.EnrollmentService/ListEnrollments"
CALLERS = 8
PATIENT, IMPATIENT = 600, 1  # how often a caller asks before it gives up
PAUSE_SECONDS = 0.1
MIX = {
    Kind.OPEN_TRACK: 0.5,
    Kind.PLAN_GROUP: 1.5,
    Kind.RECEIVE: 15,
    Kind.ASSESS: 18,
    Kind.DECIDE: 14,
    Kind.GRANT: 14,
    Kind.ADMIT: 14,
    Kind.REVOKE: 8,
    Kind.END: 5,
    Kind.ACKNOWLEDGE: 10,
}
"""How many of a hundred commands are of this kind, when there is something to send it about."""


class Load:
    """Sends as many commands as were issued; the mix is drawn from `rng`."""

    def __init__(self, network: Network, history: History, rng: random.Random) -> None:
        self._network = network
        self._history = history
        self._rng = rng
        self._commands = Commands(history, rng)
        self._tickets = asyncio.Semaphore(0)
        self._issued = 0
        self._done = 0
        self._moved = asyncio.Condition()
        self._journeys = {site: Journeys() for site in SITES}
        for site, journeys in self._journeys.items():
            journeys.heard_of(command for command in history.commands if command.site == site)
        self.acknowledged = 0

    def issue(self, commands: int) -> None:
        """Let the callers go on with this many more."""
        self._issued += commands
        for _ in range(commands):
            self._tickets.release()

    async def under_way(self, acknowledged: int, *, within: float = 90.0) -> None:
        """Until so many more commands were acknowledged, or none is left."""
        target = self.acknowledged + acknowledged

        def reached() -> bool:
            return self.acknowledged >= target or self._done >= self._issued

        await self._wait(reached, within, f"{acknowledged} acknowledged commands")

    async def finished(self, *, within: float = 180.0) -> None:
        await self._wait(lambda: self._done >= self._issued, within, "the end of all commands")

    async def _wait(self, reached: Callable[[], bool], within: float, what: str) -> None:
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
        command = await self._drawn(rng.choice(SITES), rng.choices([*MIX], [*MIX.values()])[0])
        patience = IMPATIENT if rng.random() < 0.2 else PATIENT
        twins = 2 if rng.random() < 0.1 else 1
        await asyncio.gather(*(send(self._network, command, patience) for _ in range(twins)))
        self._journeys[command.site].hear(command)
        if command.done:
            self.acknowledged += 1

    async def _drawn(self, site: str, kind: Kind) -> Command:
        """A command of this kind; what has nothing to be about becomes a referral or an assessment."""
        drawn = await self._about_something(site, kind)
        if drawn is None and (referral := self._journeys[site].somebody(self._rng)):
            drawn = self._commands.assess(site, referral)
        return drawn or self._commands.receive(site)

    async def _about_something(self, site: str, kind: Kind) -> Command | None:
        journeys, commands, rng = self._journeys[site], self._commands, self._rng
        match kind:
            case Kind.OPEN_TRACK:
                return commands.open_track(site, DAYPART_EVENING, seats=rng.randint(1, 2))
            case Kind.PLAN_GROUP:
                return commands.plan_group(site, seats=rng.randint(1, 6))
            case Kind.RECEIVE:
                return commands.receive(site)
            case Kind.DECIDE if referral := journeys.take_undecided(rng):
                return commands.decide(site, referral, offered=rng.random() < 0.9)
            case Kind.ADMIT if referral := journeys.take_unadmitted(rng):
                return commands.admit(site, referral)
            case Kind.GRANT if patient := journeys.patient(rng):
                return self._grant(site, patient)
            case Kind.REVOKE if consent := journeys.take_consent(rng):
                return commands.revoke(site, consent)
            case Kind.END if enrollment := await self._unended(site):
                return commands.end(site, enrollment)
            case Kind.ACKNOWLEDGE if page := await self.untaken(site):
                return commands.acknowledge(site, page)
            case _:
                return None

    def _grant(self, site: str, patient: str) -> Command:
        members, rng = self._journeys[site].members[patient], self._rng
        again_to = rng.choice(members) if members and rng.random() < 0.7 else ""
        return self._commands.grant(site, patient, again_to=again_to, covers=rng.random() < 0.85)

    async def untaken(self, site: str) -> str | None:
        """A page that nobody has taken, and that no other caller of ours is about to take."""
        pages = await self._listed(LIST_PAGES, ListEscalationsRequest(page_size=100), site, ON_CALL[site])
        return self._first(site, Kind.ACKNOWLEDGE, (each.id for each in pages if not each.acknowledged_by))

    async def _unended(self, site: str) -> str | None:
        """An enrolment that no other caller of ours is about to end."""
        listed = await self._listed(LIST_ENROLLMENTS, ListEnrollmentsRequest(page_size=100), site, "assessor")
        ids = [each.id for each in listed if each.status != ENROLLMENT_STATUS_ENDED]
        self._rng.shuffle(ids)
        return self._first(site, Kind.END, ids)

    def _first(self, site: str, kind: Kind, ids: Any) -> str | None:
        asked = self._journeys[site].asked
        free = next((str(id) for id in ids if (kind, id) not in asked), None)
        if free:
            asked.add((kind, free))
        return free

    async def _listed(self, rpc: str, newest: Message, site: str, subject: str) -> list[Any]:
        """Nothing while nobody answers."""
        try:
            answer = await self._network.call(rpc, newest, role="clinician", site=site, subject=subject)
        except (Unavailable, TimedOut):
            return []
        return [each for _, records in answer.ListFields() if not isinstance(records, str) for each in records]


async def send(network: Network, command: Command, patience: int = PATIENT) -> None:
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
        except PeerFailed:
            return command.refused("INTERNAL")
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
