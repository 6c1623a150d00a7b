"""What notifications counts at each site: pages that nobody has taken, and messages that are still here."""

from datetime import timedelta

from sqlalchemy import Select, func, select

from stepway_chassis.counts import Gauge
from stepway_chassis.transaction import Tx
from stepway_notifications.domain.messages import Status
from stepway_notifications.store import escalation, message

SENT_WITHIN = timedelta(seconds=60)


def _unacknowledged(tx: Tx) -> Select[int]:
    open_here = (escalation.c.site == tx.site.name, escalation.c.acknowledged_at.is_(None))
    return select(func.count()).select_from(escalation).where(*open_here)


def _climbing(tx: Tx) -> Select[int]:
    return _unacknowledged(tx).where(escalation.c.pages > 1)


def _queued(tx: Tx) -> Select[int]:
    queued = (message.c.site == tx.site.name, message.c.status == Status.QUEUED)
    return select(func.count()).select_from(message).where(*queued)


def _overdue(tx: Tx) -> Select[int]:
    return _queued(tx).where(message.c.release_at < tx.now - SENT_WITHIN)


GAUGES = (
    Gauge("stepway.escalations.unacknowledged", "Pages that nobody has taken.", _unacknowledged),
    Gauge("stepway.escalations.overdue", "Those of them whose first clinician did not answer in time.", _climbing),
    Gauge("stepway.messages.queued", "Texts and emails that are not handed over yet.", _queued),
    Gauge("stepway.messages.overdue", "Those of them that might have gone a minute ago.", _overdue),
)
