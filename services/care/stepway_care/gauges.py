"""What care counts at each site: treatment plans that are still to be made."""

from sqlalchemy import Select, func, select

from stepway_care.domain import Status
from stepway_care.store import treatment_plan
from stepway_chassis.counts import Gauge
from stepway_chassis.transaction import Tx


def _drafts(tx: Tx) -> Select[int]:
    drafts = (treatment_plan.c.site == tx.site.name, treatment_plan.c.status == Status.DRAFT)
    return select(func.count()).select_from(treatment_plan).where(*drafts)


def _overdue(tx: Tx) -> Select[int]:
    return _drafts(tx).where(treatment_plan.c.due_at < tx.now)


GAUGES = (
    Gauge("stepway.treatment_plans.draft", "Treatment plans that are still drafts.", _drafts),
    Gauge("stepway.treatment_plans.overdue", "Those of them whose day has passed.", _overdue),
)
