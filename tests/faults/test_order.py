"""Row 17: however the events of a service are shuffled, repeated, refused and retried, the state is the same."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from stepway.scheduling.v1.track_pb2 import DAYPART_MORNING, DAYPART_WEEKEND
from stepway_chassis import dead_letters, telemetry
from stepway_chassis.app import utc_now
from stepway_chassis.database import Database
from stepway_chassis.deliveries import Deliveries, Delivery, Handler, Outcome
from stepway_chassis.errors import Conflict, NotFound
from stepway_chassis.events import Event
from stepway_chassis.identity import ServiceIdentity
from stepway_chassis.rpc.client import Peers
from stepway_chassis.transaction import Tx
from stepway_cli import listeners
from stepway_cli.local.platform import Platform
from stepway_cli.tokens import AUDIENCE, ISSUER
from stepway_intake.domain.admissions import Seat, Status
from tests.conftest import SOAK
from tests.faults.apart import Apart
from tests.faults.commands import Commands
from tests.faults.observed import SITES
from tests.faults.order_cases import CASES, Case
from tests.faults.order_stories import MIXED
from tests.faults.stage import Stage
from tests.network import Network

SHUFFLES = 300 if SOAK else 6
MIXED_SHUFFLES = 300 if SOAK else 4
MUTANT_SHUFFLES = 20  # the first that differs is the last


def peers(platform: Platform, service: str) -> Peers:
    """As one running service calls the others."""
    identity = ServiceIdentity(service, platform.keys.service_key_file(service), issuer=ISSUER, audience=AUDIENCE)
    return Peers(platform.addresses, identity, telemetry.start("test", ratio=0.0), utc_now)


def every_handler(platform: Platform) -> dict[str, Handler[Any]]:
    return {
        handler.name: handler
        for service in platform.services
        for handler in listeners.handlers(peers(platform, service))[service]
    }


@dataclass
class Shuffle:
    """One way through the events of a case, on empty tables."""

    apart: Apart
    case: Case
    handlers: Mapping[str, Handler[Any]]  # by the type of event
    database: Database
    deliveries: Deliveries
    steps: dict[str, int] = field(default_factory=dict)

    def begin(self) -> None:
        self.apart.empty(self.case.service)
        if self.case.before:
            self.apart.sql(self.case.service, self.case.before)

    def state(self) -> dict[str, list[str]]:
        """Without ids and times that are made up on the way, and what is left failing."""
        found = {name: self.apart.rows(self.case.service, query) for name, query in self.case.state.items()}
        found["handled"] = self.apart.rows(self.case.service, "SELECT site, consumer, event_id FROM inbox")
        for left in ("dead_letter", "delivery_failure"):
            found[left] = self.apart.rows(self.case.service, f"SELECT site, event_id FROM {left}")
        return {name: sorted(json.dumps(row, sort_keys=True) for row in rows) for name, rows in found.items()}

    async def deliver(self, event: Delivery) -> None:
        """As often as it takes; two at once may keep each other waiting."""
        while await self.deliveries.handle(self._handler(event), event) is not Outcome.ENDED:
            pass

    def _handler(self, event: Delivery) -> Handler[Any]:
        return self.handlers[event.headers["ce-type"]]

    async def refuse(self, event: Delivery) -> None:
        """The event is written, refused and put aside; nothing of the writing stays."""
        await self.deliveries.handle(self._spoilt(event, Conflict("NOT_NOW", "Later.")), event)

    async def crash(self, event: Delivery) -> None:
        await self.deliveries.handle(self._spoilt(event, RuntimeError("a defect")), event)

    def _spoilt(self, event: Delivery, error: Exception) -> Handler[Any]:
        handler = self._handler(event)

        async def apply(tx: Tx, event: Event, facts: Any) -> None:
            await handler.apply(tx, event, facts)
            raise error

        return replace(handler, apply=apply)

    async def retry(self, _: Delivery) -> None:
        """An operator asks for every letter again."""
        for site in {event.site for event in self.case.events}:
            async with self.database.transaction(site, "retry") as tx:
                for letter in await dead_letters.listed(tx):
                    with suppress(NotFound):  # applied meanwhile
                        await dead_letters.retry(tx, letter.id)
            await dead_letters.retrying(self.database, self.deliveries, [*self.handlers.values()]).round(site)

    async def through(self, rng: random.Random) -> None:
        """Every event at least once, in any order; some are refused or crash first, some come side by side."""
        steps: list[Any] = [(self.deliver, event) for event in self.case.events for _ in range(rng.randint(1, 3))]
        steps += [(self.crash, event) for event in self.case.events if rng.random() < 0.2]
        rng.shuffle(steps)
        for event in rng.sample(self.case.events, len(self.case.events) // 3):
            steps = self._refused_first(rng, steps, event)
        steps += [(self.retry, event) for event in self.case.events[:1]]
        while steps:
            together, steps = (1, steps) if rng.random() < 0.7 else (4, steps)
            now, steps = steps[:together], steps[together:]
            await asyncio.gather(*(self._step(step, event) for step, event in now))
        for event in self.case.events:
            await self.deliver(event)  # as after a lost acknowledgement; what failed beside it is settled

    def _refused_first(self, rng: random.Random, steps: list[Any], event: Delivery) -> list[Any]:
        """Only a retried letter will apply it, after events that came later."""
        others = [each for each in steps if each[1] is not event]
        others.insert(rng.randrange(len(others) // 2 + 1), (self.refuse, event))
        if rng.random() < 0.5:
            others.insert(rng.randrange(len(others) // 2, len(others) + 1), (self.retry, event))
        return others

    async def _step(self, step: Any, event: Delivery) -> None:
        self.steps[step.__name__] = self.steps.get(step.__name__, 0) + 1
        await step(event)


@asynccontextmanager
async def shuffling(apart: Apart, case: Case, *handlers: Handler[Any]) -> AsyncIterator[Shuffle]:
    by_type = {handler.event.DESCRIPTOR.full_name: handler for handler in handlers}
    async with apart.database(case.service) as database:
        yield Shuffle(apart, case, by_type, database, apart.deliveries(database, case.service))


@pytest.fixture(scope="module")
async def peopled(stage: Stage) -> Network:
    """The running platform, with people on every part of their way through it."""
    commands = Commands(stage.history, random.Random(17))
    for site in SITES:  # one waits, since nothing is offered then; two are seated
        waits, *seated = [
            await stage.take_in(commands, site, daypart)
            for daypart in (DAYPART_WEEKEND, DAYPART_MORNING, DAYPART_MORNING)
        ]
        await stage.sent(*(commands.revoke(site, each.consent) for each in seated))
        await stage.sent(commands.grant(site, seated[0].patient, again_to=seated[0].family_member))
        await stage.sent(commands.assess(site, waits.referral, in_danger=True))
    await stage.settled()
    return stage.network


def test_every_handler_has_a_case_and_says_why_its_order_does_not_matter(stage: Stage) -> None:
    handlers = every_handler(stage.platform)
    assert handlers.keys() == CASES.keys()
    assert all(handler.commutative.strip() for handler in handlers.values())


@pytest.mark.parametrize("name", CASES)
async def test_row_17_in_any_order_however_often_the_state_is_the_same(
    stage: Stage, apart: Apart, peopled: Network, name: str, seed: int
) -> None:
    rng, handler = random.Random(seed), every_handler(stage.platform)[name]
    async with shuffling(apart, CASES[name](rng, peopled), handler) as shuffle:
        await _always_the_same(shuffle, rng, SHUFFLES, f"{name} of seed {seed}")


@pytest.mark.parametrize("service", MIXED)
async def test_row_17_what_a_service_hears_of_the_same_people_may_come_in_any_order(
    stage: Stage, apart: Apart, peopled: Network, service: str, seed: int
) -> None:
    """All of its handlers together, on events that are about each other."""
    rng, handlers = random.Random(seed), listeners.handlers(peers(stage.platform, service))[service]
    case = MIXED[service](rng, peopled)
    async with shuffling(apart, case, *handlers) as shuffle:
        assert {event.headers["ce-type"] for event in case.events} == shuffle.handlers.keys()
        await _always_the_same(shuffle, rng, MIXED_SHUFFLES, f"all of {service}, seed {seed}")


async def _always_the_same(shuffle: Shuffle, rng: random.Random, shuffles: int, what: str) -> None:
    case = shuffle.case
    shuffle.begin()
    untouched = shuffle.state()
    for event in case.events:
        await shuffle.deliver(event)
    wanted = shuffle.state()
    assert all(wanted[table] for table in case.state)
    assert any(wanted[table] != untouched[table] for table in case.state)
    assert wanted["dead_letter"] == wanted["delivery_failure"] == []
    for turn in range(shuffles):
        shuffle.begin()
        with capture_logs():
            await shuffle.through(rng)
        assert shuffle.state() == wanted, f"{what}: shuffle {turn}"
    print(f"\nrow 17, {what}: {len(case.events)} events, {shuffles} shuffles, {shuffle.steps}")


NO_LABEL = "UPDATE person_label SET label = 'general'"
FORGETFUL = [
    (
        "acknowledge_risk_flag",
        CASES["acknowledge_risk_flag"],
        "UPDATE risk_flag SET acknowledged_at = NULL, acknowledged_by = NULL",
    ),
    ("seat_patient", CASES["seat_patient"], NO_LABEL),
    ("draft_plan", CASES["draft_plan"], NO_LABEL),
    ("note_consent", MIXED["family"], "UPDATE consent_link SET revoked = NULL"),
    ("note_admission", MIXED["family"], "UPDATE patient SET at = 'infinity'"),
    ("end_consent", MIXED["family"], "UPDATE consent_link SET granted = NULL"),
    ("welcome_patient", CASES["welcome_patient"], NO_LABEL),
    ("seat_patient", MIXED["scheduling"], "UPDATE enrollment SET ended_at = NULL, status = 'waitlisted'"),
    (
        "page_clinician",
        MIXED["notifications"],
        "UPDATE escalation SET acknowledged_at = NULL, acknowledged_by = NULL",
    ),
]
"""What a handler would do first that takes its event for the last word."""


@pytest.mark.parametrize(("name", "made", "first"), FORGETFUL, ids=[name for name, _, _ in FORGETFUL])
async def test_a_handler_whose_last_word_wins_is_caught(
    stage: Stage, apart: Apart, peopled: Network, name: str, made: Any, first: str, seed: int
) -> None:
    """So that the comparison above is known to be able to fail."""
    handler = every_handler(stage.platform)[name]

    async def apply(tx: Tx, event: Event, facts: Any) -> None:
        await tx.connection.exec_driver_sql(first)
        await handler.apply(tx, event, facts)

    await _is_caught(stage, apart, made(random.Random(seed), peopled), replace(handler, apply=apply), seed)


async def test_a_handler_that_takes_a_revocation_at_its_word_is_caught(
    stage: Stage, apart: Apart, peopled: Network, seed: int
) -> None:
    """It would withhold what another consent covers, if that is there by then."""
    handler = every_handler(stage.platform)["withhold_messages"]

    async def apply(tx: Tx, event: Event, answers: Any) -> None:
        await handler.apply(tx, event, replace(answers, granted=[False]))

    case = MIXED["notifications"](random.Random(seed), peopled)
    await _is_caught(stage, apart, case, replace(handler, apply=apply), seed)


async def test_a_handler_that_takes_each_word_about_a_seat_as_how_it_stands_is_caught(
    stage: Stage, apart: Apart, peopled: Network, seed: int
) -> None:
    """It would have an admission wait again that has its seat."""
    handler = every_handler(stage.platform)["follow_waitlist"]

    async def apply(tx: Tx, event: Event, seat: Seat) -> None:
        await tx.connection.exec_driver_sql("UPDATE admission SET status = 'admitted'")
        await handler.apply(tx, event, replace(seat, status=Status.WAITLISTED))

    case = MIXED["intake"](random.Random(seed), peopled)
    await _is_caught(stage, apart, case, replace(handler, apply=apply), seed)


async def _is_caught(stage: Stage, apart: Apart, case: Case, mutant: Handler[Any], seed: int) -> None:
    """Among the handlers of its service, or as many of them as the case has events for."""
    rng = random.Random(seed)
    handlers = listeners.handlers(peers(stage.platform, case.service))[case.service]
    together = [mutant if handler.name == mutant.name else handler for handler in handlers]
    async with shuffling(apart, case, *together) as shuffle:
        states = []
        for _ in range(MUTANT_SHUFFLES):
            shuffle.begin()
            with capture_logs():
                await shuffle.through(rng)
            states.append(shuffle.state())
            if states[-1] != states[0]:
                return
    raise AssertionError(f"{mutant.name}: {MUTANT_SHUFFLES} shuffles have not told it from a commutative one")
