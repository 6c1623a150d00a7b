"""The loop that hands patients over: what a transfer has to tell the other site it tells until that was heard."""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from stepway_chassis import audit, labels, loops, outbox
from stepway_chassis.database import Contended, Database
from stepway_chassis.errors import Conflict, NotFound, PeerFailed, Refusal, Unavailable
from stepway_chassis.ids import uuid7
from stepway_chassis.logs import log
from stepway_chassis.loops import Loop
from stepway_chassis.rpc.client import Peers
from stepway_chassis.telemetry import Telemetry
from stepway_chassis.transaction import Tx
from stepway_intake.domain import consents, transfers
from stepway_intake.domain.admissions import Admission
from stepway_intake.domain.admissions import Status as AdmissionStatus
from stepway_intake.domain.consents import USE_WITHIN, Consent, Expiry, Question, recipient_word
from stepway_intake.domain.people import Patient, label_for
from stepway_intake.domain.referrals import Moved, Referral
from stepway_intake.domain.transfers import ENDS, Answers, Record, Side, Status, Transfer, sent
from stepway_intake.expiring import end_with
from stepway_intake.service.admissions import lock_with_referral
from stepway_intake.store import transfers as store
from stepway_intake.store.admissions import add_admission
from stepway_intake.store.consents import lock_consents_for
from stepway_intake.store.people import find_patient
from stepway_intake.store.referrals import add_first_referral
from stepway_intake.wire import transfers as wire
from stepway_intake.wire.admissions import patient_admitted
from stepway_intake.wire.referrals import referral_moved

LOOP = "handing_over"
MOST = 50
_PEER = "stepway.intake.v1.TransferService"


def handing_over(
    database: Database, peers: Peers, telemetry: Telemetry, now: Callable[[], datetime], pause: timedelta
) -> Loop:
    """Each step is a call to the other site and then a transaction here, and may be done again from its beginning.

    Whoever is killed in between leaves the transfer as it was before the step; the call changes nothing the second
    time. One site that does not answer keeps no other waiting.
    """
    last_tried: dict[str, UUID] = {}

    async def round(site: str) -> datetime | None:
        last = last_tried.pop(site, None)
        async with database.transaction(site, LOOP) as tx:
            untold = await store.untold(tx, MOST, after=last)
        done = await asyncio.gather(*(attempt(site, *each) for each in untold))
        if len(untold) == MOST:
            last_tried[site] = untold[-1][0].id
            return now()
        return now() + pause if last or not all(done) else None

    async def attempt(site: str, transfer: Transfer, trace_context: Mapping[str, str]) -> bool:
        """Whether the step is done; if not, it is tried again."""
        with telemetry.follow("hand over", trace_context, transfer.offered_at, now()):
            try:
                await steps[transfer.side, transfer.status](site, transfer)
            except (Refusal, PeerFailed, Contended) as postponed:
                log.warning("transfer.postponed", site=site, error_type=type(postponed).__name__)
                return False
        return True

    async def offer(site: str, transfer: Transfer) -> None:
        """Told only while a consent covers it; without one it is withdrawn, and that is told next."""
        lapses = time.monotonic() + USE_WITHIN.total_seconds()
        async with database.transaction(site, LOOP) as tx:
            stands = await confirm(tx, transfer.id)
        if not stands:
            return
        try:
            async with asyncio.timeout(lapses - time.monotonic()):
                await tell(site, transfer)
        except TimeoutError:
            raise Unavailable("CONSENT_UNCONFIRMED", "The consent may have ended meanwhile; ask again.") from None
        await heard(site, transfer)

    async def tell(site: str, transfer: Transfer) -> None:
        request = wire.offer(transfer, site=site, request_id=uuid7(now()))
        await peers.call(f"{_PEER}/ReceiveTransfer", request, site=transfer.other_site)

    async def withdraw(site: str, transfer: Transfer) -> None:
        """That there was an offer is told first, so that no late offer can come after its end."""
        await tell(site, transfers.emptied(transfer))
        await end(site, transfer)

    async def fetch(site: str, transfer: Transfer) -> None:
        """The sending site may have withdrawn by now, or lack the consent: then there is no record.

        While it has to say yet what was done about a sign of danger, the transfer waits.
        """
        lapses = time.monotonic() + USE_WITHIN.total_seconds()
        request = wire.release(transfer, site=site, request_id=uuid7(now()))
        try:
            record = wire.record(await peers.call(f"{_PEER}/ReleaseTransfer", request, site=transfer.other_site))
        except (NotFound, Conflict) as refused:
            if refused.reason == transfers.FLAG_UNDISPOSED:
                raise
            record = None
        async with database.transaction(site, LOOP) as tx:
            await arrive(tx, transfer.id, record)
            if record and time.monotonic() >= lapses:
                raise Unavailable("CONSENT_UNCONFIRMED", "The consent may have ended meanwhile; ask again.")

    async def close(site: str, transfer: Transfer) -> None:
        request = wire.closing(transfer, site=site, request_id=uuid7(now()))
        await peers.call(f"{_PEER}/CloseTransfer", request, site=transfer.other_site)
        async with database.transaction(site, LOOP) as tx:
            kept = await store.lock_transfer(tx, transfer.id)
            await save(tx, kept, transfers.close(kept, Side.RECEIVING, at=tx.now))

    async def end(site: str, transfer: Transfer) -> None:
        request = wire.ending(transfer, site=site, request_id=uuid7(now()))
        await peers.call(f"{_PEER}/EndTransfer", request, site=transfer.other_site)
        await heard(site, transfer)

    async def heard(site: str, transfer: Transfer) -> None:
        async with database.transaction(site, LOOP) as tx:
            kept = await store.lock_transfer(tx, transfer.id)
            if kept.status is transfer.status:
                await save(tx, kept, transfers.delivered(kept))

    steps = {
        (Side.SENDING, Status.OFFERED): offer,
        (Side.SENDING, Status.WITHDRAWN): withdraw,
        (Side.RECEIVING, Status.DECLINED): end,
        (Side.RECEIVING, Status.WITHDRAWN): end,
        (Side.RECEIVING, Status.ACCEPTED): fetch,
        (Side.RECEIVING, Status.IMPORTED): close,
    }
    return Loop(LOOP, round)


async def confirm(tx: Tx, id: UUID) -> bool:
    """Whether the offer stands; it is withdrawn if no consent covers it any more."""
    kept, admission, referral = await lock_sent(tx, id)
    consent, _ = await covering(tx, admission, referral.patient, kept.other_site)
    after = transfers.confirm(kept, consent, at=tx.now)
    if after != kept:  # one that stands wakes no loop: that tries again after its pause
        await save(tx, kept, after)
    return after.status is Status.OFFERED


async def lock_sent(tx: Tx, id: UUID, *, other_site: str = "") -> tuple[Transfer, Admission, Referral]:
    """The transfer after what it is about: in the order in which a merge moves them. Raises NotFound."""
    asked = await store.find_transfer(tx, id, other_site=other_site)
    admission, referral = await lock_with_referral(tx, sent(asked))
    return await store.lock_transfer(tx, asked.id), admission, referral


async def arrive(tx: Tx, id: UUID, record: Record | None) -> None:
    """The patient becomes this site's with everything that has crossed, or the transfer is withdrawn without."""
    kept = await store.lock_transfer(tx, id)
    if record is None:
        await save(tx, kept, transfers.give_up(kept, at=tx.now))
        return
    own = label_for(part2_program=tx.site.settings.get("part2_program", True))
    moved, referral, admission = transfers.arrive(kept, record, own, ids=partial(uuid7, tx.now), at=tx.now)
    tx.correlation = str(referral.id)
    await add_first_referral(tx, referral)
    await add_admission(tx, admission)
    came = Moved(referral.id, referral.patient.id, referral.status, tx.now)
    outbox.append(tx, referral_moved(came), patient_admitted(admission), label=referral.patient.label)
    await save(tx, kept, moved)


async def save(tx: Tx, before: Transfer, after: Transfer) -> None:
    """Keep it, announce it if it has got further, and wake the loop if the other site is to hear of it.

    With its end go the consents that were to end with it: of one that has come to nothing, those for that site.
    """
    tx.concerns(*([after.patient_id] if after.patient_id else []))
    if after != before:
        await store.save_transfer(tx, after)
    if events := wire.moved(before, after):
        outbox.append(tx, *events, label=await _label(tx, after))
        if tx.action == LOOP:
            await audit.record(tx, "DONE")
    if not after.told:
        await loops.wake(tx, LOOP, tx.now)
    if events and after.patient_id and after.side is Side.SENDING and after.status in ENDS:
        recipient = "" if after.status is Status.CLOSED else recipient_word("", after.other_site)
        await end_with(tx, after.patient_id, Expiry.TRANSFER_CLOSED, happened_at=tx.now, recipient=recipient)


async def _label(tx: Tx, transfer: Transfer) -> str:
    """The patient's; the highest until the patient is here."""
    return (await find_patient(tx, transfer.patient_id)).label if transfer.patient_id else labels.HIGHEST


async def covering(tx: Tx, admission: Admission, patient: Patient, site: str) -> tuple[Consent | None, Answers]:
    """The consent by which this patient's record may go to another site now; it cannot end until the commit.

    There is none for somebody who has left.
    """
    recipient = recipient_word("", site)
    known = await lock_consents_for(tx, patient.id, recipient)
    answers = {
        category: consents.check(Question(patient.id, recipient, category), known, now=tx.now)
        for category in transfers.ASKED
    }
    here = admission.status is not AdmissionStatus.ENDED
    return transfers.consent_for(answers, patient.label) if here else None, answers
