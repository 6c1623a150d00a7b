"""Pages that somebody has to take: the ladder that they climb for as long as nobody does."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from stepway_chassis.errors import Conflict
from stepway_notifications.domain import messages
from stepway_notifications.domain.messages import PAGE_USEFUL, Message
from stepway_notifications.domain.policy import SitePolicy


@dataclass(frozen=True)
class Escalation:
    """`clinicians` is who was paged so far; `pages` how often; `next_page_at` is unset when nobody is paged again."""

    id: UUID
    risk_flag_id: UUID
    patient_id: UUID
    clinicians: tuple[str, ...]
    pages: int
    raised_at: datetime
    next_page_at: datetime | None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    paged_at: datetime | None = None


@dataclass(frozen=True)
class Taken:
    """Somebody has taken a sign of danger itself, in intake; `id` is the flag's."""

    id: UUID
    taken_by: str
    taken_at: datetime


def begin(
    policy: SitePolicy, *, risk_flag_id: UUID, patient_id: UUID, new_id: Callable[[], UUID], now: datetime
) -> tuple[Escalation, Message]:
    """Page the first on the ladder."""
    raised = Escalation(new_id(), risk_flag_id, patient_id, (), 0, raised_at=now, next_page_at=now)
    return climb(policy, raised, id=new_id(), now=now)


def climb(policy: SitePolicy, escalation: Escalation, *, id: UUID, now: datetime) -> tuple[Escalation, Message]:
    """Page the next on the ladder, after the last the first again, until a page would be of no use."""
    to = policy.on_call[escalation.pages % len(policy.on_call)]
    again = now + policy.page_again
    climbed = replace(
        escalation,
        clinicians=tuple(dict.fromkeys((*escalation.clinicians, to.clinician))),
        pages=escalation.pages + 1,
        next_page_at=again if again < escalation.raised_at + PAGE_USEFUL else None,
    )
    page = messages.page(policy, to, escalation_id=escalation.id, patient_id=escalation.patient_id, id=id, now=now)
    return climbed, page


def acknowledge(escalation: Escalation, *, by: str, at: datetime) -> Escalation:
    """Nobody is paged about it any more. Raises Conflict (ESCALATION_ALREADY_ACKNOWLEDGED)."""
    if escalation.acknowledged_at is not None:
        raise Conflict("ESCALATION_ALREADY_ACKNOWLEDGED", "Somebody has taken this page; list it to see who.")
    return replace(escalation, acknowledged_at=at, acknowledged_by=by, next_page_at=None)
