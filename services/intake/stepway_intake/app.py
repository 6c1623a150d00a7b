"""The whole wiring of intake."""

from datetime import timedelta

from stepway_chassis.app import App, Runtime, Wiring
from stepway_intake.consumers import handlers
from stepway_intake.expiring import expiring
from stepway_intake.fallback import Fallback
from stepway_intake.gauges import GAUGES
from stepway_intake.handing_over import handing_over
from stepway_intake.left_open import left_open
from stepway_intake.service.admissions import AdmissionService
from stepway_intake.service.assessments import AssessmentService
from stepway_intake.service.consents import ConsentService
from stepway_intake.service.content_packs import InstrumentService
from stepway_intake.service.hand_offs import HandOffService
from stepway_intake.service.imports import ImportService
from stepway_intake.service.levels_of_care import LevelOfCareService
from stepway_intake.service.people import PersonService
from stepway_intake.service.referrals import ReferralService
from stepway_intake.service.risk import RiskService
from stepway_intake.service.transfers import TransferService
from stepway_intake.service.workups import WorkupService
from stepway_intake.settings import IntakeSettings
from stepway_intake.watchdog import watchdog


def wire(runtime: Runtime, settings: IntakeSettings) -> Wiring:
    database, telemetry = runtime.database, runtime.telemetry
    pause, again = timedelta(seconds=settings.watch_seconds), timedelta(seconds=settings.hand_over_seconds)
    fallback, fallback_after = Fallback(settings.smtp_url), timedelta(seconds=settings.fallback_seconds)
    return Wiring(
        servicers=[
            ReferralService(database),
            PersonService(database),
            AssessmentService(database, telemetry),
            WorkupService(database, telemetry),
            InstrumentService(database),
            RiskService(database),
            LevelOfCareService(database),
            HandOffService(database),
            ConsentService(database),
            AdmissionService(database),
            TransferService(database, telemetry),
            ImportService(database),
        ],
        handlers=handlers(runtime.peers),
        loops=[
            watchdog(database, runtime.peers, telemetry, runtime.now, pause, fallback, fallback_after),
            expiring(database),
            left_open(database, telemetry),
            handing_over(database, runtime.peers, telemetry, runtime.now, again),
        ],
        gauges=GAUGES,
    )


APP = App("intake", wire, IntakeSettings)
