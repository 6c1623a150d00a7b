"""Transfers: a patient handed over from one site to another, once, under a consent, as each of the two sees it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from stepway_chassis.errors import Conflict, InvalidInput
from stepway_intake.domain.admissions import Admission, Course, Daypart
from stepway_intake.domain.admissions import Status as AdmissionStatus
from stepway_intake.domain.consents import Category, Consent, Finding
from stepway_intake.domain.people import Label, Patient, Person
from stepway_intake.domain.referrals import Referral, Source
from stepway_intake.domain.referrals import Status as ReferralStatus


class Side(StrEnum):
    SENDING = "sending"
    RECEIVING = "receiving"


class Status(StrEnum):
    OFFERED = "offered"
    ACCEPTED = "accepted"
    IMPORTED = "imported"
    CLOSED = "closed"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


REASON = "Handed over by another site of the network."
ENDS = frozenset({Status.CLOSED, Status.DECLINED, Status.WITHDRAWN})
FLAG_UNDISPOSED = "RISK_FLAG_UNDISPOSED"


@dataclass(frozen=True)
class Transfer:
    """`told` is whether the other site knows that it stands so; until then the loop goes on telling it."""

    id: UUID
    side: Side
    status: Status
    other_site: str
    patient_id: UUID | None
    admission_id: UUID | None
    course: Course
    availability: tuple[Daypart, ...]
    told: bool
    offered_at: datetime
    accepted_at: datetime | None = None
    imported_at: datetime | None = None
    ended_at: datetime | None = None
    consent_id: UUID | None = None
    consent_version: int = 0
    notice_version: str = ""


@dataclass(frozen=True)
class Record:
    """What crosses, once: who the patient is and what was agreed for them, by which consent, with which notice."""

    person: Person
    label: Label
    course: Course
    availability: tuple[Daypart, ...]
    consent_id: UUID
    consent_version: int
    notice_version: str


Arrival = tuple[Transfer, Referral, Admission]
Answers = Mapping[Category, tuple[Finding, Consent | None]]


def needed(label: Label) -> tuple[Category, ...]:
    """What a consent has to cover for the other site, or nothing crosses."""
    part2 = (Category.SUBSTANCE_USE,) if label is Label.PART2 else ()
    return (Category.PLAN, Category.SCHEDULE, *part2)


ASKED = (Category.PLAN, Category.SCHEDULE, Category.SUBSTANCE_USE, Category.BILLING)


def consent_for(answers: Answers, label: Label) -> Consent | None:
    """The consent that the record crosses by, if all that is needed is covered."""
    if any(answers[category][0] is not Finding.GRANTED for category in needed(label)):
        return None
    return answers[Category.PLAN][1]


def offer(
    admission: Admission, consent: Consent | None, *, flagged: bool, id: UUID, to: str, at_site: str, at: datetime
) -> Transfer:
    """`flagged` is whether it is not on record yet what was done about a sign of danger: flags do not cross.

    Raises InvalidInput (TRANSFER_TO_SAME_SITE), Conflict (ADMISSION_ENDED, TRANSFER_NOT_CONSENTED,
    RISK_FLAG_UNDISPOSED).
    """
    if to == at_site:
        raise InvalidInput("TRANSFER_TO_SAME_SITE", "Name another site.", field="receiving_site")
    if admission.status is AdmissionStatus.ENDED:
        raise Conflict("ADMISSION_ENDED", "The patient is not in the programme any more.")
    if consent is None:
        raise Conflict("TRANSFER_NOT_CONSENTED", "No consent names that site and covers what it would be told.")
    if flagged:
        raise _undisposed()
    shown = replace(admission.course, modalities=(), authorization=None)
    return Transfer(
        id=id,
        side=Side.SENDING,
        status=Status.OFFERED,
        other_site=to,
        patient_id=admission.patient_id,
        admission_id=admission.id,
        course=shown,
        availability=admission.availability,
        told=False,
        offered_at=at,
    )


def withdraw(transfer: Transfer, *, at: datetime) -> Transfer:
    """By the sending site's staff. Raises Conflict (TRANSFER_NOT_OPEN)."""
    _check(transfer, Side.SENDING, Status.OFFERED)
    return replace(transfer, status=Status.WITHDRAWN, ended_at=at, told=False)


def confirm(transfer: Transfer, consent: Consent | None, *, at: datetime) -> Transfer:
    """The offer before it is told: withdrawn if no consent covers it at this moment."""
    return withdraw(transfer, at=at) if transfer.status is Status.OFFERED and consent is None else transfer


def emptied(transfer: Transfer) -> Transfer:
    """All that is told of an offer that does not stand: that there was one."""
    return replace(transfer, course=Course(), availability=())


def shown(transfer: Transfer) -> Transfer:
    """What the staff of a site may see of it: of what was offered to them, nothing once it is withdrawn."""
    gone = transfer.side is Side.RECEIVING and transfer.status is Status.WITHDRAWN
    return emptied(transfer) if gone else transfer


def accept(transfer: Transfer, *, at: datetime) -> Transfer:
    """By the receiving site's staff. Raises Conflict (TRANSFER_NOT_OPEN)."""
    _check(transfer, Side.RECEIVING, Status.OFFERED)
    return replace(transfer, status=Status.ACCEPTED, accepted_at=at, told=False)


def decline(transfer: Transfer, *, at: datetime) -> Transfer:
    """By the receiving site's staff. Raises Conflict (TRANSFER_NOT_OPEN)."""
    _check(transfer, Side.RECEIVING, Status.OFFERED)
    return replace(transfer, status=Status.DECLINED, ended_at=at, told=False)


def sent(transfer: Transfer) -> UUID:
    """The admission that is handed over. Raises Conflict (TRANSFER_NOT_OPEN) at the receiving site."""
    if transfer.side is not Side.SENDING or transfer.admission_id is None:
        raise _not_open()
    return transfer.admission_id


def delivered(transfer: Transfer) -> Transfer:
    return replace(transfer, told=True)


def release(transfer: Transfer, consent: Consent | None, *, flagged: bool, at: datetime) -> Transfer:
    """The receiving site has accepted and asks for the record.

    Accepted, if the offer stands and a consent covers it at this moment; withdrawn without one. Once it is accepted
    only the receiving site can say how it ends, since it may have the record. It asks again while it has none, and then
    waits for what was done about a danger of that moment as well; without a consent it gets none.
    Raises Conflict (TRANSFER_NOT_OPEN, or RISK_FLAG_UNDISPOSED: it may ask again).
    """
    _check(transfer, Side.SENDING, Status.OFFERED, Status.ACCEPTED, Status.WITHDRAWN)
    if transfer.status is Status.OFFERED and consent is None:
        return _ended(transfer, Status.WITHDRAWN, at)
    if transfer.status is Status.WITHDRAWN or consent is None:
        return transfer
    if flagged:
        raise _undisposed()
    return replace(
        transfer,
        status=Status.ACCEPTED,
        accepted_at=transfer.accepted_at or at,
        told=True,
        consent_id=consent.id,
        consent_version=consent.version,
        notice_version=consent.notice_version,
    )


def crosses(transfer: Transfer, admission: Admission, patient: Patient, answers: Answers) -> Record | None:
    """What of it the consents cover at this moment; nothing unless the transfer is accepted."""
    consent = consent_for(answers, patient.label)
    if consent is None or transfer.status is not Status.ACCEPTED:
        return None
    billing = answers[Category.BILLING][0] is Finding.GRANTED
    return Record(
        person=patient.person,
        label=patient.label,
        course=admission.course if billing else replace(admission.course, authorization=None),
        availability=admission.availability,
        consent_id=consent.id,
        consent_version=consent.version,
        notice_version=consent.notice_version,
    )


def give_up(transfer: Transfer, *, at: datetime) -> Transfer:
    """The sending site gives no record. Raises Conflict (TRANSFER_NOT_OPEN): it has come meanwhile."""
    _check(transfer, Side.RECEIVING, Status.ACCEPTED, Status.WITHDRAWN)
    return replace(transfer, status=Status.WITHDRAWN, ended_at=transfer.ended_at or at, told=False)


def arrive(transfer: Transfer, record: Record, label: Label, *, ids: Callable[[], UUID], at: datetime) -> Arrival:
    """Patient, referral and admission of the receiving site, with ids of its own; the label is the highest known.

    Raises Conflict (TRANSFER_NOT_OPEN): somebody else has been quicker.
    """
    _check(transfer, Side.RECEIVING, Status.ACCEPTED)
    patient = Patient(ids(), record.person, max(label, record.label))
    referral = Referral(
        ids(),
        patient,
        ReferralStatus.ADMITTED,
        (),
        REASON,
        received_at=transfer.offered_at,
        source=Source.OTHER_PROGRAM,
        next_action=None,
        admitted_at=at,
    )
    admission = Admission(
        ids(), referral.id, patient.id, record.availability, at, course=record.course, transfer_id=transfer.id
    )
    moved = replace(
        transfer,
        status=Status.IMPORTED,
        patient_id=patient.id,
        admission_id=admission.id,
        imported_at=at,
        told=False,
        consent_id=record.consent_id,
        consent_version=record.consent_version,
        notice_version=record.notice_version,
    )
    return moved, referral, admission


def close(transfer: Transfer, side: Side, *, at: datetime) -> Transfer:
    """The patient is the receiving site's alone. Raises Conflict (TRANSFER_NOT_OPEN)."""
    before = Status.ACCEPTED if side is Side.SENDING else Status.IMPORTED
    _check(transfer, side, before, Status.CLOSED)
    return transfer if transfer.status is Status.CLOSED else _ended(transfer, Status.CLOSED, at)


def ended_by_other(transfer: Transfer, status: Status, *, at: datetime) -> Transfer:
    """The other site has declined, or has withdrawn. Raises Conflict (TRANSFER_NOT_OPEN) where that cannot be."""
    _check(transfer, transfer.side, *_MAY_END[transfer.side, status])
    return transfer if transfer.status in ENDS else _ended(transfer, status, at)


_MAY_END = {
    (Side.SENDING, Status.DECLINED): (Status.OFFERED, Status.DECLINED, Status.WITHDRAWN),
    (Side.SENDING, Status.WITHDRAWN): (Status.OFFERED, Status.ACCEPTED, Status.WITHDRAWN),
    (Side.RECEIVING, Status.WITHDRAWN): (Status.OFFERED, Status.ACCEPTED, Status.DECLINED, Status.WITHDRAWN),
    (Side.RECEIVING, Status.DECLINED): (),
}
"""Where a transfer may stand when the other site says that it has ended like this."""


def _ended(transfer: Transfer, status: Status, at: datetime) -> Transfer:
    return replace(transfer, status=status, ended_at=at, told=True)


def _check(transfer: Transfer, side: Side, *statuses: Status) -> None:
    if transfer.side is not side or transfer.status not in statuses:
        raise _not_open()


def _not_open() -> Conflict:
    message = "The transfer is in no state for this, or it is for the other site to do; read it."
    return Conflict("TRANSFER_NOT_OPEN", message)


def _undisposed() -> Conflict:
    message = "Record first what was done about each risk flag of the patient: ListRiskFlags has them."
    return Conflict(FLAG_UNDISPOSED, message)
