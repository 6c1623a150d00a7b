"""RiskService: the signs of danger, to be read, taken and disposed of."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from google.protobuf.message import Message

from stepway.intake.v1.risk_service_pb2 import (
    AcknowledgeRiskFlagRequest,
    AcknowledgeRiskFlagResponse,
    ListRiskFlagsRequest,
    ListRiskFlagsResponse,
    RecordDispositionRequest,
    RecordDispositionResponse,
)
from stepway_chassis import loops, outbox
from stepway_chassis.database import Database
from stepway_chassis.pages import due_page_of, page_of
from stepway_chassis.telemetry import Telemetry
from stepway_chassis.transaction import Tx
from stepway_intake import watchdog
from stepway_intake.domain import risk
from stepway_intake.domain.risk import RiskFlag
from stepway_intake.store import risk as store
from stepway_intake.wire import risk as wire


async def raise_flag(tx: Tx, flag: RiskFlag, telemetry: Telemetry) -> Message:
    """Keep a flag, wake whoever asks for a page, and give back what is to be announced."""
    await store.add_risk_flag(tx, flag, telemetry.inject())
    await loops.wake(tx, watchdog.LOOP, tx.now)
    return wire.risk_raised(flag)


class RiskService:
    SERVICE = "stepway.intake.v1.RiskService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ListRiskFlags(self, request: ListRiskFlagsRequest, _: object) -> ListRiskFlagsResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListRiskFlagsRequest) -> ListRiskFlagsResponse:
        before = wire.due_before(request)
        flags, token = await (_due(tx, request, before) if before else _newest(tx, request))
        tx.concerns(*(flag.patient_id for flag in flags))
        return ListRiskFlagsResponse(risk_flags=[wire.risk_flag(flag) for flag in flags], next_page_token=token)

    async def AcknowledgeRiskFlag(self, request: AcknowledgeRiskFlagRequest, _: object) -> AcknowledgeRiskFlagResponse:
        return await self._database.command(request, AcknowledgeRiskFlagResponse, self._acknowledge)

    async def _acknowledge(self, tx: Tx, request: AcknowledgeRiskFlagRequest) -> AcknowledgeRiskFlagResponse:
        flag = await self._to_change(tx, request.risk_flag_id)
        flag, taken = risk.take(flag, by=tx.caller.subject, at=tx.now)
        await store.save_risk_flag(tx, flag)
        outbox.append(tx, wire.risk_flag_acknowledged(taken), label=await store.label_of(tx, flag))
        return AcknowledgeRiskFlagResponse(risk_flag=wire.risk_flag(flag))

    async def RecordDisposition(self, request: RecordDispositionRequest, _: object) -> RecordDispositionResponse:
        return await self._database.command(request, RecordDispositionResponse, self._dispose)

    async def _dispose(self, tx: Tx, request: RecordDispositionRequest) -> RecordDispositionResponse:
        flag = await self._to_change(tx, request.risk_flag_id)
        disposition = wire.disposition(request.disposition)
        flag, disposed = risk.dispose(flag, disposition, request.note, by=tx.caller.subject, at=tx.now)
        await store.save_risk_flag(tx, flag)
        outbox.append(tx, wire.risk_disposition_recorded(disposed), label=await store.label_of(tx, flag))
        return RecordDispositionResponse(risk_flag=wire.risk_flag(flag))

    async def _to_change(self, tx: Tx, id: str) -> RiskFlag:
        flag = await store.flag_to_change(tx, UUID(id))
        tx.concerns(flag.patient_id)
        tx.correlation = str(flag.referral_id)
        return flag


async def _newest(tx: Tx, request: ListRiskFlagsRequest) -> tuple[Sequence[RiskFlag], str]:
    page = page_of(request)
    found = await store.risk_flags(tx, page, open_only=request.open_only, undisposed_only=request.undisposed_only)
    return page.cut(found)


async def _due(tx: Tx, request: ListRiskFlagsRequest, before: datetime) -> tuple[Sequence[RiskFlag], str]:
    page = due_page_of(request)
    return page.cut(await store.due_flags(tx, page, before=before, open_only=request.open_only))
