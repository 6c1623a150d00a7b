"""RiskService: the signs of danger, to be read."""

from stepway.intake.v1.risk_service_pb2 import ListRiskFlagsRequest, ListRiskFlagsResponse
from stepway_chassis.database import Database
from stepway_chassis.pages import page_of
from stepway_chassis.transaction import Tx
from stepway_intake.store import risk as store
from stepway_intake.wire import risk as wire


class RiskService:
    SERVICE = "stepway.intake.v1.RiskService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ListRiskFlags(self, request: ListRiskFlagsRequest, _: object) -> ListRiskFlagsResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListRiskFlagsRequest) -> ListRiskFlagsResponse:
        page = page_of(request)
        flags, token = page.cut(await store.risk_flags(tx, page, open_only=request.open_only))
        tx.concerns(*(flag.patient_id for flag in flags))
        return ListRiskFlagsResponse(risk_flags=[wire.risk_flag(flag) for flag in flags], next_page_token=token)
