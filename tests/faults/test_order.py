"""Row 17: however the events of a handler are shuffled, repeated, refused and retried, the state is the same."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

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
from tests.conftest import SOAK
from tests.faults.apart import Apart
from tests.faults.order_cases import CASES, Case, acknowledgements
from tests.faults.stage import Stage
from tests.network import Network

SHUFFLES = 300 if SOAK else 8


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
    handler: Handler[Any]
    database: Database
    deliveries: Deliveries
    steps: dict[str, int] = field(default_factory=dict)

    def begin(self) -> None:
        self.apart.empty(self.case.service)
        if self.case.before:
            self.apart.sql(self.case.service, self.case.before)

    def state(self) -> dict[str, list[str]]:
        """Without ids and times that are made up on the way; nothing may be left failing."""
        found = {name: self.apart.rows(self.case.service, query) for name, query in self.case.state.items()}
        found["handled"] = self.apart.rows(self.case.service, "SELECT site, consumer, event_id FROM inbox")
        for left in ("dead_letter", "delivery_failure"):
            found[left] = self.apart.rows(self.case.service, f"SELECT site, event_id FROM {left}")
        return {name: sorted(json.dumps(row, sort_keys=True) for row in rows) for name, rows in found.items()}

    async def deliver(self, event: Delivery) -> None:
        """As often as it takes; two at once may keep each other waiting."""
        while await self.deliveries.handle(self.handler, event) is not Outcome.ENDED:
            pass

    async def refuse(self, event: Delivery) -> None:
        """The event is written, refused and put aside; nothing of the writing stays."""
        await self.deliveries.handle(self._spoilt(Conflict("NOT_NOW", "Later.")), event)

    async def crash(self, event: Delivery) -> None:
        await self.deliveries.handle(self._spoilt(RuntimeError("a defect")), event)

    def _spoilt(self, error: Exception) -> Handler[Any]:
        async def apply(tx: Tx, event: Event, facts: Any) -> None:
            await self.handler.apply(tx, event, facts)
            raise error

        return replace(self.handler, apply=apply)

    async def retry(self, _: Delivery) -> None:
        """An operator asks for every letter again."""
        for site in {event.site for event in self.case.events}:
            async with self.database.transaction(site, "retry") as tx:
                for letter in await dead_letters.listed(tx):
                    with suppress(NotFound):  # applied meanwhile
                        await dead_letters.retry(tx, letter.id)
            await dead_letters.retrying(self.database, self.deliveries, [self.handler]).round(site)

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
async def shuffling(apart: Apart, case: Case, handler: Handler[Any]) -> AsyncIterator[Shuffle]:
    async with apart.database(case.service) as database:
        yield Shuffle(apart, case, handler, database, apart.deliveries(database, case.service))


@pytest.fixture(scope="module")
async def peopled(stage: Stage) -> Network:
    """The running platform, with people on every part of their way through it."""
    async with stage.loaded("row 17, people", 17) as load:
        load.issue(200)
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
    case = CASES[name](rng, peopled)
    async with shuffling(apart, case, handler) as shuffle:
        shuffle.begin()
        for event in case.events:
            await shuffle.deliver(event)
        wanted = shuffle.state()
        assert all(wanted[table] for table in case.state)
        for turn in range(SHUFFLES):
            shuffle.begin()
            with capture_logs():
                await shuffle.through(rng)
            assert shuffle.state() == wanted, f"{name}: shuffle {turn} of seed {seed}"
    print(f"\nrow 17, {name}: {len(case.events)} events, {SHUFFLES} shuffles, {shuffle.steps}")


async def test_a_handler_whose_last_word_wins_is_caught(stage: Stage, apart: Apart, seed: int) -> None:
    """So that the comparison above is known to be able to fail."""
    rng, handler = random.Random(seed), every_handler(stage.platform)["acknowledge_risk_flag"]

    async def forget_first(tx: Tx, event: Event, facts: None) -> None:
        flag = event.message.risk_flag_id  # type: ignore[attr-defined]
        await tx.connection.exec_driver_sql(
            "UPDATE risk_flag SET acknowledged_at = NULL, acknowledged_by = NULL WHERE id = $1", (UUID(flag),)
        )
        await handler.apply(tx, event, facts)

    case = acknowledgements(rng, stage.network)
    async with shuffling(apart, case, replace(handler, apply=forget_first)) as shuffle:
        states = []
        for _ in range(5):
            shuffle.begin()
            with capture_logs():
                await shuffle.through(rng)
            states.append(shuffle.state())
    assert any(state != states[0] for state in states)
