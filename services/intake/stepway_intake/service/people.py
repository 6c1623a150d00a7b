"""PersonService: whom the site knows, what is wrong of it, who may be there twice, and what becomes of that."""

import asyncio
from uuid import UUID

from stepway.intake.v1.person_service_pb2 import (
    FindDuplicatesRequest,
    FindDuplicatesResponse,
    FindPeopleRequest,
    FindPeopleResponse,
    GetPersonRequest,
    GetPersonResponse,
    MergePeopleRequest,
    MergePeopleResponse,
    UpdatePersonRequest,
    UpdatePersonResponse,
)
from stepway_chassis import outbox
from stepway_chassis.database import Database
from stepway_chassis.pages import page_of
from stepway_chassis.transaction import Tx
from stepway_intake.domain import people
from stepway_intake.domain.consents import USE_WITHIN
from stepway_intake.domain.people import Fact
from stepway_intake.expiring import look_when_due
from stepway_intake.store import people as store
from stepway_intake.store.admissions import are_admitted
from stepway_intake.store.referrals import first_referral
from stepway_intake.wire import people as wire


class PersonService:
    SERVICE = "stepway.intake.v1.PersonService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetPerson(self, request: GetPersonRequest, _: object) -> GetPersonResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetPersonRequest) -> GetPersonResponse:
        patient = await store.find_patient(tx, UUID(request.patient_id))
        tx.concerns(patient.id)
        return GetPersonResponse(person=wire.registered(patient))

    async def FindPeople(self, request: FindPeopleRequest, _: object) -> FindPeopleResponse:
        return await self._database.query(request, self._find)

    async def _find(self, tx: Tx, request: FindPeopleRequest) -> FindPeopleResponse:
        page = page_of(request)
        found, token = page.cut(await store.people_by(tx, wire.sought(request), page))
        tx.concerns(*(patient.id for patient in found))
        return FindPeopleResponse(people=[wire.registered(each) for each in found], next_page_token=token)

    async def FindDuplicates(self, request: FindDuplicatesRequest, _: object) -> FindDuplicatesResponse:
        return await self._database.query(request, self._duplicates)

    async def _duplicates(self, tx: Tx, request: FindDuplicatesRequest) -> FindDuplicatesResponse:
        patient = await store.find_patient(tx, UUID(request.patient_id))
        candidates = people.candidates(patient, await store.sharing_keys(tx, patient.id))
        tx.concerns(patient.id, *(each.patient.id for each in candidates))
        return FindDuplicatesResponse(candidates=[wire.candidate(each) for each in candidates])

    async def UpdatePerson(self, request: UpdatePersonRequest, _: object) -> UpdatePersonResponse:
        """Answers when nobody acts any more upon what was on record before: an address, or a yes by the birth date."""
        answer = await self._database.command(request, UpdatePersonResponse, self._update)
        await asyncio.sleep(USE_WITHIN.total_seconds())
        return answer

    async def _update(self, tx: Tx, request: UpdatePersonRequest) -> UpdatePersonResponse:
        before = await store.lock_patient(tx, UUID(request.patient_id))
        tx.concerns(before.id)
        right, facts = wire.corrected(request)
        patient, updated = people.correct(before, right, facts, read=request.etag, at=tx.now)
        if updated:
            tx.correlation = await first_referral(tx, patient.id)
            await store.save_person(tx, before, patient)
            if Fact.BIRTH_DATE in updated.facts:
                await look_when_due(tx, patient.id)
            outbox.append(tx, wire.patient_updated(updated), label=patient.label)
        return UpdatePersonResponse(person=wire.registered(patient))

    async def MergePeople(self, request: MergePeopleRequest, _: object) -> MergePeopleResponse:
        return await self._database.command(request, MergePeopleResponse, self._merge)

    async def _merge(self, tx: Tx, request: MergePeopleRequest) -> MergePeopleResponse:
        kept, gone = await store.lock_patients(tx, UUID(request.patient_id), UUID(request.merged_patient_id))
        tx.concerns(kept.id, gone.id)
        both = await are_admitted(tx, kept.id, gone.id)
        kept, gone, merged = people.merge(kept, gone, both_admitted=both, at=tx.now)
        await store.save_merge(tx, kept, gone)
        await look_when_due(tx, kept.id)
        outbox.append(tx, wire.patient_merged(merged), label=kept.label)
        return MergePeopleResponse(person=wire.registered(kept))
