"""LevelOfCareService: how much care the rules suggest, and how much a clinician has decided on."""

from datetime import timedelta
from uuid import UUID

from stepway.intake.v1.level_of_care_service_pb2 import (
    DecideLevelOfCareRequest,
    DecideLevelOfCareResponse,
    GetLevelOfCareDecisionRequest,
    GetLevelOfCareDecisionResponse,
    GetLevelOfCareSuggestionRequest,
    GetLevelOfCareSuggestionResponse,
    SuggestLevelOfCareRequest,
    SuggestLevelOfCareResponse,
)
from stepway_chassis import outbox
from stepway_chassis.database import Database
from stepway_chassis.ids import uuid7
from stepway_chassis.transaction import Tx
from stepway_intake.domain import levels_of_care, referrals, suggestions
from stepway_intake.domain.admissions import Status as AdmissionStatus
from stepway_intake.domain.referrals import Referral, Status
from stepway_intake.domain.rule_sets import rule_set_for
from stepway_intake.service.referrals import keep
from stepway_intake.store import levels_of_care as store
from stepway_intake.store.admissions import lock_admission_of
from stepway_intake.store.referrals import lock_referral
from stepway_intake.store.suggestions import add_suggestion, facts_of, find_suggestion, flags_had, newest_suggested
from stepway_intake.wire import levels_of_care as wire
from stepway_intake.wire.suggestions import stated, suggestion


class LevelOfCareService:
    SERVICE = "stepway.intake.v1.LevelOfCareService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def SuggestLevelOfCare(self, request: SuggestLevelOfCareRequest, _: object) -> SuggestLevelOfCareResponse:
        return await self._database.command(request, SuggestLevelOfCareResponse, self._suggest)

    async def _suggest(self, tx: Tx, request: SuggestLevelOfCareRequest) -> SuggestLevelOfCareResponse:
        referral = await lock_referral(tx, UUID(request.referral_id))
        tx.concerns(referral.patient.id)
        rule_set = rule_set_for(tx.site.settings, request.payer)
        flags = await flags_had(tx, referral)  # before the facts: what is raised between the two overtakes them
        facts = await facts_of(tx, referral, stated(request.facts), fresh=timedelta(days=rule_set.fresh_days))
        made = suggestions.suggest(
            referral,
            rule_set,
            facts,
            id=uuid7(tx.now),
            payer=request.payer,
            to=tx.caller.subject,
            at=tx.now,
            flags=flags,
        )
        await add_suggestion(tx, made)
        return SuggestLevelOfCareResponse(suggestion=suggestion(made))

    async def GetLevelOfCareSuggestion(
        self, request: GetLevelOfCareSuggestionRequest, _: object
    ) -> GetLevelOfCareSuggestionResponse:
        return await self._database.query(request, self._get_suggestion)

    async def _get_suggestion(
        self, tx: Tx, request: GetLevelOfCareSuggestionRequest
    ) -> GetLevelOfCareSuggestionResponse:
        found = await find_suggestion(tx, UUID(request.suggestion_id))
        tx.concerns(found.patient_id)
        return GetLevelOfCareSuggestionResponse(suggestion=suggestion(found))

    async def DecideLevelOfCare(self, request: DecideLevelOfCareRequest, _: object) -> DecideLevelOfCareResponse:
        return await self._database.command(request, DecideLevelOfCareResponse, self._decide)

    async def _decide(self, tx: Tx, request: DecideLevelOfCareRequest) -> DecideLevelOfCareResponse:
        referral = await lock_referral(tx, UUID(request.referral_id))
        tx.concerns(referral.patient.id)
        tx.correlation = str(referral.id)
        stands = await store.decision_of(tx, referral)
        decided, decision = levels_of_care.decide(
            referral,
            id=uuid7(tx.now),
            level=wire.level(request.level),
            rationale=request.rationale,
            by=tx.caller.subject,
            at=tx.now,
            suggested=await newest_suggested(tx, referral),
            seen=wire.seen(request),
            override=wire.new_override(request),
            tool_results=wire.new_tool_results(request.tool_results),
            stands=stands.id if stands else None,
            replaces=wire.replaced(request),
        )
        await keep(tx, referral, await _where_the_seat_is(tx, decided))
        await store.add_decision(tx, decision)
        outbox.append(tx, wire.level_of_care_decided(decision), label=referral.patient.label)
        return DecideLevelOfCareResponse(decision=wire.decision(decision))

    async def GetLevelOfCareDecision(
        self, request: GetLevelOfCareDecisionRequest, _: object
    ) -> GetLevelOfCareDecisionResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetLevelOfCareDecisionRequest) -> GetLevelOfCareDecisionResponse:
        decision = await store.find_decision(tx, UUID(request.decision_id))
        tx.concerns(decision.patient_id)
        return GetLevelOfCareDecisionResponse(decision=wire.decision(decision))


async def _where_the_seat_is(tx: Tx, decided: Referral) -> Referral:
    """A seat that has come while more care was decided on takes the person up once that is taken back."""
    if decided.status is not Status.WAITLISTED:
        return decided
    admission = await lock_admission_of(tx, decided.id)
    sits = admission is not None and admission.status is AdmissionStatus.ENROLLED
    return referrals.follow_seat(decided, waits=not sits)
