"""ConsentService: who may know what about whom, and how a family member can be reached."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

from google.protobuf.message import Message

from stepway.intake.v1 import consent_pb2
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
    ListEndingConsentsRequest,
    ListEndingConsentsResponse,
    RevokeConsentRequest,
    RevokeConsentResponse,
)
from stepway_chassis import loops, outbox
from stepway_chassis.call import Scope
from stepway_chassis.database import Database
from stepway_chassis.errors import Conflict, InvalidInput, NotFound
from stepway_chassis.ids import uuid7
from stepway_chassis.pages import page_of
from stepway_chassis.transaction import Tx
from stepway_intake import expiring, handing_over
from stepway_intake.domain import consents
from stepway_intake.domain.consents import USE_WITHIN, Consent, FamilyMember, Party, Question
from stepway_intake.store import consents as store
from stepway_intake.store.people import find_patient, kept_under, lock_patient
from stepway_intake.store.referrals import first_referral
from stepway_intake.store.transfers import doubt_offers
from stepway_intake.wire import consents as wire
from stepway_intake.wire.consents import Named
from stepway_intake.wire.people import contact_points, new_related_person

T = TypeVar("T")


class ConsentService:
    SERVICE = "stepway.intake.v1.ConsentService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def GrantConsent(self, request: GrantConsentRequest, _: object) -> GrantConsentResponse:
        granting = self._database.command(request, GrantConsentResponse, self._grant)
        return await (_when_no_yes_lasts(granting) if request.supersedes_consent_id else granting)

    async def _grant(self, tx: Tx, request: GrantConsentRequest) -> GrantConsentResponse:
        patient = await lock_patient(tx, UUID(request.patient_id))  # their birth date stays until the commit
        tx.concerns(patient.id)
        tx.correlation = await first_referral(tx, patient.id)
        named = await self._newly_named(tx, request, patient.id)
        about = store.subject(tx, patient.person.birth_date, patient.label)
        new = wire.new_consent(request, named, id=uuid7(tx.now), patient_id=patient.id, at=tx.now)
        if tx.scope is Scope.SELF and not new.signer.alone:
            message = "Whoever signs for you, or with you, does so with the staff."
            raise InvalidInput("SIGNER_NOT_CALLER", message, field="signer")
        old = await self._superseded_by(tx, new)
        consent = consents.grant(new, about, party=named if isinstance(named, Party) else None, supersedes=old)
        ended = consents.supersede(old, about, consent) if old else None
        await store.add_consent(tx, consent)
        events: list[Message] = [wire.consent_granted(consent)]
        if ended is not None:
            await store.save_consent(tx, ended)
            events.append(wire.consent_superseded(ended, consent))
        if consent.due_at is not None:
            await loops.wake(tx, expiring.LOOP, consent.due_at)
        outbox.append(tx, *events, label=patient.label)
        return GrantConsentResponse(consent=wire.consent(consent, named))

    async def _newly_named(self, tx: Tx, request: GrantConsentRequest, patient_id: UUID) -> Named:
        """Somebody whom an earlier consent of this patient names, somebody new, or nobody by name."""
        if request.HasField("family_member_id"):
            return await store.family_member_of(tx, patient_id, UUID(request.family_member_id))
        if request.HasField("party_id"):
            return await store.party_of(tx, patient_id, UUID(request.party_id))
        if request.HasField("family_member"):
            member = FamilyMember(uuid7(tx.now), patient_id, new_related_person(request.family_member))
            await store.add_family_member(tx, member)
            return member
        if request.HasField("party"):
            party = wire.new_party(request.party, id=uuid7(tx.now), patient_id=patient_id)
            await store.add_party(tx, party)
            return party
        return None

    async def _superseded_by(self, tx: Tx, new: Consent) -> Consent | None:
        """Raises NotFound (CONSENT_NOT_FOUND), also for a consent of another patient or for another recipient."""
        if new.supersedes_id is None:
            return None
        old, _ = await store.lock_consent(tx, new.supersedes_id)
        if (old.patient_id, old.recipient) != (new.patient_id, new.recipient):
            message = "There is no such consent of this patient for this recipient."
            raise NotFound("CONSENT_NOT_FOUND", message, field="supersedes_consent_id")
        return old

    async def RevokeConsent(self, request: RevokeConsentRequest, _: object) -> RevokeConsentResponse:
        return await _when_no_yes_lasts(self._database.command(request, RevokeConsentResponse, self._revoke))

    async def _revoke(self, tx: Tx, request: RevokeConsentRequest) -> RevokeConsentResponse:
        asked, _ = await store.find_consent(tx, UUID(request.consent_id))
        if asked.recipient_site and await doubt_offers(tx, asked.patient_id, asked.recipient_site):
            await loops.wake(tx, handing_over.LOOP, tx.now)  # it is withdrawn: nothing covers it any more
        consent, about = await store.lock_consent(tx, UUID(request.consent_id))
        tx.concerns(consent.patient_id)
        consent = consents.revoke(consent, about, at=tx.now)
        tx.correlation = await first_referral(tx, consent.patient_id)
        await store.save_consent(tx, consent)
        patient = await find_patient(tx, consent.patient_id)
        outbox.append(tx, wire.consent_revoked(consent), label=patient.label)
        return RevokeConsentResponse(consent=wire.consent(consent, await self._named(tx, consent)))

    async def _named(self, tx: Tx, consent: Consent) -> Named:
        if consent.family_member_id:
            return await store.family_member_of(tx, consent.patient_id, consent.family_member_id)
        return await store.party_of(tx, consent.patient_id, consent.party_id) if consent.party_id else None

    async def GetConsent(self, request: GetConsentRequest, _: object) -> GetConsentResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetConsentRequest) -> GetConsentResponse:
        consent, _ = await store.find_consent(tx, UUID(request.consent_id))
        tx.concerns(consent.patient_id)
        return GetConsentResponse(consent=wire.consent(consent, await self._named(tx, consent)))

    async def ListConsents(self, request: ListConsentsRequest, _: object) -> ListConsentsResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListConsentsRequest) -> ListConsentsResponse:
        page = page_of(request)
        patient = await find_patient(tx, UUID(request.patient_id))
        tx.concerns(patient.id)
        found, token = page.cut(await store.consents_of(tx, patient.id, page))
        return ListConsentsResponse(consents=await self._listed(tx, found), next_page_token=token)

    async def ListEndingConsents(self, request: ListEndingConsentsRequest, _: object) -> ListEndingConsentsResponse:
        return await self._database.query(request, self._list_ending)

    async def _list_ending(self, tx: Tx, request: ListEndingConsentsRequest) -> ListEndingConsentsResponse:
        page, before = page_of(request), wire.ends_before(request) or tx.now + consents.SOON
        found, token = page.cut(await store.consents_ending(tx, page, before=before))
        tx.concerns(*(each.patient_id for each in found))
        return ListEndingConsentsResponse(consents=await self._listed(tx, found), next_page_token=token)

    async def _listed(self, tx: Tx, found: Sequence[Consent]) -> list[consent_pb2.Consent]:
        named = await store.named_in(tx, found)
        return [wire.consent(each, named.get(each.family_member_id or each.party_id or each.id)) for each in found]

    async def CheckConsents(self, request: CheckConsentsRequest, _: object) -> CheckConsentsResponse:
        return await self._database.query(request, self._check)

    async def _check(self, tx: Tx, request: CheckConsentsRequest) -> CheckConsentsResponse:
        questions = [wire.question(asked) for asked in request.questions]
        known = await store.consents_about(tx, questions)
        unknown = {each.patient_id for each in questions} - {consent.patient_id for consent, _ in known}
        if unknown and (by_now := await kept_under(tx, unknown)):
            questions = [replace(each, patient_id=by_now.get(each.patient_id, each.patient_id)) for each in questions]
            known = await store.consents_about(tx, questions)
        tx.concerns(*{question.patient_id for question in questions})
        return wire.consent_answers(consents.check_each(questions, known, now=tx.now))

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
        question = Question(member.patient_id, str(member.id), wire.category(request.category))
        finding, _ = consents.check(question, await store.consents_about(tx, [question]), now=tx.now)
        covered = member.person.contact_points if finding is consents.Finding.GRANTED else ()
        return GetFamilyMemberContactResponse(contact_points=contact_points(covered))


async def _when_no_yes_lasts(ending: Coroutine[Any, Any, T]) -> T:
    """Says that a consent has ended when nobody may act any more upon a yes that was read before that."""
    try:
        answer = await ending
    except Conflict:  # another caller has just ended it
        await asyncio.sleep(USE_WITHIN.total_seconds())
        raise
    await asyncio.sleep(USE_WITHIN.total_seconds())
    return answer
