"""The whole wiring of notifications."""

from datetime import timedelta

from stepway_chassis.app import App, Runtime, Wiring
from stepway_notifications.channels.channel import MessageChannel
from stepway_notifications.channels.file import FileChannel
from stepway_notifications.channels.smtp import SmtpChannel
from stepway_notifications.consumers import handlers
from stepway_notifications.domain.messages import Channel
from stepway_notifications.escalating import escalating
from stepway_notifications.gauges import GAUGES
from stepway_notifications.sending import sending
from stepway_notifications.service import EscalationService, MessageService
from stepway_notifications.settings import NotificationsSettings


def wire(runtime: Runtime, settings: NotificationsSettings) -> Wiring:
    channels: dict[Channel, MessageChannel] = {
        Channel.SMS: FileChannel(settings.sms_directory),
        Channel.EMAIL: SmtpChannel(settings.smtp_url),
    }
    lease = timedelta(seconds=settings.send_lease_seconds)
    database, telemetry = runtime.database, runtime.telemetry
    return Wiring(
        servicers=[MessageService(database), EscalationService(database, telemetry)],
        handlers=handlers(runtime.peers),
        loops=[
            escalating(database, telemetry, runtime.now),
            *(
                sending(database, runtime.peers, telemetry, runtime.now, channels, lease, urgent=urgent)
                for urgent in (True, False)
            ),
        ],
        gauges=GAUGES,
    )


APP = App("notifications", wire, NotificationsSettings)
