"""ReferralService: who was referred, how they can be reached, and what has to be done about it next."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from uuid import UUID

from stepway.intake.v1 import risk_service_pb2
from stepway.intake.v1.referral_service_pb2 import (
    AssignReferralRequest,
    AssignReferralResponse,
    CloseReferralRequest,
    CloseReferralResponse,
    GetIntakeTimesRequest,
    GetIntakeTimesResponse,
    GetPatientContactRequest,
    GetPatientContactResponse,
    GetReferralRequest,
    GetReferralResponse,
    ListReferralsRequest,
    ListReferralsResponse,
    ListWorkRequest,
    ListWorkResponse,
    ReceiveReferralRequest,
    ReceiveReferralResponse,
    RecordContactRequest,
    RecordContactResponse,
    ReferAgainRequest,
    ReferAgainResponse,
)
from stepway_chassis import outbox
from stepway_chassis.call import Scope
from stepway_chassis.contracts import rule_of
from stepway_chassis.database import Database
from stepway_chassis.ids import uuid7
from stepway_chassis.pages import due_page_of, page_of
from stepway_chassis.transaction import Tx
from stepway_intake.domain import people, referrals
from stepway_intake.domain.people import Label
from stepway_intake.domain.referrals import Referral, Status, pace_of
from stepway_intake.leaving import leave
from stepway_intake.service.imports import before
from stepway_intake.store import referrals as store
from stepway_intake.store.people import find_patient, hold_patient, lock_patient, raise_to_part2
from stepway_intake.store.risk import flags_open_since
from stepway_intake.wire import referrals as wire
from stepway_intake.wire.imports import came
from stepway_intake.wire.people import contact_points, patient_label_raised

_LIST_FLAGS = risk_service_pb2.DESCRIPTOR.services_by_name["RiskService"].methods_by_name["ListRiskFlags"]


async def keep(tx: Tx, before: Referral, after: Referral) -> Referral:
    """Save a referral after a step, and announce it if it stands elsewhere; one that has not changed costs nothing."""
    settled, moved = referrals.settle(before, after, pace_of(tx.site.settings), at=tx.now)
    if settled != before:
        await store.save_referral(tx, settled)
    if moved:
        outbox.append(tx, wire.referral_moved(moved), label=settled.patient.label)
    return settled


async def hold(tx: Tx, id: UUID, *, may_raise: bool = False) -> Referral:
    """A referral, for whoever writes beside it; where that may raise the label its patient first, as everybody does."""
    if may_raise and (asked := await store.find_referral(tx, id)).patient.label is not Label.PART2:
        await lock_patient(tx, asked.patient.id)
    referral = await store.lock_referral(tx, id)
    tx.concerns(referral.patient.id)
    tx.correlation = str(referral.id)
    return referral


async def raise_label(tx: Tx, referral: Referral) -> Referral:
    """Something of substance use has come into the record; whatever is announced from now on says Part 2."""
    if referral.patient.label is Label.PART2:
        return referral
    if await raise_to_part2(tx, referral.patient.id):
        outbox.append(tx, patient_label_raised(referral.patient.id, tx.now), label=Label.PART2)
    return replace(referral, patient=replace(referral.patient, label=Label.PART2))


class ReferralService:
    SERVICE = "stepway.intake.v1.ReferralService"

    def __init__(self, database: Database) -> None:
        self._database = database
        self._told_of_flags = rule_of(_LIST_FLAGS).scopes.keys()

    async def ReceiveReferral(self, request: ReceiveReferralRequest, _: object) -> ReceiveReferralResponse:
        return await self._database.command(request, ReceiveReferralResponse, self._receive)

    async def _receive(self, tx: Tx, request: ReceiveReferralRequest) -> ReceiveReferralResponse:
        label = people.label_for(part2_program=tx.site.settings.get("part2_program", True))
        sent = wire.new_referral(request, id=uuid7(tx.now), patient_id=uuid7(tx.now), label=label, at=tx.now)
        referral = referrals.receive(sent, pace_of(tx.site.settings))
        if known := await before(tx, came(request, referral.id)):
            return await self._known(tx, known.referral_id)
        tx.concerns(referral.patient.id)
        await store.add_first_referral(tx, referral)
        outbox.append(tx, wire.referral_received(referral), label=label)
        return ReceiveReferralResponse(referral=wire.referral(referral))

    async def _known(self, tx: Tx, id: UUID) -> ReceiveReferralResponse:
        referral = await store.find_referral(tx, id)
        tx.concerns(referral.patient.id)
        return ReceiveReferralResponse(referral=wire.referral(referral))

    async def ReferAgain(self, request: ReferAgainRequest, _: object) -> ReferAgainResponse:
        return await self._database.command(request, ReferAgainResponse, self._refer_again)

    async def _refer_again(self, tx: Tx, request: ReferAgainRequest) -> ReferAgainResponse:
        patient = await hold_patient(tx, UUID(request.patient_id))
        tx.concerns(patient.id)
        sent = wire.further_referral(request, patient, id=uuid7(tx.now), at=tx.now)
        referral = referrals.receive(sent, pace_of(tx.site.settings))
        await store.add_referral(tx, referral)
        outbox.append(tx, wire.referral_received(referral), label=patient.label)
        return ReferAgainResponse(referral=wire.referral(referral))

    async def RecordContact(self, request: RecordContactRequest, _: object) -> RecordContactResponse:
        return await self._database.command(request, RecordContactResponse, self._contact_recorded)

    async def _contact_recorded(self, tx: Tx, request: RecordContactRequest) -> RecordContactResponse:
        step = partial(referrals.contact, reached=request.reached, at=tx.now)
        return RecordContactResponse(referral=wire.referral(await self._step(tx, request.referral_id, step)))

    async def AssignReferral(self, request: AssignReferralRequest, _: object) -> AssignReferralResponse:
        return await self._database.command(request, AssignReferralResponse, self._assign)

    async def _assign(self, tx: Tx, request: AssignReferralRequest) -> AssignReferralResponse:
        step = partial(referrals.assign, owner=request.owner)
        return AssignReferralResponse(referral=wire.referral(await self._step(tx, request.referral_id, step)))

    async def CloseReferral(self, request: CloseReferralRequest, _: object) -> CloseReferralResponse:
        return await self._database.command(request, CloseReferralResponse, self._close)

    async def _close(self, tx: Tx, request: CloseReferralRequest) -> CloseReferralResponse:
        step = partial(referrals.close, outcome=wire.status(request.outcome), reason=request.reason)
        closed = await self._step(tx, request.referral_id, step)
        if closed.status is Status.DECLINED:
            await leave(tx, closed)
        return CloseReferralResponse(referral=wire.referral(closed))

    async def _step(self, tx: Tx, referral_id: str, step: Callable[[Referral], Referral]) -> Referral:
        before = await hold(tx, UUID(referral_id))
        return await keep(tx, before, step(before))

    async def GetReferral(self, request: GetReferralRequest, _: object) -> GetReferralResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetReferralRequest) -> GetReferralResponse:
        referral = await store.find_referral(tx, UUID(request.referral_id))
        tx.concerns(referral.patient.id)
        told = wire.own_referral if tx.scope is Scope.SELF else wire.referral
        return GetReferralResponse(referral=told(referral))

    async def ListReferrals(self, request: ListReferralsRequest, _: object) -> ListReferralsResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListReferralsRequest) -> ListReferralsResponse:
        page = page_of(request)
        found, token = page.cut(await store.referrals(tx, page))
        tx.concerns(*(referral.patient.id for referral in found))
        return ListReferralsResponse(referrals=[wire.referral(each) for each in found], next_page_token=token)

    async def ListWork(self, request: ListWorkRequest, _: object) -> ListWorkResponse:
        return await self._database.query(request, self._work)

    async def _work(self, tx: Tx, request: ListWorkRequest) -> ListWorkResponse:
        page = due_page_of(request)
        until = wire.due_before(request) or referrals.end_of_day(tx.site.zone, tx.now)
        shown, token = page.cut(await store.work(tx, page, until=until, owner=request.owner))
        tx.concerns(*(referral.patient.id for referral in shown))
        flagged = await self._flagged(tx, shown)
        return ListWorkResponse(
            referrals=[wire.referral(each, flag_open_since=flagged.get(each.patient.id)) for each in shown],
            next_page_token=token,
        )

    async def _flagged(self, tx: Tx, shown: Sequence[Referral]) -> Mapping[UUID, datetime]:
        """Told only to who may list risk flags."""
        if self._told_of_flags.isdisjoint(tx.caller.grants.get(tx.site.name, ())):
            return {}
        return await flags_open_since(tx, (each.patient.id for each in shown))

    async def GetIntakeTimes(self, request: GetIntakeTimesRequest, _: object) -> GetIntakeTimesResponse:
        return await self._database.query(request, self._times)

    async def _times(self, tx: Tx, request: GetIntakeTimesRequest) -> GetIntakeTimesResponse:
        tx.concerns()
        return wire.intake_times(await store.times(tx, *referrals.period(*wire.period(request))))

    async def GetPatientContact(self, request: GetPatientContactRequest, _: object) -> GetPatientContactResponse:
        return await self._database.query(request, self._contact)

    async def _contact(self, tx: Tx, request: GetPatientContactRequest) -> GetPatientContactResponse:
        patient = await find_patient(tx, UUID(request.patient_id))
        tx.concerns(patient.id)
        return GetPatientContactResponse(contact_points=contact_points(patient.person.contact_points))
