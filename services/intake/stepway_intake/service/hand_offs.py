"""HandOffService: who is helped elsewhere, and whether somebody there has them yet."""

from uuid import UUID

from stepway.intake.v1.hand_off_service_pb2 import (
    ConfirmHandOffRequest,
    ConfirmHandOffResponse,
    EndHandOffRequest,
    EndHandOffResponse,
    GetHandOffRequest,
    GetHandOffResponse,
    ListHandOffsRequest,
    ListHandOffsResponse,
    RecordHandOffAttemptRequest,
    RecordHandOffAttemptResponse,
    StartHandOffRequest,
    StartHandOffResponse,
)
from stepway_chassis import outbox
from stepway_chassis.database import Database
from stepway_chassis.ids import uuid7
from stepway_chassis.pages import page_of
from stepway_chassis.times import from_proto
from stepway_chassis.transaction import Tx
from stepway_intake.domain import hand_offs, referrals
from stepway_intake.domain.admissions import Ending
from stepway_intake.domain.hand_offs import End, HandOff
from stepway_intake.domain.levels_of_care import LevelOfCare
from stepway_intake.domain.referrals import Referral, Status
from stepway_intake.leaving import leave
from stepway_intake.service.referrals import keep
from stepway_intake.store import hand_offs as store
from stepway_intake.store.admissions import lock_admission_of
from stepway_intake.store.levels_of_care import level_of
from stepway_intake.store.referrals import lock_referral
from stepway_intake.wire import hand_offs as wire


class HandOffService:
    SERVICE = "stepway.intake.v1.HandOffService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def StartHandOff(self, request: StartHandOffRequest, _: object) -> StartHandOffResponse:
        return await self._database.command(request, StartHandOffResponse, self._start)

    async def _start(self, tx: Tx, request: StartHandOffRequest) -> StartHandOffResponse:
        referral = await lock_referral(tx, UUID(request.referral_id))
        tx.concerns(referral.patient.id)
        tx.correlation = str(referral.id)
        hand_off = hand_offs.start(
            referral,
            await level_of(tx, referral),
            wire.provider(request.provider),
            id=uuid7(tx.now),
            is_open=await store.is_open(tx, referral),
            due_at=from_proto(request.due_at, field="due_at"),
            note=request.note,
            by=tx.caller.subject,
            at=tx.now,
        )
        await keep(tx, referral, referrals.refer_out(referral, due_at=hand_off.due_at))
        await store.add_hand_off(tx, hand_off)
        outbox.append(tx, wire.hand_off_started(hand_off), label=referral.patient.label)
        return StartHandOffResponse(hand_off=wire.hand_off(hand_off))

    async def RecordHandOffAttempt(
        self, request: RecordHandOffAttemptRequest, _: object
    ) -> RecordHandOffAttemptResponse:
        return await self._database.command(request, RecordHandOffAttemptResponse, self._attempt)

    async def _attempt(self, tx: Tx, request: RecordHandOffAttemptRequest) -> RecordHandOffAttemptResponse:
        hand_off, _ = await self._locked(tx, request.hand_off_id)
        hand_off, attempt = hand_offs.attempt(
            hand_off,
            id=uuid7(tx.now),
            outcome=wire.outcome(request.outcome),
            note=request.note,
            by=tx.caller.subject,
            at=tx.now,
        )
        await store.add_attempt(tx, attempt)
        await store.save_hand_off(tx, hand_off)
        return RecordHandOffAttemptResponse(hand_off=wire.hand_off(hand_off))

    async def ConfirmHandOff(self, request: ConfirmHandOffRequest, _: object) -> ConfirmHandOffResponse:
        return await self._database.command(request, ConfirmHandOffResponse, self._confirm)

    async def _confirm(self, tx: Tx, request: ConfirmHandOffRequest) -> ConfirmHandOffResponse:
        hand_off, referral = await self._locked(tx, request.hand_off_id)
        hand_off = hand_offs.confirm(
            hand_off,
            confirmed_with=request.confirmed_with,
            appointment_at=wire.appointment_at(request),
            by=tx.caller.subject,
            at=tx.now,
        )
        await self._close(tx, hand_off, referral, referrals.confirm_hand_off(referral))
        return ConfirmHandOffResponse(hand_off=wire.hand_off(hand_off))

    async def EndHandOff(self, request: EndHandOffRequest, _: object) -> EndHandOffResponse:
        return await self._database.command(request, EndHandOffResponse, self._end)

    async def _end(self, tx: Tx, request: EndHandOffRequest) -> EndHandOffResponse:
        hand_off, referral = await self._locked(tx, request.hand_off_id)
        hand_off = hand_offs.end(
            hand_off,
            reason=wire.end(request.end),
            text=request.end_text,
            by=tx.caller.subject,
            at=tx.now,
        )
        await self._close(tx, hand_off, referral, await self._ended(tx, hand_off, referral))
        return EndHandOffResponse(hand_off=wire.hand_off(hand_off))

    async def _ended(self, tx: Tx, hand_off: HandOff, referral: Referral) -> Referral:
        if hand_off.end_reason is End.IN_CARE_ELSEWHERE:
            return referrals.confirm_hand_off(referral)
        offered = hand_off.level is LevelOfCare.INTENSIVE_OUTPATIENT
        admission = await lock_admission_of(tx, referral.id)
        gone = admission is not None and admission.ending is Ending.TRANSFERRED
        return referrals.end_hand_off(referral, offered=offered, gone=gone)

    async def _locked(self, tx: Tx, id: str) -> tuple[HandOff, Referral]:
        referral = await lock_referral(tx, (await store.find_hand_off(tx, UUID(id))).referral_id)
        tx.concerns(referral.patient.id)
        tx.correlation = str(referral.id)
        return await store.lock_hand_off(tx, UUID(id)), referral

    async def _close(self, tx: Tx, hand_off: HandOff, before: Referral, after: Referral) -> None:
        await store.save_hand_off(tx, hand_off)
        await keep(tx, before, after)
        outbox.append(tx, wire.hand_off_closed(hand_off), label=after.patient.label)
        if after.status is Status.REFERRED_OUT:
            await leave(tx, after)

    async def GetHandOff(self, request: GetHandOffRequest, _: object) -> GetHandOffResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetHandOffRequest) -> GetHandOffResponse:
        hand_off = await store.find_hand_off(tx, UUID(request.hand_off_id))
        tx.concerns(hand_off.patient_id)
        attempts = await store.attempts_of(tx, hand_off)
        return GetHandOffResponse(hand_off=wire.hand_off(hand_off), attempts=[wire.attempt(each) for each in attempts])

    async def ListHandOffs(self, request: ListHandOffsRequest, _: object) -> ListHandOffsResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListHandOffsRequest) -> ListHandOffsResponse:
        page = page_of(request)
        found = await store.hand_offs(tx, page, open_only=request.open_only, due_before=wire.due_before(request))
        shown, token = page.cut(found)
        tx.concerns(*(hand_off.patient_id for hand_off in shown))
        return ListHandOffsResponse(hand_offs=[wire.hand_off(each) for each in shown], next_page_token=token)
