"""A service that hears of each referral and recording and has nothing to do: what the chassis itself costs."""

from typing import Any

from stepway.intake.v1.events_pb2 import AssessmentCompleted, ReferralReceived
from stepway_chassis.app import App, Runtime, Wiring, run
from stepway_chassis.deliveries import Handler
from stepway_chassis.events import Event
from stepway_chassis.transaction import Tx

CONSUMER, OF_RECORDINGS = "bench_listener", "bench_listener_of_recordings"
IDLE = "does nothing"


async def heard(tx: Tx, event: Event, facts: None) -> None: ...


def wire(_: Runtime, settings: Any) -> Wiring:
    handlers = [
        Handler(name=CONSUMER, event=ReferralReceived, apply=heard, commutative=IDLE),
        Handler(name=OF_RECORDINGS, event=AssessmentCompleted, apply=heard, commutative=IDLE),
    ]
    return Wiring([], handlers)


if __name__ == "__main__":
    run(App("notifications", wire))
