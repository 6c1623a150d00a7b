"""What scheduling counts at each site: people in the line for a seat."""

from sqlalchemy import Select, func, select

from stepway_chassis.counts import Gauge
from stepway_chassis.transaction import Tx
from stepway_scheduling.domain import Status
from stepway_scheduling.store import enrollment


def _waiting(tx: Tx) -> Select[int]:
    in_line = (enrollment.c.site == tx.site.name, enrollment.c.status == Status.WAITLISTED)
    return select(func.count()).select_from(enrollment).where(*in_line)


GAUGES = (Gauge("stepway.waitlist.people", "People who wait for a seat.", _waiting),)
