"""The gRPC services of notifications: parse, load, decide, save and announce."""

import asyncio
from uuid import UUID

from stepway.notifications.v1.escalation_service_pb2 import (
    AcknowledgeEscalationRequest,
    AcknowledgeEscalationResponse,
    ListEscalationsRequest,
    ListEscalationsResponse,
    RaiseEscalationRequest,
    RaiseEscalationResponse,
)
from stepway.notifications.v1.message_service_pb2 import (
    ListMessagesRequest,
    ListMessagesResponse,
    StopMessagesRequest,
    StopMessagesResponse,
)
from stepway_chassis import merges
from stepway_chassis.database import Database
from stepway_chassis.pages import page_of
from stepway_chassis.telemetry import Telemetry
from stepway_chassis.transaction import Tx
from stepway_notifications import escalating, store, wire
from stepway_notifications.domain.escalations import Escalation
from stepway_notifications.domain.messages import USE_WITHIN


class MessageService:
    SERVICE = "stepway.notifications.v1.MessageService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ListMessages(self, request: ListMessagesRequest, _: object) -> ListMessagesResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListMessagesRequest) -> ListMessagesResponse:
        page = page_of(request)
        messages, token = page.cut(await store.messages(tx, page))
        tx.concerns(*(each.patient_id for each in messages))
        return ListMessagesResponse(messages=[wire.message(each) for each in messages], next_page_token=token)

    async def StopMessages(self, request: StopMessagesRequest, _: object) -> StopMessagesResponse:
        """Answers when nothing is handed over any more that was found wanted before the commit."""
        answer = await self._database.command(request, StopMessagesResponse, self._stop)
        await asyncio.sleep(USE_WITHIN.total_seconds())
        return answer

    async def _stop(self, tx: Tx, request: StopMessagesRequest) -> StopMessagesResponse:
        if request.HasField("family_member_id"):
            member_id = UUID(request.family_member_id)
            tx.concerns(await store.stop_family_member(tx, member_id), held_by=str(member_id))
            return StopMessagesResponse(withheld=await store.withhold_from_family_member(tx, member_id))
        patient_id = await store.stop_patient(tx, await merges.current(tx, UUID(request.patient_id)))
        tx.concerns(patient_id)
        return StopMessagesResponse(withheld=await store.withhold_from_patient(tx, patient_id))


class EscalationService:
    SERVICE = "stepway.notifications.v1.EscalationService"

    def __init__(self, database: Database, telemetry: Telemetry) -> None:
        self._database = database
        self._telemetry = telemetry

    async def RaiseEscalation(self, request: RaiseEscalationRequest, _: object) -> RaiseEscalationResponse:
        return await self._database.command(request, RaiseEscalationResponse, self._raise)

    async def _raise(self, tx: Tx, request: RaiseEscalationRequest) -> RaiseEscalationResponse:
        patient_id, flag_id = UUID(request.patient_id), UUID(request.risk_flag_id)
        tx.correlation = request.referral_id
        label, context = wire.label(request.label), self._telemetry.inject()
        await escalating.raise_once(tx, flag_id, patient_id, label=label, trace_context=context)
        return RaiseEscalationResponse(escalation=wire.escalation(await store.escalation_about(tx, flag_id)))

    async def ListEscalations(self, request: ListEscalationsRequest, _: object) -> ListEscalationsResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListEscalationsRequest) -> ListEscalationsResponse:
        page = page_of(request)
        found, token = page.cut(await store.escalations(tx, page))
        tx.concerns()
        for each in found:
            tx.concerns(each.patient_id, held_by=_held_by(tx, each))
        return ListEscalationsResponse(escalations=[wire.escalation(each) for each in found], next_page_token=token)

    async def AcknowledgeEscalation(
        self, request: AcknowledgeEscalationRequest, _: object
    ) -> AcknowledgeEscalationResponse:
        return await self._database.command(request, AcknowledgeEscalationResponse, self._acknowledge)

    async def _acknowledge(self, tx: Tx, request: AcknowledgeEscalationRequest) -> AcknowledgeEscalationResponse:
        escalation, tx.correlation = await store.lock_escalation(tx, UUID(request.escalation_id))
        tx.concerns(escalation.patient_id, held_by=_held_by(tx, escalation))
        ended = await escalating.end(tx, escalation, by=tx.caller.subject, at=tx.now)
        return AcknowledgeEscalationResponse(escalation=wire.escalation(ended))


def _held_by(tx: Tx, escalation: Escalation) -> str:
    """Whoever was paged about it holds it: the caller, if they are one of them."""
    return next((each for each in escalation.clinicians if tx.within(each)), escalation.clinicians[0])
