"""The whole wiring of intake."""

from stepway_chassis.app import App, Runtime, Wiring
from stepway_intake.consumers import handlers
from stepway_intake.service import AssessmentService, ReferralService, RiskService


def wire(runtime: Runtime, _: None) -> Wiring:
    return Wiring(
        servicers=[
            ReferralService(runtime.database),
            AssessmentService(runtime.database),
            RiskService(runtime.database),
        ],
        handlers=handlers(),
    )


APP = App("intake", wire)
