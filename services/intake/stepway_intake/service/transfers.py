"""TransferService: patients handed over between sites, by the staff of each and by the two sites to each other."""

from collections.abc import Callable
from uuid import UUID

from stepway.intake.v1.transfer_service_pb2 import (
    AcceptTransferRequest,
    AcceptTransferResponse,
    CloseTransferRequest,
    CloseTransferResponse,
    DeclineTransferRequest,
    DeclineTransferResponse,
    EndTransferRequest,
    EndTransferResponse,
    GetTransferRequest,
    GetTransferResponse,
    ListTransfersRequest,
    ListTransfersResponse,
    OfferTransferRequest,
    OfferTransferResponse,
    ReceiveTransferRequest,
    ReceiveTransferResponse,
    ReleaseTransferRequest,
    ReleaseTransferResponse,
    WithdrawTransferRequest,
    WithdrawTransferResponse,
)
from stepway_chassis import labels, loops, outbox
from stepway_chassis.database import Database
from stepway_chassis.errors import Conflict
from stepway_chassis.ids import uuid7
from stepway_chassis.pages import page_of
from stepway_chassis.telemetry import Telemetry
from stepway_chassis.transaction import Tx
from stepway_intake import handing_over
from stepway_intake.domain import admissions, transfers
from stepway_intake.domain.admissions import Admission, Ending
from stepway_intake.domain.referrals import Referral
from stepway_intake.domain.transfers import Side, Transfer
from stepway_intake.handing_over import covering, lock_sent, save
from stepway_intake.service.admissions import keep_further
from stepway_intake.store import transfers as store
from stepway_intake.store.admissions import lock_admission
from stepway_intake.store.people import find_patient
from stepway_intake.store.risk import flags_open_since
from stepway_intake.wire import transfers as wire


class TransferService:
    SERVICE = "stepway.intake.v1.TransferService"

    def __init__(self, database: Database, telemetry: Telemetry) -> None:
        self._database = database
        self._telemetry = telemetry

    async def OfferTransfer(self, request: OfferTransferRequest, _: object) -> OfferTransferResponse:
        return await self._database.command(request, OfferTransferResponse, self._offer)

    async def _offer(self, tx: Tx, request: OfferTransferRequest) -> OfferTransferResponse:
        admission = await lock_admission(tx, UUID(request.admission_id))
        tx.concerns(admission.patient_id)
        tx.correlation = str(admission.referral_id)
        await store.check_site(tx, request.receiving_site)
        if await store.under_way(tx, admission.id):
            raise Conflict("TRANSFER_UNDER_WAY", "The patient is being handed over already.")
        patient = await find_patient(tx, admission.patient_id)
        consent, _ = await covering(tx, admission, patient, request.receiving_site)
        offered = transfers.offer(
            admission,
            consent,
            flagged=bool(await flags_open_since(tx, [patient.id])),
            id=uuid7(tx.now),
            to=request.receiving_site,
            at_site=tx.site.name,
            at=tx.now,
        )
        await store.add_transfer(tx, offered, self._telemetry.inject())
        await loops.wake(tx, handing_over.LOOP, tx.now)
        outbox.append(tx, *wire.moved(None, offered), label=patient.label)
        return OfferTransferResponse(transfer=wire.transfer(offered))

    async def WithdrawTransfer(self, request: WithdrawTransferRequest, _: object) -> WithdrawTransferResponse:
        return await self._database.command(request, WithdrawTransferResponse, self._withdraw)

    async def _withdraw(self, tx: Tx, request: WithdrawTransferRequest) -> WithdrawTransferResponse:
        transfer, _, _ = await lock_sent(tx, UUID(request.transfer_id))
        moved = transfers.withdraw(transfer, at=tx.now)
        await save(tx, transfer, moved)
        return WithdrawTransferResponse(transfer=wire.transfer(moved))

    async def AcceptTransfer(self, request: AcceptTransferRequest, _: object) -> AcceptTransferResponse:
        return await self._database.command(request, AcceptTransferResponse, self._accept)

    async def _accept(self, tx: Tx, request: AcceptTransferRequest) -> AcceptTransferResponse:
        moved = await self._decided(tx, request.transfer_id, transfers.accept)
        return AcceptTransferResponse(transfer=wire.transfer(moved))

    async def DeclineTransfer(self, request: DeclineTransferRequest, _: object) -> DeclineTransferResponse:
        return await self._database.command(request, DeclineTransferResponse, self._decline)

    async def _decline(self, tx: Tx, request: DeclineTransferRequest) -> DeclineTransferResponse:
        moved = await self._decided(tx, request.transfer_id, transfers.decline)
        return DeclineTransferResponse(transfer=wire.transfer(moved))

    async def _decided(self, tx: Tx, id: str, decide: Callable[..., Transfer]) -> Transfer:
        transfer = await store.lock_transfer(tx, UUID(id))
        moved = decide(transfer, at=tx.now)
        await save(tx, transfer, moved)
        return moved

    async def GetTransfer(self, request: GetTransferRequest, _: object) -> GetTransferResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetTransferRequest) -> GetTransferResponse:
        transfer = await store.find_transfer(tx, UUID(request.transfer_id))
        tx.concerns(*([transfer.patient_id] if transfer.patient_id else []))
        return GetTransferResponse(transfer=wire.transfer(transfer))

    async def ListTransfers(self, request: ListTransfersRequest, _: object) -> ListTransfersResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListTransfersRequest) -> ListTransfersResponse:
        page = page_of(request)
        found, token = page.cut(await store.transfers(tx, page))
        tx.concerns(*(each.patient_id for each in found if each.patient_id))
        return ListTransfersResponse(transfers=[wire.transfer(each) for each in found], next_page_token=token)

    async def ReceiveTransfer(self, request: ReceiveTransferRequest, _: object) -> ReceiveTransferResponse:
        return await self._database.command(request, ReceiveTransferResponse, self._receive)

    async def _receive(self, tx: Tx, request: ReceiveTransferRequest) -> ReceiveTransferResponse:
        """Told again, it stays as it stands."""
        tx.concerns()
        offered = wire.received(request)
        if await store.add_transfer(tx, offered, self._telemetry.inject()):
            outbox.append(tx, *wire.moved(None, offered), label=labels.HIGHEST)
        return ReceiveTransferResponse(transfer=wire.transfer(await store.find_transfer(tx, offered.id)))

    async def ReleaseTransfer(self, request: ReleaseTransferRequest, _: object) -> ReleaseTransferResponse:
        return await self._database.command(request, ReleaseTransferResponse, self._release)

    async def _release(self, tx: Tx, request: ReleaseTransferRequest) -> ReleaseTransferResponse:
        transfer, admission, referral = await _told_by(tx, request)
        patient = referral.patient
        consent, answers = await covering(tx, admission, patient, transfer.other_site)
        moved = transfers.release(transfer, consent, flagged=bool(await flags_open_since(tx, [patient.id])), at=tx.now)
        await save(tx, transfer, moved)
        return wire.released(moved, transfers.crosses(moved, admission, patient, answers))

    async def CloseTransfer(self, request: CloseTransferRequest, _: object) -> CloseTransferResponse:
        return await self._database.command(request, CloseTransferResponse, self._close)

    async def _close(self, tx: Tx, request: CloseTransferRequest) -> CloseTransferResponse:
        transfer, admission, referral = await _told_by(tx, request)
        moved = transfers.close(transfer, Side.SENDING, at=tx.now)
        await save(tx, transfer, moved)
        await keep_further(tx, admission, admissions.end(admission, Ending.TRANSFERRED, at=tx.now), referral)
        return CloseTransferResponse(status=wire.status_word(moved.status))

    async def EndTransfer(self, request: EndTransferRequest, _: object) -> EndTransferResponse:
        return await self._database.command(request, EndTransferResponse, self._end)

    async def _end(self, tx: Tx, request: EndTransferRequest) -> EndTransferResponse:
        transfer = await store.find_transfer(tx, UUID(request.transfer_id), other_site=request.other_site)
        sends = transfer.side is Side.SENDING
        transfer = (await lock_sent(tx, transfer.id))[0] if sends else await store.lock_transfer(tx, transfer.id)
        moved = transfers.ended_by_other(transfer, wire.status(request.status), at=tx.now)
        await save(tx, transfer, moved)
        return EndTransferResponse(status=wire.status_word(moved.status))


async def _told_by(
    tx: Tx, request: ReleaseTransferRequest | CloseTransferRequest
) -> tuple[Transfer, Admission, Referral]:
    return await lock_sent(tx, UUID(request.transfer_id), other_site=request.receiving_site)
