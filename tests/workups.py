"""Workups as the clinicians of a site fill them in, and what was flagged and announced of them."""

from typing import Any
from uuid import uuid4

from stepway.intake.v1 import assessment_pb2, workup_pb2, workup_section_pb2
from stepway.intake.v1.risk_service_pb2 import ListRiskFlagsRequest
from stepway.intake.v1.workup_service_pb2 import (
    CompleteWorkupRequest,
    ExcuseWorkupPartRequest,
    GetWorkupRequest,
    SaveWorkupAnswersRequest,
    SaveWorkupSectionRequest,
)
from tests.cases import At, a_workup
from tests.network import NORTHSIDE, Network, a_referral

PHQ_9, GAD_7 = assessment_pb2.INSTRUMENT_PHQ_9, assessment_pb2.INSTRUMENT_GAD_7
C_SSRS, WHODAS = assessment_pb2.INSTRUMENT_C_SSRS_SCREENER, assessment_pb2.INSTRUMENT_WHODAS_12
AUDIT_C = assessment_pb2.INSTRUMENT_AUDIT_C
SECTIONS: dict[str, dict[str, Any]] = {
    "psychosocial": {"living_situation": "LIVING_SITUATION_ALONE", "narrative": "moved here last year"},
    "substance_use": {"none": True},
    "medical": {"no_conditions": True, "allergies": [{"substance": "penicillin"}]},
    "medications": {"medications": [{"name": "sertraline", "dose": "50 mg", "started_on": "2026-01-05"}]},
    "supports": {"at_home": "SUPPORT_SOME", "safe_at_home": "TOLD_YES"},
    "responsibilities": {
        "availability": [{"day": "DAY_OF_WEEK_MONDAY", "from_time": "09:00", "until_time": "12:00"}],
        "able_to_manage": True,
    },
    "strengths": {"strengths": ["funny", "stubborn"]},
    "goals": {"goals": [{"words": "to sleep through", "importance": 9}]},
    "medical_evaluation": {
        "evaluated_on": "2026-02-28",
        "examiner": "Dr. Amari",
        "vitals": {"systolic": 120, "diastolic": 80},
        "withdrawal_risk": "CLINICAL_RISK_LOW",
        "medical_instability": "CLINICAL_RISK_NONE",
        "clearance": "MEDICAL_CLEARANCE_CLEARED",
    },
}


async def a_referral_at(network: Network, site: str = NORTHSIDE) -> Any:
    return (await At(network, site).call("intake", "ReferralService/ReceiveReferral", a_referral())).referral


async def begun(network: Network, **changes: Any) -> Any:
    """A workup of an adult with mental illness."""
    referral = await a_referral_at(network)
    request = a_workup(referral.id, **{"battery": workup_pb2.BATTERY_ADULT_MENTAL_HEALTH, **changes})
    return (await call(network, "StartWorkup", request)).workup


async def call(network: Network, rpc: str, request: Any, service: str = "WorkupService", **how: Any) -> Any:
    return await At(network, NORTHSIDE).call("intake", f"{service}/{rpc}", request, **how)


async def save(network: Network, workup: str, instrument: int, answers: dict[int, int], **changes: Any) -> Any:
    given = [{"item": item, "value": value} for item, value in answers.items()]
    request = SaveWorkupAnswersRequest(
        request_id=str(uuid4()), workup_id=workup, instrument=instrument, answers=given, **changes
    )
    return await call(network, "SaveWorkupAnswers", request)


async def save_section(network: Network, workup: str, **section: Any) -> Any:
    request = SaveWorkupSectionRequest(request_id=str(uuid4()), workup_id=workup, section=section)
    return (await call(network, "SaveWorkupSection", request)).workup


async def complete(network: Network, workup: str) -> Any:
    return await call(network, "CompleteWorkup", CompleteWorkupRequest(request_id=str(uuid4()), workup_id=workup))


async def excuse(network: Network, workup: str, **part: Any) -> Any:
    request = ExcuseWorkupPartRequest(
        request_id=str(uuid4()), workup_id=workup, reason=workup_pb2.EXCUSE_REASON_DECLINED, note="not today", **part
    )
    return (await call(network, "ExcuseWorkupPart", request)).workup


async def all_done(network: Network, workup: str, *, phq: dict[int, int]) -> None:
    """Every part but what is left out of the PHQ-9."""
    await save(network, workup, PHQ_9, phq)
    await save(network, workup, GAD_7, dict.fromkeys(range(1, 8), 1))
    await save(network, workup, C_SSRS, {1: 0, 2: 0, 6: 0})
    await save(network, workup, AUDIT_C, {1: 0})
    await save(network, workup, WHODAS, dict.fromkeys(range(1, 13), 2))
    for name, form in SECTIONS.items():
        await save_section(network, workup, **{name: form})


def states(workup: Any) -> dict[str, str]:
    """How far each required part is, by its name."""
    return {
        _name(part): workup_pb2.WorkupPartStatus.Name(part.status).removeprefix("WORKUP_PART_STATUS_")
        for part in workup.parts
        if part.required
    }


def _name(part: Any) -> str:
    if part.WhichOneof("part") == "instrument":
        return assessment_pb2.Instrument.Name(part.instrument).removeprefix("INSTRUMENT_")
    return workup_section_pb2.WorkupSectionKind.Name(part.section).removeprefix("WORKUP_SECTION_KIND_")


async def read(network: Network, workup: str) -> Any:
    return (await call(network, "GetWorkup", GetWorkupRequest(workup_id=workup))).workup


def announced(network: Network, ids: list[str]) -> list[str]:
    """The events about some records, those of each in the order in which they were made."""
    every = ", ".join(f"'{id}'" for id in ids)
    rows = network.rows("intake", f"SELECT subject FROM outbox WHERE aggregate_id IN ({every}) ORDER BY id")
    return [row["subject"].rsplit(".", 1)[1] for row in rows]


async def a_flag(network: Network, id: str) -> Any:
    listed = await call(network, "ListRiskFlags", ListRiskFlagsRequest(page_size=100), "RiskService")
    return next(flag for flag in listed.risk_flags if flag.id == id)
