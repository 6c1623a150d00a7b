"""ConsentService: who may know what about whom, and how a family member can be reached."""

import asyncio
from uuid import UUID

from stepway.intake.v1.consent_service_pb2 import (
    CheckConsentsRequest,
    CheckConsentsResponse,
    GetConsentRequest,
    GetConsentResponse,
    GetFamilyMemberContactRequest,
    GetFamilyMemberContactResponse,
    GrantConsentRequest,
    GrantConsentResponse,
    ListConsentsRequest,
    ListConsentsResponse,
    RevokeConsentRequest,
    RevokeConsentResponse,
)
from stepway_chassis import outbox
from stepway_chassis.database import Database
from stepway_chassis.errors import Conflict
from stepway_chassis.ids import uuid7
from stepway_chassis.pages import page_of
from stepway_chassis.transaction import Tx
from stepway_intake.domain import consents
from stepway_intake.domain.consents import USE_WITHIN, Consent, FamilyMember, Question
from stepway_intake.store import consents as store
from stepway_intake.store.people import find_patient
from stepway_intake.store.referrals import first_referral
from stepway_intake.wire import consents as wire
from stepway_intake.wire.people import contact_points, new_related_person


class ConsentService:
    SERVICE = "stepway.intake.v1.ConsentService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def GrantConsent(self, request: GrantConsentRequest, _: object) -> GrantConsentResponse:
        return await self._database.command(request, GrantConsentResponse, self._grant)

    async def _grant(self, tx: Tx, request: GrantConsentRequest) -> GrantConsentResponse:
        patient = await find_patient(tx, UUID(request.patient_id))
        tx.concerns(patient.id)
        tx.correlation = await first_referral(tx, patient.id)
        member = await self._named(tx, request)
        consent = consents.grant(wire.new_consent(request, member, id=uuid7(tx.now), at=tx.now))
        await store.add_consent(tx, consent)
        await outbox.append(tx, wire.consent_granted(consent), label=patient.label)
        return GrantConsentResponse(consent=wire.consent(consent, member))

    async def _named(self, tx: Tx, request: GrantConsentRequest) -> FamilyMember:
        """Somebody whom an earlier consent of this patient names, or somebody new."""
        patient_id = UUID(request.patient_id)
        if request.HasField("family_member_id"):
            return await store.family_member_of(tx, patient_id, UUID(request.family_member_id))
        member = FamilyMember(uuid7(tx.now), patient_id, new_related_person(request.family_member))
        await store.add_family_member(tx, member)
        return member

    async def RevokeConsent(self, request: RevokeConsentRequest, _: object) -> RevokeConsentResponse:
        """Says that it has ended when nobody may act any more upon a yes that was read before that."""
        try:
            answer = await self._database.command(request, RevokeConsentResponse, self._revoke)
        except Conflict:  # another caller has just ended it
            await asyncio.sleep(USE_WITHIN.total_seconds())
            raise
        await asyncio.sleep(USE_WITHIN.total_seconds())
        return answer

    async def _revoke(self, tx: Tx, request: RevokeConsentRequest) -> RevokeConsentResponse:
        consent = await store.lock_consent(tx, UUID(request.consent_id))
        tx.concerns(consent.patient_id)
        consent = consents.revoke(consent, at=tx.now)
        tx.correlation = await first_referral(tx, consent.patient_id)
        await store.save_consent(tx, consent)
        patient = await find_patient(tx, consent.patient_id)
        await outbox.append(tx, wire.consent_revoked(consent), label=patient.label)
        member = await store.family_member_of(tx, consent.patient_id, consent.family_member_id)
        return RevokeConsentResponse(consent=wire.consent(consent, member))

    async def GetConsent(self, request: GetConsentRequest, _: object) -> GetConsentResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetConsentRequest) -> GetConsentResponse:
        consent = await store.find_consent(tx, UUID(request.consent_id))
        tx.concerns(consent.patient_id)
        member = await store.family_member_of(tx, consent.patient_id, consent.family_member_id)
        return GetConsentResponse(consent=wire.consent(consent, member))

    async def ListConsents(self, request: ListConsentsRequest, _: object) -> ListConsentsResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListConsentsRequest) -> ListConsentsResponse:
        page = page_of(request)
        patient = await find_patient(tx, UUID(request.patient_id))
        tx.concerns(patient.id)
        found, token = page.cut(await store.consents_of(tx, patient.id, page))
        members = [await store.family_member_of(tx, patient.id, each.family_member_id) for each in found]
        return ListConsentsResponse(
            consents=[wire.consent(each, member) for each, member in zip(found, members, strict=True)],
            next_page_token=token,
        )

    async def CheckConsents(self, request: CheckConsentsRequest, _: object) -> CheckConsentsResponse:
        return await self._database.query(request, self._check)

    async def _check(self, tx: Tx, request: CheckConsentsRequest) -> CheckConsentsResponse:
        questions = [wire.question(asked) for asked in request.questions]
        tx.concerns(*{question.patient_id for question in questions})
        known = await self._known(tx, questions)
        return wire.consent_answers(consents.check(question, known, now=tx.now) for question in questions)

    async def _known(self, tx: Tx, questions: list[Question]) -> list[Consent]:
        pairs = ((question.patient_id, question.family_member_id) for question in questions)
        return list(await store.consents_between(tx, pairs))

    async def GetFamilyMemberContact(
        self, request: GetFamilyMemberContactRequest, _: object
    ) -> GetFamilyMemberContactResponse:
        return await self._database.query(request, self._contact)

    async def _contact(self, tx: Tx, request: GetFamilyMemberContactRequest) -> GetFamilyMemberContactResponse:
        tx.concerns()
        member = await store.find_family_member(tx, UUID(request.family_member_id))
        if member is None:
            return GetFamilyMemberContactResponse()
        tx.concerns(member.patient_id)
        question = Question(member.patient_id, member.id, wire.category(request.category))
        finding, _ = consents.check(question, await self._known(tx, [question]), now=tx.now)
        covered = member.person.contact_points if finding is consents.Finding.GRANTED else ()
        return GetFamilyMemberContactResponse(contact_points=contact_points(covered))
