"""The whole wiring of scheduling."""

from stepway_chassis.app import App, Runtime, Wiring
from stepway_scheduling.consumers import handlers
from stepway_scheduling.gauges import GAUGES
from stepway_scheduling.service import EnrollmentService, TrackService


def wire(runtime: Runtime, _: None) -> Wiring:
    return Wiring(
        servicers=[TrackService(runtime.database), EnrollmentService(runtime.database)],
        handlers=handlers(runtime.peers),
        gauges=GAUGES,
    )


APP = App("scheduling", wire)
