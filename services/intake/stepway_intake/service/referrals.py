"""ReferralService: who was referred, and how they can be reached."""

from uuid import UUID

from stepway.intake.v1.referral_service_pb2 import (
    GetPatientContactRequest,
    GetPatientContactResponse,
    GetReferralRequest,
    GetReferralResponse,
    ListReferralsRequest,
    ListReferralsResponse,
    ReceiveReferralRequest,
    ReceiveReferralResponse,
)
from stepway_chassis import outbox
from stepway_chassis.database import Database
from stepway_chassis.ids import uuid7
from stepway_chassis.pages import page_of
from stepway_chassis.transaction import Tx
from stepway_intake.domain import people, referrals
from stepway_intake.service.imports import before
from stepway_intake.store import referrals as store
from stepway_intake.store.people import find_patient
from stepway_intake.wire import referrals as wire
from stepway_intake.wire.imports import came
from stepway_intake.wire.people import contact_points


class ReferralService:
    SERVICE = "stepway.intake.v1.ReferralService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ReceiveReferral(self, request: ReceiveReferralRequest, _: object) -> ReceiveReferralResponse:
        return await self._database.command(request, ReceiveReferralResponse, self._receive)

    async def _receive(self, tx: Tx, request: ReceiveReferralRequest) -> ReceiveReferralResponse:
        label = people.label_for(part2_program=tx.site.settings.get("part2_program", True))
        referral = referrals.receive(
            wire.new_referral(request, referral_id=uuid7(tx.now), patient_id=uuid7(tx.now), label=label, at=tx.now)
        )
        if known := await before(tx, came(request, referral.id)):
            return await self._known(tx, known.referral_id)
        tx.concerns(referral.patient.id)
        await store.add_referral(tx, referral)
        await outbox.append(tx, wire.referral_received(referral), label=label)
        return ReceiveReferralResponse(referral=wire.referral(referral))

    async def _known(self, tx: Tx, id: UUID) -> ReceiveReferralResponse:
        referral = await store.find_referral(tx, id)
        tx.concerns(referral.patient.id)
        return ReceiveReferralResponse(referral=wire.referral(referral))

    async def GetReferral(self, request: GetReferralRequest, _: object) -> GetReferralResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetReferralRequest) -> GetReferralResponse:
        referral = await store.find_referral(tx, UUID(request.referral_id))
        tx.concerns(referral.patient.id)
        return GetReferralResponse(referral=wire.referral(referral))

    async def ListReferrals(self, request: ListReferralsRequest, _: object) -> ListReferralsResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListReferralsRequest) -> ListReferralsResponse:
        page = page_of(request)
        found, token = page.cut(await store.referrals(tx, page))
        tx.concerns(*(referral.patient.id for referral in found))
        return ListReferralsResponse(referrals=[wire.referral(each) for each in found], next_page_token=token)

    async def GetPatientContact(self, request: GetPatientContactRequest, _: object) -> GetPatientContactResponse:
        return await self._database.query(request, self._contact)

    async def _contact(self, tx: Tx, request: GetPatientContactRequest) -> GetPatientContactResponse:
        patient = await find_patient(tx, UUID(request.patient_id))
        tx.concerns(patient.id)
        return GetPatientContactResponse(contact_points=contact_points(patient.person.contact_points))
