"""Who leaves without a word to scheduling: whoever declines while they wait, and whoever is in care elsewhere."""

from stepway_chassis import outbox
from stepway_chassis.transaction import Tx
from stepway_intake.domain import admissions
from stepway_intake.domain.admissions import Ending, Status
from stepway_intake.domain.consents import Expiry
from stepway_intake.domain.referrals import Referral
from stepway_intake.expiring import end_with
from stepway_intake.store import admissions as store
from stepway_intake.store.referrals import is_on_the_way
from stepway_intake.wire import admissions as wire


async def leave(tx: Tx, referral: Referral) -> None:
    """The admission that this referral has led to is over, if there is one, and what was consented to until then.

    Scheduling hears of it and gives the seat, or the place in the line, to somebody else. Where there was none,
    consents stand only for whoever is here, or on their way, by another referral.
    """
    admission, patient = await store.lock_admission_of(tx, referral.id), referral.patient
    if admission is not None and admission.status is not Status.ENDED:
        left = admissions.end(admission, Ending.LEFT, at=tx.now)
        await store.save_admission(tx, left)
        outbox.append(tx, *wire.followed(admission, left, at=tx.now), label=patient.label)
    elif await store.are_admitted(tx, patient.id) or await is_on_the_way(tx, patient.id):
        return
    await end_with(tx, patient.id, Expiry.END_OF_TREATMENT, happened_at=tx.now)
