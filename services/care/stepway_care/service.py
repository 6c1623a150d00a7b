"""The gRPC services of care: parse, load, decide, save and announce."""

from uuid import UUID

from stepway.care.v1.treatment_plan_service_pb2 import (
    GetTreatmentPlanRequest,
    GetTreatmentPlanResponse,
    ListTreatmentPlansRequest,
    ListTreatmentPlansResponse,
)
from stepway_care import store, wire
from stepway_chassis.database import Database
from stepway_chassis.pages import page_of
from stepway_chassis.transaction import Tx


class TreatmentPlanService:
    SERVICE = "stepway.care.v1.TreatmentPlanService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetTreatmentPlan(self, request: GetTreatmentPlanRequest, _: object) -> GetTreatmentPlanResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetTreatmentPlanRequest) -> GetTreatmentPlanResponse:
        plan = await store.find_plan(tx, UUID(request.treatment_plan_id))
        tx.concerns(plan.patient_id)
        return GetTreatmentPlanResponse(treatment_plan=wire.treatment_plan(plan))

    async def ListTreatmentPlans(self, request: ListTreatmentPlansRequest, _: object) -> ListTreatmentPlansResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListTreatmentPlansRequest) -> ListTreatmentPlansResponse:
        page = page_of(request)
        plans, token = page.cut(await store.plans(tx, page))
        tx.concerns(*(each.patient_id for each in plans))
        return ListTreatmentPlansResponse(
            treatment_plans=[wire.treatment_plan(each) for each in plans], next_page_token=token
        )
