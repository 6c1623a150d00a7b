"""Transfers in contracts: what each site shows its staff, what the two tell each other, and the record that crosses."""

from typing import Any
from uuid import UUID

from google.protobuf.message import Message

from stepway.intake.v1 import events_pb2, transfer_pb2, transfer_service_pb2
from stepway.privacy.v1 import label_pb2
from stepway_chassis.times import from_proto, to_proto
from stepway_intake.domain.people import Label
from stepway_intake.domain.transfers import Record, Side, Status, Transfer, shown
from stepway_intake.wire.admissions import availability, course, dayparts, new_course
from stepway_intake.wire.people import label as label_word
from stepway_intake.wire.people import new_person, person

_STATUS_OF = {transfer_pb2.TransferStatus.Value(f"TRANSFER_STATUS_{each.name}"): each for each in Status}


def transfer(kept: Transfer) -> transfer_pb2.Transfer:
    found = shown(kept)
    return transfer_pb2.Transfer(
        id=str(found.id),
        side=f"TRANSFER_SIDE_{found.side.name}",
        status=status_word(found.status),
        other_site=found.other_site,
        patient_id=str(found.patient_id or ""),
        admission_id=str(found.admission_id or ""),
        course=course(found.course),
        availability=dayparts(found.availability),
        offered_at=to_proto(found.offered_at),
        accepted_at=to_proto(found.accepted_at),
        imported_at=to_proto(found.imported_at),
        ended_at=to_proto(found.ended_at),
        consent_id=str(found.consent_id or ""),
        consent_version=found.consent_version,
        redisclosure_notice_version=found.notice_version,
    )


def status_word(status: Status) -> str:
    return f"TRANSFER_STATUS_{status.name}"


def status(told: Any) -> Status:
    return _STATUS_OF[told]


def received(request: transfer_service_pb2.ReceiveTransferRequest) -> Transfer:
    """What another site offers, as it is kept here. Raises InvalidInput (TIME_OUT_OF_RANGE)."""
    return Transfer(
        id=UUID(request.transfer_id),
        side=Side.RECEIVING,
        status=Status.OFFERED,
        other_site=request.sending_site,
        patient_id=None,
        admission_id=None,
        course=new_course(request.course),
        availability=availability(request.availability),
        told=True,
        offered_at=from_proto(request.offered_at, field="offered_at"),
    )


def offer(found: Transfer, *, site: str, request_id: UUID) -> transfer_service_pb2.ReceiveTransferRequest:
    return transfer_service_pb2.ReceiveTransferRequest(
        request_id=str(request_id),
        transfer_id=str(found.id),
        sending_site=site,
        offered_at=to_proto(found.offered_at),
        course=course(found.course),
        availability=dayparts(found.availability),
    )


def release(found: Transfer, *, site: str, request_id: UUID) -> transfer_service_pb2.ReleaseTransferRequest:
    return transfer_service_pb2.ReleaseTransferRequest(
        request_id=str(request_id), transfer_id=str(found.id), receiving_site=site
    )


def closing(found: Transfer, *, site: str, request_id: UUID) -> transfer_service_pb2.CloseTransferRequest:
    return transfer_service_pb2.CloseTransferRequest(
        request_id=str(request_id), transfer_id=str(found.id), receiving_site=site
    )


def ending(found: Transfer, *, site: str, request_id: UUID) -> transfer_service_pb2.EndTransferRequest:
    return transfer_service_pb2.EndTransferRequest(
        request_id=str(request_id),
        transfer_id=str(found.id),
        other_site=site,
        status=status_word(found.status),
    )


def released(found: Transfer, crosses: Record | None) -> transfer_service_pb2.ReleaseTransferResponse:
    record = transfer_record(crosses) if crosses else None
    return transfer_service_pb2.ReleaseTransferResponse(status=status_word(found.status), record=record)


def transfer_record(crosses: Record) -> transfer_pb2.TransferRecord:
    return transfer_pb2.TransferRecord(
        person=person(crosses.person),
        label=label_word(crosses.label),
        course=course(crosses.course),
        availability=dayparts(crosses.availability),
        consent_id=str(crosses.consent_id),
        consent_version=crosses.consent_version,
        redisclosure_notice_version=crosses.notice_version,
    )


def record(answer: transfer_service_pb2.ReleaseTransferResponse) -> Record | None:
    if not answer.HasField("record"):
        return None
    told = answer.record
    return Record(
        person=new_person(told.person),
        label=Label.GENERAL if told.label == label_pb2.LABEL_GENERAL else Label.PART2,
        course=new_course(told.course),
        availability=availability(told.availability),
        consent_id=UUID(told.consent_id),
        consent_version=told.consent_version,
        notice_version=told.redisclosure_notice_version,
    )


def moved(before: Transfer | None, after: Transfer) -> list[Message]:
    """What this site announces when a transfer has got further: once, or nothing if it has not."""
    if before is not None and before.status is after.status:
        return []
    event, field, since = _ANNOUNCED[after.status]
    return [event(**{"transfer_id": str(after.id), field: to_proto(getattr(after, since))})]


_ANNOUNCED: dict[Status, tuple[Any, str, str]] = {
    Status.OFFERED: (events_pb2.TransferOffered, "offered_at", "offered_at"),
    Status.ACCEPTED: (events_pb2.TransferAccepted, "accepted_at", "accepted_at"),
    Status.IMPORTED: (events_pb2.TransferImported, "imported_at", "imported_at"),
    Status.CLOSED: (events_pb2.TransferClosed, "closed_at", "ended_at"),
    Status.DECLINED: (events_pb2.TransferDeclined, "declined_at", "ended_at"),
    Status.WITHDRAWN: (events_pb2.TransferWithdrawn, "withdrawn_at", "ended_at"),
}
"""The event of each status, its time, and the field of a transfer that holds it."""
