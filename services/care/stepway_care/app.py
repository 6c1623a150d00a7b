"""The whole wiring of care."""

from stepway_care.consumers import handlers
from stepway_care.gauges import GAUGES
from stepway_care.service import TreatmentPlanService
from stepway_chassis.app import App, Runtime, Wiring


def wire(runtime: Runtime, _: None) -> Wiring:
    return Wiring(servicers=[TreatmentPlanService(runtime.database)], handlers=handlers(), gauges=GAUGES)


APP = App("care", wire)
