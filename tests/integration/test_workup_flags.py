"""What answers raise a flag and when, and what becomes of it until it is on record what was done."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from stepway.intake.v1 import assessment_pb2, risk_flag_pb2, workup_pb2
from stepway.intake.v1.risk_service_pb2 import (
    AcknowledgeRiskFlagRequest,
    ListRiskFlagsRequest,
    RecordDispositionRequest,
)
from stepway_chassis.errors import Conflict, Refusal
from stepway_chassis.times import to_proto
from tests.cases import IN_DANGER
from tests.network import NORTHSIDE, Network, phq_9
from tests.waiting import until
from tests.workups import (
    C_SSRS,
    GAD_7,
    PHQ_9,
    a_flag,
    a_referral_at,
    all_done,
    announced,
    begun,
    call,
    complete,
    excuse,
    read,
    save,
    states,
)


async def test_danger_is_flagged_when_it_is_saved_once_and_not_lowered_by_another_answer(network: Network) -> None:
    workup = await begun(network)
    first = await save(network, workup.id, PHQ_9, {9: 2})
    assert first.risk_flag_id
    assert (await save(network, workup.id, PHQ_9, {9: 3})).risk_flag_id == ""
    assert (await save(network, workup.id, PHQ_9, {9: 0})).risk_flag_id == ""
    flag = await a_flag(network, first.risk_flag_id)
    assert (flag.urgency, flag.level) == (risk_flag_pb2.RISK_URGENCY_PAGE, risk_flag_pb2.RISK_LEVEL_PRESENT)
    assert not flag.HasField("acknowledged_at")
    assert announced(network, [flag.id])[0] == "risk_flagged"


async def test_a_worse_category_that_comes_out_later_is_flagged_anew(network: Network) -> None:
    workup = await begun(network)
    given: tuple[dict[int, int], ...] = ({1: 1}, {2: 1, 3: 1}, {4: 1})
    found = [await a_flag(network, (await save(network, workup.id, C_SSRS, each)).risk_flag_id) for each in given]
    levels = [risk_flag_pb2.RiskLevel.Name(each.level).removeprefix("RISK_LEVEL_") for each in found]
    assert levels == ["LOW", "MODERATE", "HIGH"]
    review, page = risk_flag_pb2.RISK_URGENCY_REVIEW, risk_flag_pb2.RISK_URGENCY_PAGE
    assert [each.urgency for each in found] == [review, review, page]
    assert all(each.due_at.ToDatetime() > each.raised_at.ToDatetime() for each in found)


async def test_a_yes_of_now_pages_though_a_form_of_last_week_asked_for_a_review(network: Network) -> None:
    workup = await begun(network)
    old = to_proto(datetime.now(UTC) - timedelta(days=5))
    review = (await save(network, workup.id, PHQ_9, {9: 2}, answered_at=old)).risk_flag_id
    page = (await save(network, workup.id, PHQ_9, {9: 3})).risk_flag_id
    assert [announced(network, [id])[0] for id in (review, page)] == ["risk_review_requested", "risk_flagged"]


LEFT_ALONE = """
    UPDATE workup SET due_at = now(),
     drafts = jsonb_set(drafts, '{{phq-9, saved_at}}', to_jsonb((now() - interval '8 hours')::text))
     WHERE id = '{id}';
    UPDATE work SET due_at = now() WHERE site = 'northside' AND loop = 'left_open'"""


async def test_a_question_about_danger_that_nobody_comes_back_to_is_flagged_on_the_day(network: Network) -> None:
    workup = await begun(network)
    assert (await save(network, workup.id, PHQ_9, dict.fromkeys(range(1, 9), 1))).risk_flag_id == ""
    network.platform.postgres.run_sql(LEFT_ALONE.format(id=workup.id), database="stepway_intake")

    async def flagged() -> Any:
        query = f"SELECT id::text FROM risk_flag WHERE referral_id = '{workup.referral_id}'"
        return network.rows("intake", query)

    (row,) = await until(flagged)
    flag = await a_flag(network, row["id"])
    assert (flag.level, flag.urgency) == (risk_flag_pb2.RISK_LEVEL_UNANSWERED, risk_flag_pb2.RISK_URGENCY_REVIEW)
    audited = f"SELECT 1 FROM audit WHERE action = 'left_open' AND '{workup.patient_id}' = ANY (people)"
    assert len(network.rows("intake", audited)) == 1
    await excuse(network, workup.id, instrument=PHQ_9)
    await save(network, workup.id, PHQ_9, {1: 2})
    assert network.rows("intake", f"SELECT due_at FROM workup WHERE id = '{workup.id}'") == [{"due_at": None}]


async def test_a_question_about_danger_that_is_left_open_is_flagged_when_the_workup_ends(network: Network) -> None:
    workup = await begun(network)
    await all_done(network, workup.id, phq=dict.fromkeys(range(1, 9), 1))
    assert states(await read(network, workup.id))["PHQ_9"] == "STARTED"
    with pytest.raises(Conflict, match="WORKUP_INCOMPLETE"):
        await complete(network, workup.id)
    excused = await excuse(network, workup.id, instrument=PHQ_9)
    assert states(excused)["PHQ_9"] == "EXCUSED"
    (flag_id,) = (await complete(network, workup.id)).risk_flag_ids
    flag = await a_flag(network, flag_id)
    assert (flag.level, flag.urgency) == (risk_flag_pb2.RISK_LEVEL_UNANSWERED, risk_flag_pb2.RISK_URGENCY_REVIEW)


async def test_an_instrument_about_danger_that_was_declined_is_never_a_no(network: Network) -> None:
    workup = await begun(network, battery=workup_pb2.BATTERY_ADOLESCENT)
    assessed = {assessment_pb2.INSTRUMENT_PHQ_9M, GAD_7, C_SSRS}
    for part in workup.parts:
        if part.required:
            which = {part.WhichOneof("part"): getattr(part, part.WhichOneof("part"))}
            await excuse(network, workup.id, **which)
    done = await complete(network, workup.id)
    assert assessed <= {part.instrument for part in done.workup.parts}
    assert [(await a_flag(network, id)).level for id in done.risk_flag_ids] == [risk_flag_pb2.RISK_LEVEL_UNANSWERED]
    assert network.rows("intake", f"SELECT 1 FROM assessment WHERE workup_id = '{workup.id}'") == []


# What becomes of a flag


async def acknowledge(network: Network, flag: str, subject: str = "") -> Any:
    request = AcknowledgeRiskFlagRequest(request_id=str(uuid4()), risk_flag_id=flag)
    return await network.call(
        "stepway.intake.v1.RiskService/AcknowledgeRiskFlag", request, role="clinician", subject=subject
    )


async def dispose(network: Network, flag: str, **changes: Any) -> Any:
    given = {"disposition": risk_flag_pb2.RISK_DISPOSITION_SAFETY_PLAN, "note": "made a plan together", **changes}
    request = RecordDispositionRequest(request_id=str(uuid4()), risk_flag_id=flag, **given)
    return (await call(network, "RecordDisposition", request, "RiskService")).risk_flag


async def in_danger(network: Network, **changes: Any) -> str:
    referral = await a_referral_at(network)
    recorded = await call(network, "RecordAssessment", phq_9(referral.id, IN_DANGER, **changes), "AssessmentService")
    return str(recorded.risk_flag_id)


async def in_own_words(network: Network, **changes: Any) -> str:
    """The flag that somebody's own answers raised."""
    referral = await a_referral_at(network)
    patient = network.holding(network.token(referral.patient_id, "patient", northside=["patient"]))
    form = phq_9(referral.id, IN_DANGER, **changes)
    answer = await patient.call("stepway.intake.v1.AssessmentService/RecordAssessment", form, site=NORTHSIDE)
    return str(answer.risk_flag_id)


async def test_a_patient_whose_clock_is_days_slow_is_paged_about_all_the_same(network: Network) -> None:
    old = to_proto(datetime.now(UTC) - timedelta(days=3))
    flag = await in_own_words(network, answered_at=old)
    assert announced(network, [flag])[0] == "risk_flagged"


async def test_a_flag_is_open_until_it_is_taken_and_then_until_it_is_on_record_what_was_done(network: Network) -> None:
    flag = await in_danger(network)
    with pytest.raises(Conflict, match="RISK_FLAG_NOT_ACKNOWLEDGED"):
        await dispose(network, flag)
    taken = (await acknowledge(network, flag, "staff-7")).risk_flag
    assert (taken.acknowledged_by, taken.disposition) == ("staff-7", 0)
    assert taken.due_at.ToDatetime() == taken.acknowledged_at.ToDatetime() + timedelta(hours=1)
    assert flag in await undisposed(network)
    disposed = await dispose(network, flag)
    assert (disposed.disposition_note, disposed.disposed_by) == ("made a plan together", "clinician-northside")
    assert flag not in await undisposed(network)
    with pytest.raises(Conflict, match="RISK_DISPOSITION_ALREADY_RECORDED"):
        await dispose(network, flag, disposition=risk_flag_pb2.RISK_DISPOSITION_NO_ACUTE_RISK)
    assert announced(network, [flag]) == ["risk_flagged", "risk_flag_acknowledged", "risk_disposition_recorded"]


async def undisposed(network: Network) -> set[str]:
    request = ListRiskFlagsRequest(page_size=100, undisposed_only=True)
    return {flag.id for flag in (await call(network, "ListRiskFlags", request, "RiskService")).risk_flags}


async def test_of_several_who_take_a_flag_at_once_one_has_it_and_of_several_dispositions_one_counts(
    network: Network,
) -> None:
    flag = await in_danger(network)
    takers = (acknowledge(network, flag, f"staff-{number}") for number in range(5))
    answers = await asyncio.gather(*takers, return_exceptions=True)
    assert sorted(getattr(each, "reason", "") for each in answers) == ["", *["RISK_FLAG_ALREADY_ACKNOWLEDGED"] * 4]
    records = await asyncio.gather(*(dispose(network, flag) for _ in range(5)), return_exceptions=True)
    refused = [each.reason for each in records if isinstance(each, Refusal)]
    assert refused == ["RISK_DISPOSITION_ALREADY_RECORDED"] * 4
    assert announced(network, [flag]) == ["risk_flagged", "risk_flag_acknowledged", "risk_disposition_recorded"]


async def test_danger_that_is_said_again_after_it_was_seen_to_is_flagged_again(network: Network) -> None:
    workup = await begun(network)
    first = (await save(network, workup.id, PHQ_9, {9: 1})).risk_flag_id
    await acknowledge(network, first)
    await dispose(network, first)
    again = (await save(network, workup.id, PHQ_9, {9: 3})).risk_flag_id
    assert announced(network, [again])[0] == "risk_flagged"
    assert (await save(network, workup.id, PHQ_9, {9: 3})).risk_flag_id == ""


async def test_later_answers_that_say_no_leave_a_flag_as_it_is(network: Network) -> None:
    flag = await in_danger(network)
    before = await a_flag(network, flag)
    await call(network, "RecordAssessment", phq_9(before.referral_id, [0] * 9), "AssessmentService")
    after = await a_flag(network, flag)
    assert (after.level, after.urgency, after.due_at) == (before.level, before.urgency, before.due_at)
    assert not after.HasField("disposed_at")


async def test_answers_of_before_ask_for_a_review_and_are_never_paged(network: Network) -> None:
    old = to_proto(datetime.now(UTC) - timedelta(days=3))
    flag = await a_flag(network, await in_danger(network, answered_at=old))
    assert (flag.urgency, flag.level) == (risk_flag_pb2.RISK_URGENCY_REVIEW, risk_flag_pb2.RISK_LEVEL_PRESENT)
    assert announced(network, [flag.id]) == ["risk_review_requested"]
    recent = await in_danger(network)

    async def paged() -> Any:
        return network.rows("intake", f"SELECT 1 FROM risk_flag WHERE id = '{recent}' AND paged_at IS NOT NULL")

    await until(paged)
    escalated = f"SELECT 1 AS one FROM escalation WHERE risk_flag_id = '{flag.id}'"
    assert network.rows("notifications", escalated) == []
