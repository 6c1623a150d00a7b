"""The gRPC services of notifications: parse, load, decide, save and announce."""

from uuid import UUID

from stepway.notifications.v1.escalation_service_pb2 import (
    AcknowledgeEscalationRequest,
    AcknowledgeEscalationResponse,
    ListEscalationsRequest,
    ListEscalationsResponse,
)
from stepway.notifications.v1.message_service_pb2 import (
    ListMessagesRequest,
    ListMessagesResponse,
    StopMessagesRequest,
    StopMessagesResponse,
)
from stepway_chassis import outbox
from stepway_chassis.database import Database
from stepway_chassis.pages import page_of
from stepway_chassis.transaction import Tx
from stepway_notifications import domain, store, wire


class MessageService:
    SERVICE = "stepway.notifications.v1.MessageService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ListMessages(self, request: ListMessagesRequest, _: object) -> ListMessagesResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListMessagesRequest) -> ListMessagesResponse:
        page = page_of(request)
        messages, token = page.cut(await store.messages_before(tx, page.before, page.limit))
        tx.concerns(*(each.patient_id for each in messages))
        return ListMessagesResponse(messages=[wire.message(each) for each in messages], next_page_token=token)

    async def StopMessages(self, request: StopMessagesRequest, _: object) -> StopMessagesResponse:
        return await self._database.command(request, StopMessagesResponse, self._stop)

    async def _stop(self, tx: Tx, request: StopMessagesRequest) -> StopMessagesResponse:
        patient_id = UUID(request.patient_id)
        await store.stop_patient(tx, patient_id)
        tx.concerns(patient_id)
        return StopMessagesResponse(withheld=await store.withhold_queued(tx, patient_id))


class EscalationService:
    SERVICE = "stepway.notifications.v1.EscalationService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ListEscalations(self, request: ListEscalationsRequest, _: object) -> ListEscalationsResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListEscalationsRequest) -> ListEscalationsResponse:
        page = page_of(request)
        escalations, token = page.cut(await store.escalations_before(tx, page.before, page.limit))
        for each in escalations:
            tx.concerns(each.patient_id, held_by=each.clinician)
        if not escalations:
            tx.concerns()
        return ListEscalationsResponse(
            escalations=[wire.escalation(each) for each in escalations], next_page_token=token
        )

    async def AcknowledgeEscalation(
        self, request: AcknowledgeEscalationRequest, _: object
    ) -> AcknowledgeEscalationResponse:
        return await self._database.command(request, AcknowledgeEscalationResponse, self._acknowledge)

    async def _acknowledge(self, tx: Tx, request: AcknowledgeEscalationRequest) -> AcknowledgeEscalationResponse:
        escalation, tx.correlation = await store.lock_escalation(tx, UUID(request.escalation_id))
        tx.concerns(escalation.patient_id, held_by=escalation.clinician)
        escalation = domain.acknowledge(escalation, by=tx.caller.subject, at=tx.now)
        await store.save_escalation(tx, escalation)
        label = await store.label_of(tx, escalation.patient_id)
        await outbox.append(tx, wire.escalation_acknowledged(escalation), label=label)
        return AcknowledgeEscalationResponse(escalation=wire.escalation(escalation))
