"""WorkupService: comprehensive assessments, saved bit by bit and scored when they are whole."""

from collections.abc import Iterator
from datetime import date, datetime
from itertools import repeat
from uuid import UUID
from zoneinfo import ZoneInfo

from google.protobuf.message import Message

from stepway.intake.v1.workup_service_pb2 import (
    CompleteWorkupRequest,
    CompleteWorkupResponse,
    ExcuseWorkupPartRequest,
    ExcuseWorkupPartResponse,
    GetWorkupRequest,
    GetWorkupResponse,
    ListWorkupsRequest,
    ListWorkupsResponse,
    SaveWorkupAnswersRequest,
    SaveWorkupAnswersResponse,
    SaveWorkupSectionRequest,
    SaveWorkupSectionResponse,
    StartWorkupRequest,
    StartWorkupResponse,
)
from stepway_chassis import outbox
from stepway_chassis.database import Database
from stepway_chassis.ids import uuid7
from stepway_chassis.pages import page_of
from stepway_chassis.telemetry import Telemetry
from stepway_chassis.transaction import Tx
from stepway_intake import left_open
from stepway_intake.domain import referrals, sections, workups
from stepway_intake.domain.site_rules import rules_of
from stepway_intake.domain.workups import Excuse
from stepway_intake.instruments.catalogue import CURRENT
from stepway_intake.service.referrals import hold, keep, raise_label
from stepway_intake.service.risk import raise_flag
from stepway_intake.store import workups as store
from stepway_intake.store.assessments import add_assessment
from stepway_intake.store.risk import flags_of
from stepway_intake.wire import assessments as answers_wire
from stepway_intake.wire import workups as wire


class WorkupService:
    SERVICE = "stepway.intake.v1.WorkupService"

    def __init__(self, database: Database, telemetry: Telemetry) -> None:
        self._database = database
        self._telemetry = telemetry

    async def StartWorkup(self, request: StartWorkupRequest, _: object) -> StartWorkupResponse:
        return await self._database.command(request, StartWorkupResponse, self._start)

    async def _start(self, tx: Tx, request: StartWorkupRequest) -> StartWorkupResponse:
        battery = wire.battery(request.battery)
        referral = await hold(tx, UUID(request.referral_id), may_raise=battery in workups.SUBSTANCE_USE)
        workup = workups.start(
            referral,
            battery,
            id=uuid7(tx.now),
            open_already=await store.has_open_workup(tx, referral.id),
            by=tx.caller.subject,
            at=tx.now,
        )
        if workups.is_of_substance_use(workup):
            referral = await raise_label(tx, referral)
        await keep(tx, referral, referrals.begin_assessment(referral, at=tx.now))
        await store.add_workup(tx, workup)
        outbox.append(tx, wire.workup_started(workup), label=referral.patient.label)
        return StartWorkupResponse(workup=wire.workup(workup))

    async def SaveWorkupAnswers(self, request: SaveWorkupAnswersRequest, _: object) -> SaveWorkupAnswersResponse:
        return await self._database.command(request, SaveWorkupAnswersResponse, self._save_answers)

    async def _save_answers(self, tx: Tx, request: SaveWorkupAnswersRequest) -> SaveWorkupAnswersResponse:
        rules, instrument = rules_of(tx.site.settings), answers_wire.name(request.instrument)
        may_raise = bool(CURRENT[instrument].substance_use)
        workup, referral = await left_open.lock(tx, UUID(request.workup_id), may_raise=may_raise)
        begun = workup.drafts.get(instrument)
        workup, flag = workups.save_answers(
            workup,
            workups.definition_of(workup, instrument, request.version, rules.versions.get(instrument, "")),
            answers_wire.answers(request.answers),
            request.withdrawn_items,
            assessment_id=uuid7(tx.now),
            flag_id=uuid7(tx.now),
            answered_at=answers_wire.answered_at(
                request.answered_at if request.HasField("answered_at") else None, tx.now
            ),
            now=tx.now,
            raised=await flags_of(tx, begun.assessment_id) if begun else [],
            within=rules.within,
        )
        referral = await left_open.keep(tx, workup, referral)
        if flag:
            outbox.append(tx, await raise_flag(tx, flag, self._telemetry), label=referral.patient.label)
        return SaveWorkupAnswersResponse(workup=wire.workup(workup), risk_flag_id=str(flag.id) if flag else "")

    async def SaveWorkupSection(self, request: SaveWorkupSectionRequest, _: object) -> SaveWorkupSectionResponse:
        return await self._database.command(request, SaveWorkupSectionResponse, self._save_section)

    async def _save_section(self, tx: Tx, request: SaveWorkupSectionRequest) -> SaveWorkupSectionResponse:
        kind, form = wire.section(request.section)
        may_raise = kind in sections.MAY_TELL_OF_SUBSTANCE_USE
        workup, referral = await left_open.lock(tx, UUID(request.workup_id), may_raise=may_raise)
        workup = workups.save_section(workup, kind, sections.check(kind, form, today=_today(tx)))
        await left_open.keep(tx, workup, referral)
        return SaveWorkupSectionResponse(workup=wire.workup(workup))

    async def ExcuseWorkupPart(self, request: ExcuseWorkupPartRequest, _: object) -> ExcuseWorkupPartResponse:
        return await self._database.command(request, ExcuseWorkupPartResponse, self._excuse)

    async def _excuse(self, tx: Tx, request: ExcuseWorkupPartRequest) -> ExcuseWorkupPartResponse:
        workup, referral = await left_open.lock(tx, UUID(request.workup_id))
        why = Excuse(wire.reason(request.reason), request.note, by=tx.caller.subject, at=tx.now)
        workup = workups.excuse(workup, wire.part(request), why)
        await left_open.keep(tx, workup, referral)
        return ExcuseWorkupPartResponse(workup=wire.workup(workup))

    async def CompleteWorkup(self, request: CompleteWorkupRequest, _: object) -> CompleteWorkupResponse:
        return await self._database.command(request, CompleteWorkupResponse, self._complete)

    async def _complete(self, tx: Tx, request: CompleteWorkupRequest) -> CompleteWorkupResponse:
        workup, referral = await left_open.lock(tx, UUID(request.workup_id))
        within = rules_of(tx.site.settings).within
        completed = workups.complete(
            workup, referral, flag_ids=_ids(tx.now), by=tx.caller.subject, at=tx.now, within=within
        )
        referral = await left_open.keep(tx, completed.workup, referral)
        await keep(tx, referral, referrals.complete_assessment(referral, at=tx.now))
        events: list[Message] = [wire.workup_completed(completed.workup)]
        for assessment in completed.assessments:
            await add_assessment(tx, assessment)
            events.append(answers_wire.assessment_completed(assessment, tx.now))
        events += [await raise_flag(tx, flag, self._telemetry) for flag in completed.flags]
        outbox.append(tx, *events, label=referral.patient.label)
        return CompleteWorkupResponse(
            workup=wire.workup(completed.workup), risk_flag_ids=[str(flag.id) for flag in completed.flags]
        )

    async def GetWorkup(self, request: GetWorkupRequest, _: object) -> GetWorkupResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetWorkupRequest) -> GetWorkupResponse:
        workup = await store.find_workup(tx, UUID(request.workup_id))
        tx.concerns(workup.patient_id)
        return GetWorkupResponse(workup=wire.workup(workup))

    async def ListWorkups(self, request: ListWorkupsRequest, _: object) -> ListWorkupsResponse:
        return await self._database.query(request, self._list)

    async def _list(self, tx: Tx, request: ListWorkupsRequest) -> ListWorkupsResponse:
        page = page_of(request)
        found, token = page.cut(await store.workups(tx, page, open_only=request.open_only))
        tx.concerns(*(workup.patient_id for workup in found))
        return ListWorkupsResponse(workups=[wire.workup_in_list(each) for each in found], next_page_token=token)


def _today(tx: Tx) -> date:
    """By the clocks of the site."""
    return tx.now.astimezone(ZoneInfo(tx.site.zone)).date()


def _ids(now: datetime) -> Iterator[UUID]:
    return map(uuid7, repeat(now))
