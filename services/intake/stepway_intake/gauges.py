"""What intake counts at each site: dangers that nobody has taken, steps that are late, people whom nobody has yet."""

from datetime import timedelta

from sqlalchemy import Select, func, select

from stepway_chassis.counts import Gauge
from stepway_chassis.transaction import Tx
from stepway_intake.domain.hand_offs import Status
from stepway_intake.domain.risk import Disposition, Urgency
from stepway_intake.store.hand_offs import hand_off
from stepway_intake.store.referrals import referral
from stepway_intake.store.risk import risk_flag

PAGED_WITHIN = timedelta(seconds=60)


def open_flags(tx: Tx) -> Select[int]:
    open_here = (risk_flag.c.site == tx.site.name, risk_flag.c.acknowledged_at.is_(None))
    return select(func.count()).select_from(risk_flag).where(*open_here)


def _urgent(tx: Tx) -> Select[int]:
    return open_flags(tx).where(risk_flag.c.urgency == Urgency.PAGE)


def _unpaged(tx: Tx) -> Select[int]:
    return _urgent(tx).where(risk_flag.c.paged_at.is_(None), risk_flag.c.raised_at < tx.now - PAGED_WITHIN)


def _overdue(tx: Tx) -> Select[int]:
    undisposed = (risk_flag.c.site == tx.site.name, risk_flag.c.disposition == Disposition.PENDING)
    return select(func.count()).select_from(risk_flag).where(*undisposed, risk_flag.c.due_at < tx.now)


def _overdue_referrals(tx: Tx) -> Select[int]:
    late = (referral.c.site == tx.site.name, referral.c.due_at < tx.now)
    return select(func.count()).select_from(referral).where(*late)


def _open_hand_offs(tx: Tx) -> Select[int]:
    open_here = (hand_off.c.site == tx.site.name, hand_off.c.status == Status.OPEN)
    return select(func.count()).select_from(hand_off).where(*open_here)


def _overdue_hand_offs(tx: Tx) -> Select[int]:
    return _open_hand_offs(tx).where(hand_off.c.due_at < tx.now)


GAUGES = (
    Gauge("stepway.risk_flags.open", "Signs of danger that nobody has acknowledged.", open_flags),
    Gauge("stepway.risk_flags.urgent", "Those of them that ask for somebody at once.", _urgent),
    Gauge("stepway.risk_flags.unpaged", "Those of them that no channel has taken within a minute.", _unpaged),
    Gauge("stepway.risk_flags.overdue", "Flags whose next step was due: to be taken, or disposed of.", _overdue),
    Gauge("stepway.referrals.overdue", "Referrals whose next step was due.", _overdue_referrals),
    Gauge("stepway.hand_offs.open", "People referred on whom no provider has confirmed yet.", _open_hand_offs),
    Gauge(
        "stepway.hand_offs.overdue", "Those of them whose provider should have confirmed by now.", _overdue_hand_offs
    ),
)
