"""The whole wiring of intake."""

from datetime import timedelta

from stepway_chassis.app import App, Runtime, Wiring
from stepway_intake.consumers import handlers
from stepway_intake.gauges import GAUGES
from stepway_intake.service.admissions import AdmissionService
from stepway_intake.service.assessments import AssessmentService
from stepway_intake.service.consents import ConsentService
from stepway_intake.service.imports import ImportService
from stepway_intake.service.levels_of_care import LevelOfCareService
from stepway_intake.service.referrals import ReferralService
from stepway_intake.service.risk import RiskService
from stepway_intake.settings import IntakeSettings
from stepway_intake.watchdog import watchdog


def wire(runtime: Runtime, settings: IntakeSettings) -> Wiring:
    database, telemetry = runtime.database, runtime.telemetry
    pause = timedelta(seconds=settings.watch_seconds)
    return Wiring(
        servicers=[
            ReferralService(database),
            AssessmentService(database, telemetry),
            RiskService(database),
            LevelOfCareService(database),
            ConsentService(database),
            AdmissionService(database),
            ImportService(database),
        ],
        handlers=handlers(),
        loops=[watchdog(database, runtime.peers, telemetry, runtime.now, pause)],
        gauges=GAUGES,
    )


APP = App("intake", wire, IntakeSettings)
