"""One delivery at a time, in this process: what fails, dies or cannot be read is retried, counted and put aside."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from structlog.testing import capture_logs

from stepway.events.v1 import events_pb2
from stepway.notifications.v1.events_pb2 import EscalationAcknowledged
from stepway_chassis import dead_letters, loops
from stepway_chassis.app import App, Runtime, Wiring
from stepway_chassis.database import Database
from stepway_chassis.deliveries import Deliveries, Delivery, Handler, Outcome
from stepway_chassis.errors import Conflict, Unavailable
from stepway_chassis.events import Event
from stepway_chassis.testing import running
from stepway_chassis.times import to_proto
from stepway_chassis.transaction import Tx
from tests.faults.apart import EASTBAY, MAX_FAILURES, NOON, Apart, only
from tests.faults.foreign import administrator, changed, delivery, put
from tests.faults.observed import Row
from tests.faults.quiet import consumers
from tests.faults.stage import Stage
from tests.faults.test_poison import poisons
from tests.waiting import until


class Died(BaseException):
    """What a SIGKILL in the middle of a handler leaves behind: nothing is caught, nothing is committed."""


@dataclass
class Applying:
    """A handler that writes something, and then does what the test wants."""

    then: BaseException | None = None
    applied: int = 0
    at: list[float] = field(default_factory=list)

    async def apply(self, tx: Tx, event: Event, _: None) -> None:
        self.at.append(time.monotonic())
        await loops.wake(tx, f"effect {event.id}", tx.now)
        if self.then is not None:
            raise self.then
        self.applied += 1


@dataclass
class Desk:
    """An inbox of our own, in the intake apart."""

    apart: Apart
    database: Database
    deliveries: Deliveries
    applying: Applying = field(default_factory=Applying)

    def __post_init__(self) -> None:
        self.handler: Handler[Any] = Handler("test", EscalationAcknowledged, self.applying.apply, "only a test")

    async def take(self, taken: Delivery, count: int = 1) -> Outcome:
        return await self.deliveries.handle(self.handler, replace(taken, count=count))

    def letters(self) -> list[Row]:
        return self.apart.rows("intake", "SELECT * FROM dead_letter")

    def failures(self) -> list[Row]:
        return self.apart.rows("intake", "SELECT count, error_type FROM delivery_failure")

    def effects(self) -> int:
        return len(self.apart.rows("intake", "SELECT loop FROM work WHERE loop LIKE 'effect %'"))

    async def retried(self, *handlers: Handler[Any]) -> None:
        """One round of the loop that tries letters again, after an operator asked for all."""
        async with self.database.transaction(EASTBAY, "retry") as tx:
            for letter in await dead_letters.listed(tx):
                await dead_letters.retry(tx, letter.id)
        await dead_letters.retrying(self.database, self.deliveries, handlers or [self.handler]).round(EASTBAY)


@pytest.fixture
async def desk(apart: Apart) -> AsyncIterator[Desk]:
    apart.empty("intake")
    async with apart.database("intake") as database:
        with capture_logs():  # the tracebacks of what is made to crash
            yield Desk(apart, database, apart.deliveries(database))


def an_event() -> Delivery:
    ids = {"escalation_id": str(uuid4()), "risk_flag_id": str(uuid4())}
    event = EscalationAcknowledged(**ids, acknowledged_by="staff-2041", acknowledged_at=to_proto(NOON))
    return delivery(event, EASTBAY)


async def test_an_event_that_comes_ten_times_at_once_is_applied_once(desk: Desk) -> None:
    event = an_event()
    outcomes = await asyncio.gather(*(desk.take(event) for _ in range(10)))
    assert set(outcomes) == {Outcome.ENDED}
    assert (desk.applying.applied, desk.effects()) == (1, 1)


@pytest.mark.parametrize("which", [n for n, bad in enumerate(poisons(an_event())) if "Status" not in bad.headers])
async def test_poison_ends_as_one_letter_however_often_it_comes(desk: Desk, which: int) -> None:
    bad = poisons(an_event())[which]
    assert [await desk.take(bad, count) for count in (1, 2, 9)] == [Outcome.ENDED] * 3
    assert only(desk.letters())["reason"] == "MALFORMED"
    assert desk.effects() == 0


async def test_a_handler_that_crashes_is_tried_again_and_then_buried(desk: Desk) -> None:
    event, desk.applying.then = an_event(), RuntimeError("a defect")
    outcomes = [await desk.take(event, count) for count in range(1, MAX_FAILURES + 1)]
    assert outcomes == [Outcome.AGAIN] * (MAX_FAILURES - 1) + [Outcome.ENDED]
    letter = only(desk.letters())
    assert (letter["reason"], letter["error_type"], letter["count"]) == ("HANDLER_FAILED", "RuntimeError", MAX_FAILURES)
    assert desk.effects() == 0


async def test_a_buried_event_is_applied_once_and_forgotten_when_the_defect_is_mended(desk: Desk) -> None:
    event, desk.applying.then = an_event(), RuntimeError("a defect")
    for count in range(1, MAX_FAILURES + 1):
        await desk.take(event, count)
    await desk.retried()
    letter = only(desk.letters())
    assert (letter["state"], letter["reason"]) == ("waiting", "HANDLER_FAILED")
    desk.applying.then = None
    await desk.retried()
    assert (desk.letters(), desk.failures(), desk.effects()) == ([], [], 1)


async def test_an_event_that_kills_the_process_again_and_again_is_buried_unhandled(desk: Desk) -> None:
    event, desk.applying.then = an_event(), Died()
    attempts = 0
    for count in range(1, 20):
        try:
            outcome = await desk.take(event, count)
        except Died:
            attempts += 1
        else:
            break
    assert outcome is Outcome.ENDED
    assert only(desk.letters())["reason"] == "DELIVERED_TOO_OFTEN"
    assert attempts == 3 + MAX_FAILURES
    assert desk.effects() == 0


async def test_a_dependency_that_is_away_never_buries_an_event(desk: Desk) -> None:
    event, desk.applying.then = an_event(), Unavailable("AWAY", "Not now.")
    assert {await desk.take(event, count) for count in range(1, 30)} == {Outcome.UNAVAILABLE}
    desk.applying.then = None
    assert await desk.take(event, 30) is Outcome.ENDED
    assert (desk.letters(), desk.failures(), desk.effects()) == ([], [], 1)


async def test_a_site_that_moves_away_whenever_a_dependency_is_away_never_buries_an_event(desk: Desk) -> None:
    """The attempt was counted before it began, and can only be taken back when the site is here again."""

    def move(cell: str) -> None:
        desk.apart.sql("intake", f"UPDATE site SET cell = '{cell}' WHERE site = '{EASTBAY}'")

    async def fetch(_: Event) -> None:
        move("west")
        raise Unavailable("AWAY", "Not now.")

    asking, event = replace(desk.handler, fetch=fetch), an_event()
    try:
        for count in range(1, 30):
            assert await desk.deliveries.handle(asking, replace(event, count=count)) is Outcome.UNAVAILABLE
            move("shared")
    finally:
        move("shared")
    assert only(desk.failures())["count"] == 1
    assert await desk.take(event, 30) is Outcome.ENDED
    assert (desk.letters(), desk.failures(), desk.effects()) == ([], [], 1)


async def test_an_event_whose_acks_are_lost_is_neither_counted_as_failing_nor_buried(desk: Desk) -> None:
    event = an_event()
    assert {await desk.take(event, count) for count in range(1, 20)} == {Outcome.ENDED}
    assert (desk.letters(), desk.failures(), desk.effects()) == ([], [], 1)


async def test_a_letter_of_an_event_that_was_applied_meanwhile_goes_when_it_is_retried(desk: Desk) -> None:
    event, desk.applying.then = an_event(), Conflict("NOT_NOW", "Later.")
    await desk.take(event)
    kept = only(desk.letters())
    desk.applying.then = None
    await desk.take(event)
    assert desk.letters() == []
    columns = "site, consumer, event_id, subject, headers, payload, reason, error_type, count"
    values = ", ".join(f"'{kept[name]}'" for name in ("site", "consumer", "event_id", "subject"))
    desk.apart.sql("intake", f"INSERT INTO dead_letter ({columns}) VALUES ({values}, '{{}}', '', 'OLD', 'OLD', 1)")
    headers, payload = str(dict(event.headers)).replace("'", '"'), event.payload.hex()
    desk.apart.sql("intake", f"UPDATE dead_letter SET headers = $${headers}$$, payload = decode('{payload}', 'hex')")
    await desk.retried()
    assert (desk.letters(), desk.effects()) == ([], 1)


async def test_a_letter_that_takes_the_process_down_leaves_the_others_asked_for(desk: Desk) -> None:
    first, second = an_event(), an_event()
    desk.applying.then = Conflict("NOT_NOW", "Later.")
    for event in (first, second):
        await desk.take(event)
    desk.applying.then = Died()
    with pytest.raises(Died):
        await desk.retried()
    assert {letter["event_id"]: letter["state"] for letter in desk.letters()} == {
        str(first.event_id): "waiting",
        str(second.event_id): "retrying",
    }
    desk.applying.then = None
    await dead_letters.retrying(desk.database, desk.deliveries, [desk.handler]).round(EASTBAY)
    assert (only(desk.letters())["event_id"], desk.effects()) == (str(first.event_id), 1)


async def test_a_letter_that_waits_for_a_dependency_stays_asked_for_though_its_site_was_elsewhere(desk: Desk) -> None:
    def move(cell: str) -> None:
        desk.apart.sql("intake", f"UPDATE site SET cell = '{cell}' WHERE site = '{EASTBAY}'")

    async def fetch(_: Event) -> None:
        move("west")
        raise Unavailable("AWAY", "Not now.")

    desk.applying.then = Conflict("NOT_NOW", "Later.")
    await desk.take(an_event())
    asking = replace(desk.handler, fetch=fetch)
    retrying = dead_letters.retrying(desk.database, desk.deliveries, [asking])
    async with desk.database.transaction(EASTBAY, "retry") as tx:
        await dead_letters.retry(tx, (await dead_letters.listed(tx))[0].id)
    try:
        with pytest.raises(Unavailable, match="WRONG_CELL"):
            await retrying.round(EASTBAY)
        move("shared")
        with pytest.raises(Unavailable, match="WRONG_CELL"):  # it is tried again
            await retrying.round(EASTBAY)
    finally:
        move("shared")


async def test_a_round_of_letters_ends_before_another_may_begin_and_goes_on_with_those_that_were_not_tried(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "LONGEST_SECONDS", 0.0)
    desk.applying.then = Unavailable("AWAY", "Not now.")
    events = [an_event() for _ in range(3)]
    retrying = dead_letters.retrying(desk.database, desk.deliveries, [desk.handler])
    for event in events:
        await desk.take(changed(event, b"no JSON"))
    good = "".join(
        f"UPDATE dead_letter SET state = 'retrying', payload = decode('{event.payload.hex()}', 'hex')"
        f" WHERE event_id = '{event.event_id}';"
        for event in events
    )
    desk.apart.sql("intake", good)
    for turn in range(1, 4):
        assert await retrying.round(EASTBAY) is not None
        assert len(desk.applying.at) == turn
    desk.applying.then = None
    for _ in events:
        await retrying.round(EASTBAY)
    assert (desk.letters(), desk.effects()) == ([], 3)


async def test_deliveries_that_overlap_take_back_each_count_once(desk: Desk) -> None:
    """A peer that goes ends all that wait for it at once."""
    event, waiting = an_event(), asyncio.Barrier(3)

    async def fetch(_: Event) -> None:
        await waiting.wait()
        raise Unavailable("AWAY", "Not now.")

    asking = replace(desk.handler, fetch=fetch)
    takes = (desk.deliveries.handle(asking, replace(event, count=count)) for count in (5, 6, 7))
    assert set(await asyncio.gather(*takes)) == {Outcome.UNAVAILABLE}
    desk.applying.then = Died()
    for count in range(1, MAX_FAILURES + 1):
        with pytest.raises(Died):
            await desk.take(event, 7 + count)
        assert only(desk.failures())["count"] == count
    assert await desk.take(event, 20) is Outcome.ENDED
    assert only(desk.letters())["reason"] == "DELIVERED_TOO_OFTEN"


async def test_a_letter_too_old_to_be_told_from_a_repeat_waits_for_the_operator(desk: Desk) -> None:
    old = changed(an_event(), b"no JSON")
    await desk.take(old)
    payload, time_ = an_event().payload.hex(), "2020-01-01T00:00:00+00:00"
    desk.apart.sql(
        "intake",
        f"UPDATE dead_letter SET payload = decode('{payload}', 'hex'),"
        f""" headers = jsonb_set(headers, '{{ce-time}}', '"{time_}"')""",
    )
    await desk.retried()
    assert (only(desk.letters())["state"], desk.effects()) == ("waiting", 0)


def a_version(*values: str) -> type[Message]:
    """An event with an enum, as one release knows it."""
    file = descriptor_pb2.FileDescriptorProto(name="novel.proto", package="stepway.test.v1", syntax="proto3")
    enum = file.enum_type.add(name="Colour")
    for number, value in enumerate(values):
        enum.value.add(name=value, number=number)
    message = file.message_type.add(name="Painted")
    text = {"type": descriptor_pb2.FieldDescriptorProto.TYPE_STRING, "label": 1}
    coloured = {"type": descriptor_pb2.FieldDescriptorProto.TYPE_ENUM, "type_name": ".stepway.test.v1.Colour"}
    message.field.add(name="house_id", number=1, json_name="houseId", **text)
    message.field.add(name="colour", number=2, json_name="colour", label=1, **coloured)
    message.field.add(name="trims", number=3, json_name="trims", label=3, **coloured)
    rule = events_pb2.Event(noun="house", id_field="house_id", lane=events_pb2.LANE_NORMAL)
    message.options.Extensions[events_pb2.event].CopyFrom(rule)  # type: ignore[index]
    pool = descriptor_pool.DescriptorPool()
    for name in ("google/protobuf/descriptor.proto", "stepway/events/v1/events.proto"):
        pool.AddSerializedFile(descriptor_pool.Default().FindFileByName(name).serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("stepway.test.v1.Painted"))


@pytest.mark.parametrize("novel", [{"colour": "MAUVE"}, {"colour": 2}, {"trims": ["RED", "MAUVE"]}])
async def test_what_a_newer_version_wrote_waits_for_the_upgrade_and_is_then_applied(
    desk: Desk, novel: dict[str, Any]
) -> None:
    event = changed(an_event(), novel | {"houseId": str(uuid4())})
    old: Handler[Any] = Handler("painted", a_version("RED", "BLUE"), desk.applying.apply, "only a test")
    assert await desk.deliveries.handle(old, event) is Outcome.ENDED
    assert (only(desk.letters())["reason"], desk.effects()) == ("NEWER_SCHEMA", 0)
    new = replace(old, event=a_version("RED", "BLUE", "MAUVE"))
    async with desk.database.transaction(EASTBAY, "welcome") as tx:
        await dead_letters.retry_newer(tx)
    await dead_letters.retrying(desk.database, _plain(desk), [new]).round(EASTBAY)
    assert (desk.letters(), desk.effects()) == ([], 1)


def _plain(desk: Desk) -> Deliveries:
    return desk.apart.deliveries(desk.database)


async def test_a_known_enum_value_is_no_newer_schema(desk: Desk) -> None:
    known = changed(an_event(), {"houseId": str(uuid4()), "colour": "BLUE", "trims": ["RED", 1]})
    handler: Handler[Any] = Handler("painted", a_version("RED", "BLUE"), desk.applying.apply, "only a test")
    assert await desk.deliveries.handle(handler, known) is Outcome.ENDED
    assert (desk.letters(), desk.effects()) == ([], 1)


async def test_a_running_service_tries_a_crashing_handler_later_and_later_and_then_lets_the_lane_go_on(
    stage: Stage, desk: Desk
) -> None:
    crashing, bad, good = Applying(RuntimeError("a defect")), an_event(), an_event()

    async def apply(tx: Tx, event: Event, facts: None) -> None:
        await (crashing if event.id == bad.event_id else desk.applying).apply(tx, event, facts)

    def wire(_: Runtime, __: None) -> Wiring:
        return Wiring([], [Handler("test", EscalationAcknowledged, apply, "only a test")])

    environ = desk.apart.environment("intake", STEPWAY_RETRY_SECONDS="0.1")
    async with running(App("intake", wire), environ), administrator(stage.network) as jetstream:
        await put(jetstream, bad)
        await put(jetstream, good)
        await until(lambda: _letter(desk))
        await until(lambda: _settled(stage))
    pauses = [later - earlier for earlier, later in zip(crashing.at, crashing.at[1:], strict=False)]
    assert len(crashing.at) == MAX_FAILURES
    assert all(pause >= 0.1 * 2**turn for turn, pause in enumerate(pauses)), pauses
    assert (desk.applying.applied, desk.effects()) == (1, 1)
    assert only(desk.letters())["reason"] == "HANDLER_FAILED"


async def _letter(desk: Desk) -> bool:
    return bool(desk.letters())


async def _settled(stage: Stage) -> bool:
    """Nothing is handed out again: the message was acknowledged."""
    ours = [each for each in await consumers(stage.network) if EASTBAY in each.name]
    return all((each.num_pending, each.num_ack_pending) == (0, 0) for each in ours)


async def test_a_lane_whose_need_was_away_for_a_moment_goes_on_within_moments(
    stage: Stage, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many deliveries met the absence at once: the pause grows with time, not with their number.

    Doubled once for each of them it would be longer than anybody waits here.
    """
    monkeypatch.setattr("stepway_chassis.consumers.LONGEST_PAUSE_SECONDS", 3600.0)
    refused = 0
    back = asyncio.Event()

    async def apply(tx: Tx, event: Event, facts: None) -> None:
        nonlocal refused
        if not back.is_set():
            refused += 1
            raise Unavailable("AWAY", "Not now.")
        await desk.applying.apply(tx, event, facts)

    def wire(_: Runtime, __: None) -> Wiring:
        return Wiring([], [Handler("test", EscalationAcknowledged, apply, "only a test")])

    async def met() -> bool:
        return refused >= 16

    async def applied() -> bool:
        return desk.applying.applied >= 40

    async with administrator(stage.network) as jetstream:
        for _ in range(40):
            await put(jetstream, an_event())
        async with running(App("intake", wire), desk.apart.environment("intake", STEPWAY_RETRY_SECONDS="0.1")):
            await until(met)
            back.set()
            await until(applied)
            await until(lambda: _settled(stage))
    assert (desk.letters(), desk.failures()) == ([], [])
