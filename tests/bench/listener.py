"""A service that hears of each referral and has nothing to do: what the chassis itself costs to handle an event."""

from typing import Any

from stepway.intake.v1.events_pb2 import ReferralReceived
from stepway_chassis.app import App, Runtime, Wiring, run
from stepway_chassis.deliveries import Handler
from stepway_chassis.events import Event
from stepway_chassis.transaction import Tx

CONSUMER = "bench_listener"


async def heard(tx: Tx, event: Event, facts: None) -> None: ...


def wire(_: Runtime, settings: Any) -> Wiring:
    return Wiring([], [Handler(name=CONSUMER, event=ReferralReceived, apply=heard, commutative="does nothing")])


if __name__ == "__main__":
    run(App("notifications", wire))
