"""The connection to NATS: made in the background, and made anew when the server has sent the client away."""

import asyncio

from stepway_chassis.broker import Broker
from tests.network import Network


async def test_a_client_that_was_closed_for_good_is_replaced_and_those_who_wait_are_told(network: Network) -> None:
    broker = Broker(network.platform.nats.url, "intake", network.platform.nats.password("intake"))
    broker.start()
    try:
        first, told = await broker.client(5), asyncio.Event()
        with broker.when_back(told.set):
            await first.close()
            await asyncio.wait_for(told.wait(), 5)
        second = await broker.client(5)
        assert second is not first
        assert second.is_connected
        assert (await second.jetstream().publish("evt.v1.nowhere.general.intake.probe", b"{}")).seq
    finally:
        await broker.close()


async def test_who_waits_for_a_server_that_is_not_there_is_told_in_time() -> None:
    broker = Broker("nats://127.0.0.1:1", "intake", "nothing")
    broker.start()
    try:
        try:
            await broker.client(0.3)
        except TimeoutError:
            return
        raise AssertionError("connected to nothing")
    finally:
        await broker.close()
