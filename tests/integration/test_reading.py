"""How an operator reads the stream: also who looks away for long, and when what they have not read yet is gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from stepway_chassis.broker import STREAM, Stored
from stepway_cli import stream
from stepway_cli.stream import Admin
from tests.faults.foreign import administrator
from tests.network import Network
from tests.waiting import LONGEST, until

SUBJECT = "evt.v1.atlantis.general.intake.tide_turned"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at a time, and a reader that is soon forgotten."""
    monkeypatch.setattr(stream, "BATCH", 2)
    monkeypatch.setattr(stream, "FORGOTTEN_AFTER_SECONDS", 1.0)


@asynccontextmanager
async def tides(network: Network) -> AsyncIterator[JetStreamContext]:
    """Five messages of a site that is none, for as long as the test runs."""
    async with administrator(network) as jetstream:
        for number in range(5):
            await jetstream.publish(SUBJECT, str(number).encode())
        try:
            yield jetstream
        finally:
            await jetstream.purge_stream(STREAM, subject=SUBJECT)


def reading(network: Network, *, follow: bool = False) -> AsyncIterator[Stored]:
    return stream.stored(Admin(*network.platform.nats_admin), SUBJECT, follow=follow)


async def readers(jetstream: JetStreamContext) -> set[str]:
    found = await jetstream.consumers_info(STREAM)
    return {each.name for each in found if each.config.filter_subject == SUBJECT}


async def test_what_comes_later_than_a_look_lasts_is_read_all_the_same(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LOOK_SECONDS", 0.004)
    sent = [str(number).encode() * 200 for number in range(1000)]
    async with tides(network) as jetstream:
        await jetstream.purge_stream(STREAM, subject=SUBJECT)
        await asyncio.gather(*(jetstream.publish(SUBJECT, payload) for payload in sent))
        for _ in range(5):
            assert sorted([event.payload async for event in reading(network)]) == sorted(sent)
        assert await readers(jetstream) == set()


@pytest.mark.usefixtures("short")
async def test_a_reader_that_was_forgotten_is_replaced_where_it_was(network: Network) -> None:
    async with tides(network) as jetstream:
        events = reading(network)
        seen = [await anext(events)]

        async def forgotten() -> bool:
            return not await readers(jetstream)

        await until(forgotten)
        seen += [event async for event in events]
        assert [event.payload for event in seen] == [b"0", b"1", b"2", b"3", b"4"]
        assert await readers(jetstream) == set()


@pytest.mark.usefixtures("short")
async def test_what_is_gone_before_it_was_read_is_not_waited_for(network: Network) -> None:
    async with tides(network) as jetstream:
        events = reading(network)
        seen = [await anext(events)]
        await jetstream.purge_stream(STREAM, subject=SUBJECT)
        seen += [event async for event in events]
        assert [event.payload for event in seen] == [b"0", b"1"]


async def test_an_interruption_that_was_lost_with_what_came_at_that_moment_still_ends_a_reader(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `asyncio.wait_for` loses one."""
    fetch = JetStreamContext.PullSubscription.fetch
    looking = asyncio.Event()

    async def losing(reader: JetStreamContext.PullSubscription, batch: int, timeout: float) -> list[Msg]:
        looking.set()
        with suppress(asyncio.CancelledError):
            return await fetch(reader, batch, timeout)
        return []

    async def follow() -> None:
        async for _ in reading(network, follow=True):
            pass

    monkeypatch.setattr(JetStreamContext.PullSubscription, "fetch", losing)
    following = asyncio.create_task(follow())
    async with asyncio.timeout(LONGEST):
        await looking.wait()
        following.cancel()
        await asyncio.wait([following])
    assert following.cancelled()
