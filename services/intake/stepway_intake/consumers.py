"""What intake does when it hears of something."""

from functools import partial
from typing import Any

from stepway.notifications.v1.events_pb2 import EscalationAcknowledged
from stepway.scheduling.v1.enrollment_service_pb2 import GetEnrollmentRequest
from stepway.scheduling.v1.events_pb2 import EnrollmentConfirmed, EnrollmentEnded, EnrollmentWaitlisted
from stepway_chassis import outbox
from stepway_chassis.deliveries import Handler
from stepway_chassis.errors import NotFound
from stepway_chassis.events import Event
from stepway_chassis.rpc.client import Peers
from stepway_chassis.transaction import Tx
from stepway_intake.domain import admissions, risk
from stepway_intake.domain.admissions import Seat
from stepway_intake.service.admissions import keep_further, lock_with_referral
from stepway_intake.store import risk as store
from stepway_intake.wire import admissions as admissions_wire
from stepway_intake.wire import risk as wire

_ENROLLMENT = "stepway.scheduling.v1.EnrollmentService/GetEnrollment"
_SEAT = "a hint: scheduling says how the seat stands, and an admission only ever gets further"


def handlers(peers: Peers) -> list[Handler[Any]]:
    return [
        Handler(
            name="acknowledge_risk_flag",
            event=EscalationAcknowledged,
            apply=acknowledge_risk_flag,
            commutative="of all acknowledgements of a flag the earliest is kept; the first heard is announced",
        ),
        *(
            Handler(name=name, event=event, fetch=partial(fetch_seat, peers), apply=follow_seat, commutative=_SEAT)
            for name, event in (
                ("follow_waitlist", EnrollmentWaitlisted),
                ("follow_seat", EnrollmentConfirmed),
                ("follow_end", EnrollmentEnded),
            )
        ),
    ]


async def acknowledge_risk_flag(tx: Tx, event: Event, _: None) -> None:
    """Somebody has taken the page that this flag caused."""
    flag_id, by, at = wire.acknowledgement(event)
    flag = await store.lock_risk_flag(tx, flag_id)
    if flag is None:
        raise NotFound("RISK_FLAG_NOT_FOUND", "The acknowledged page names no flag of this site.")
    tx.concerns(flag.patient_id)
    flag, acknowledged = risk.acknowledge(flag, by=by, at=at)
    await store.save_risk_flag(tx, flag)
    if acknowledged:
        outbox.append(tx, wire.risk_flag_acknowledged(acknowledged), label=await store.label_of(tx, flag))


async def fetch_seat(peers: Peers, event: Event) -> Seat:
    request = GetEnrollmentRequest(enrollment_id=str(admissions_wire.seated(event)))
    return admissions_wire.seat((await peers.call(_ENROLLMENT, request, site=event.site)).enrollment)


async def follow_seat(tx: Tx, event: Event, seat: Seat) -> None:
    """An admission is where its seat is, and its referral with it."""
    admission, referral = await lock_with_referral(tx, seat.admission_id)
    further = admissions.follow(admission, seat)
    if further != admission:
        await keep_further(tx, admission, further, referral)
