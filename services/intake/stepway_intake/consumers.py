"""What intake does when it hears of something."""

from stepway.notifications.v1.events_pb2 import EscalationAcknowledged
from stepway_chassis.deliveries import Handler
from stepway_chassis.errors import NotFound
from stepway_chassis.events import Event
from stepway_chassis.transaction import Tx
from stepway_intake.domain import risk
from stepway_intake.store import risk as store
from stepway_intake.wire import risk as wire


def handlers() -> list[Handler[None]]:
    return [
        Handler(
            name="acknowledge_risk_flag",
            event=EscalationAcknowledged,
            apply=acknowledge_risk_flag,
            commutative="of all acknowledgements of a flag the earliest is kept",
        )
    ]


async def acknowledge_risk_flag(tx: Tx, event: Event, _: None) -> None:
    """Somebody has taken the page that this flag caused."""
    flag_id, by, at = wire.acknowledgement(event)
    flag = await store.lock_risk_flag(tx, flag_id)
    if flag is None:
        raise NotFound("RISK_FLAG_NOT_FOUND", "The acknowledged page names no flag of this site.")
    tx.concerns(flag.patient_id)
    await store.save_risk_flag(tx, risk.acknowledge(flag, by=by, at=at))
