"""Workups and scores over gRPC: saved and resumed, scored when whole, told with their change."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from stepway.intake.v1 import assessment_pb2, workup_pb2
from stepway.intake.v1.assessment_service_pb2 import (
    GetAssessmentRequest,
    GetScoreRequest,
    RecordAssessmentRequest,
    RecordCodedAssessmentRequest,
)
from stepway.intake.v1.referral_service_pb2 import GetReferralRequest
from stepway.intake.v1.workup_service_pb2 import GetWorkupRequest, ListWorkupsRequest, SaveWorkupAnswersRequest
from stepway_chassis.errors import Conflict, InvalidInput, NotFound
from stepway_chassis.times import to_proto
from stepway_intake.instruments.catalogue import CURRENT
from tests.calls import service_token
from tests.cases import At, a_workup
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral
from tests.waiting import until
from tests.workups import (
    AUDIT_C,
    GAD_7,
    PHQ_9,
    SECTIONS,
    a_flag,
    a_referral_at,
    all_done,
    announced,
    begun,
    call,
    complete,
    read,
    save,
    save_section,
    states,
)


async def test_a_workup_is_saved_bit_by_bit_resumed_and_scored_once_it_is_whole(network: Network) -> None:
    workup = await begun(network)
    await save(network, workup.id, PHQ_9, {1: 2, 2: 1})
    await save(network, workup.id, PHQ_9, {2: 3, 3: 1}, withdrawn_items=[1])
    resumed = await read(network, workup.id)
    part = next(part for part in resumed.parts if part.instrument == PHQ_9)
    assert [(answer.item, answer.value) for answer in part.answers] == [(2, 3), (3, 1)]
    assert (states(resumed)["PHQ_9"], part.missing, states(resumed)["GOALS"]) == ("STARTED", 7, "MISSING")
    with pytest.raises(Conflict, match="WORKUP_INCOMPLETE"):
        await complete(network, workup.id)

    await all_done(network, workup.id, phq=dict.fromkeys(range(1, 9), 1) | {9: 0})
    assert set(states(await read(network, workup.id)).values()) == {"DONE"}
    done = await complete(network, workup.id)
    assert (list(done.risk_flag_ids), done.workup.completed_by) == ([], "clinician-northside")
    ids = [part.assessment_id for part in done.workup.parts if part.assessment_id]
    assert announced(network, [workup.id]) == ["workup_started", "workup_completed"]
    assert announced(network, ids) == ["assessment_completed"] * 5
    scored = await call(network, "GetAssessment", GetAssessmentRequest(assessment_id=ids[0]), "AssessmentService")
    assert (scored.assessment.score.total, scored.assessment.workup_id) == (8, workup.id)


async def test_what_was_completed_is_closed_and_another_workup_may_begin(network: Network) -> None:
    workup = await begun(network)
    again = a_workup(workup.referral_id)
    with pytest.raises(Conflict, match="WORKUP_ALREADY_OPEN"):
        await call(network, "StartWorkup", again)
    await all_done(network, workup.id, phq=dict.fromkeys(range(1, 10), 0))
    answers = await asyncio.gather(*(complete(network, workup.id) for _ in range(5)), return_exceptions=True)
    assert sorted(getattr(each, "reason", "") for each in answers) == ["", *["WORKUP_ALREADY_COMPLETED"] * 4]
    assert announced(network, [workup.id]) == ["workup_started", "workup_completed"]
    for late in (save(network, workup.id, PHQ_9, {1: 1}), save_section(network, workup.id, goals=SECTIONS["goals"])):
        with pytest.raises(Conflict, match="WORKUP_ALREADY_COMPLETED"):
            await late
    listed = await call(network, "ListWorkups", ListWorkupsRequest(page_size=100, open_only=True))
    assert workup.id not in {each.id for each in listed.workups}
    assert (await call(network, "StartWorkup", again)).workup.id != workup.id


async def test_two_who_begin_a_workup_of_one_referral_at_once_begin_one(network: Network) -> None:
    referral = await a_referral_at(network)
    starts = (call(network, "StartWorkup", a_workup(referral.id)) for _ in range(6))
    answers = await asyncio.gather(*starts, return_exceptions=True)
    assert sorted(getattr(each, "reason", "") for each in answers) == ["", *["WORKUP_ALREADY_OPEN"] * 5]


async def test_answers_that_two_save_at_once_are_all_kept(network: Network) -> None:
    workup = await begun(network)
    await asyncio.gather(*(save(network, workup.id, GAD_7, {item: 1}) for item in range(1, 8)))
    part = next(part for part in (await read(network, workup.id)).parts if part.instrument == GAD_7)
    assert [answer.item for answer in part.answers] == list(range(1, 8))


def of_each_event(network: Network, *ids: str) -> list[str]:
    """The label under which each event about these records was announced."""
    every = ", ".join(f"'{id}'" for id in ids)
    rows = network.rows("intake", f"SELECT subject FROM outbox WHERE aggregate_id IN ({every}) ORDER BY id")
    return [row["subject"].split(".")[3] for row in rows]


async def test_substance_use_that_comes_into_a_general_record_makes_it_part_2_for_good(network: Network) -> None:
    lakeside = At(network, LAKESIDE)  # no Part 2 programme
    referrals = [await a_referral_at(network, LAKESIDE) for _ in range(3)]
    first, second, third = (each.id for each in referrals)

    async def recorded(referral: str, instrument: int) -> str:
        form = a_form(referral, instrument, {1: 0})
        return str((await lakeside.call("intake", "AssessmentService/RecordAssessment", form)).assessment.id)

    made = [await recorded(first, each) for each in (GAD_7, assessment_pb2.INSTRUMENT_DAST_10, GAD_7)]
    assert of_each_event(network, first, *made) == ["general"] * 3 + ["part2"] * 2
    kept = f"SELECT 1 FROM person_label WHERE person = '{referrals[0].patient_id}' AND label = 'part2'"
    for service in ("scheduling", "care", "family", "notifications"):

        async def heard(service: str = service) -> Any:
            return network.rows(service, kept)

        await until(heard)
    dual = (await lakeside.call("intake", "WorkupService/StartWorkup", a_workup(second))).workup.id
    assert of_each_event(network, second, dual) == ["general", "part2", "part2"]
    adult = a_workup(third, battery=workup_pb2.BATTERY_ADULT_MENTAL_HEALTH)
    workup = (await lakeside.call("intake", "WorkupService/StartWorkup", adult)).workup.id
    drinks = [{"item": item, "value": 3} for item in (1, 2, 3)]
    answers = SaveWorkupAnswersRequest(request_id=str(uuid4()), workup_id=workup, instrument=AUDIT_C, answers=drinks)
    await lakeside.call("intake", "WorkupService/SaveWorkupAnswers", answers)
    after = await recorded(third, GAD_7)
    assert of_each_event(network, third, workup, after) == ["general"] * 3 + ["part2"]


@pytest.mark.parametrize(
    ("section", "reason", "field"),
    [
        (
            {"medications": {"medications": [{"name": "x", "started_on": "2026-02-30"}]}},
            "DATE_IMPOSSIBLE",
            "started_on",
        ),
        ({"medications": {"medications": [{"name": "x", "started_on": "2999-01-01"}]}}, "DATE_IN_FUTURE", "started_on"),
        ({"medications": {}}, "NEITHER_NONE_NOR_SOME", "medications"),
        ({"medications": {"none": True, "medications": [{"name": "x"}]}}, "NONE_AND_SOME", "medications"),
        ({"goals": {"goals": [{"words": "x" * 501}]}}, "FIELD_INVALID", "words"),
        ({"psychosocial": {"living_situation": 1, "narrative": "x" * 4001}}, "FIELD_INVALID", "narrative"),
        (
            {"medical_evaluation": {**SECTIONS["medical_evaluation"], "vitals": {"pulse": 900}}},
            "FIELD_INVALID",
            "pulse",
        ),
        ({}, "FIELD_INVALID", "content"),
    ],
)
async def test_a_form_that_does_not_hold_together_is_refused_by_field(
    network: Network, section: dict[str, Any], reason: str, field: str
) -> None:
    workup = await begun(network)
    with pytest.raises(InvalidInput) as refused:
        await save_section(network, workup.id, **section)
    assert (refused.value.reason, refused.value.field.rsplit(".", 1)[-1]) == (reason, field)


async def test_a_form_in_any_script_comes_back_as_it_was_sent(network: Network) -> None:
    workup = await begun(network)
    words = "Ich möchte schlafen — я хочу спать، أريد أن أنام 眠りたい 🌙"
    saved = await save_section(network, workup.id, goals={"goals": [{"words": words, "confidence": 3}]})
    (part,) = [part for part in saved.parts if part.content.HasField("goals")]
    assert [(goal.words, goal.confidence) for goal in part.content.goals.goals] == [(words, 3)]


async def test_a_workup_of_another_site_is_not_found(network: Network) -> None:
    workup = await begun(network)
    with pytest.raises(NotFound, match="WORKUP_NOT_FOUND"):
        await At(network, LAKESIDE).call("intake", "WorkupService/GetWorkup", GetWorkupRequest(workup_id=workup.id))


# Scores


def a_form(referral: str, instrument: int, answers: dict[int, int], **changes: Any) -> RecordAssessmentRequest:
    given = [{"item": item, "value": value} for item, value in answers.items()]
    return RecordAssessmentRequest(
        request_id=str(uuid4()), referral_id=referral, instrument=instrument, answers=given, **changes
    )


async def record(network: Network, *form: Any, **changes: Any) -> Any:
    return await call(network, "RecordAssessment", a_form(*form, **changes), "AssessmentService")


async def score(network: Network, assessment: str) -> Any:
    return await call(network, "GetScore", GetScoreRequest(assessment_id=assessment), "AssessmentService")


async def test_a_score_is_told_with_its_change_since_the_one_before_and_its_flags(network: Network) -> None:
    referral = await a_referral_at(network)
    values = [dict.fromkeys(range(1, 9), value) | {9: nine} for value, nine in ((3, 0), (1, 1), (0, 0))]
    first, second, third = [(await record(network, referral.id, PHQ_9, each)).assessment.id for each in values]
    told = [await score(network, id) for id in (first, second, third)]
    assert [each.score.total for each in told] == [24, 9, 0]
    assert [each.delta if each.HasField("delta") else None for each in told] == [None, -15, -9]
    assert [each.previous_assessment_id for each in told] == ["", first, second]
    assert [[flag.assessment_id for flag in each.risk_flags] for each in told] == [[], [second], []]
    assert {finding.rule: finding.outcome for finding in told[0].score.findings} == {"algorithm": "major"}


async def test_a_form_without_an_answer_is_refused_and_moves_no_referral(network: Network) -> None:
    referral = await a_referral_at(network)
    with pytest.raises(InvalidInput, match="FIELD_INVALID"):
        await record(network, referral.id, GAD_7, {})
    request = GetReferralRequest(referral_id=referral.id)
    assert (await call(network, "GetReferral", request, "ReferralService")).referral.status == referral.status


async def test_a_total_that_is_missing_or_made_by_another_rule_has_no_change(network: Network) -> None:
    referral = await a_referral_at(network)
    dast = assessment_pb2.INSTRUMENT_DAST_10
    all_no = dict.fromkeys(range(1, 11), 0)
    made = [
        await record(network, referral.id, dast, all_no),
        await record(network, referral.id, dast, all_no, version="reworded"),
        await record(network, referral.id, dast, {1: 1}, version="reworded"),
    ]
    told = [await score(network, each.assessment.id) for each in made]
    assert [each.score.version for each in told] == ["1", "reworded", "reworded"]
    assert [each.score.total if each.score.HasField("total") else None for each in told] == [1, 0, None]
    assert not any(each.HasField("delta") for each in told)


async def test_an_answer_that_came_later_but_was_given_earlier_is_the_one_before(network: Network) -> None:
    referral = await a_referral_at(network)
    now = datetime.now(UTC)
    newer = await record(network, referral.id, GAD_7, dict.fromkeys(range(1, 8), 1))
    older = await record(
        network, referral.id, GAD_7, dict.fromkeys(range(1, 8), 3), answered_at=to_proto(now - timedelta(days=90))
    )
    told = await score(network, newer.assessment.id)
    assert (told.previous_assessment_id, told.delta) == (older.assessment.id, -14)


async def test_care_reads_a_score_and_no_answer(network: Network) -> None:
    referral = await a_referral_at(network)
    made = await record(network, referral.id, GAD_7, dict.fromkeys(range(1, 8), 2))
    care = network.holding(service_token(network, "care"))
    request = GetScoreRequest(assessment_id=made.assessment.id)
    told = await care.call("stepway.intake.v1.AssessmentService/GetScore", request, site=NORTHSIDE)
    assert (told.score.total, told.patient_id) == (14, referral.patient_id)


async def test_a_version_that_there_is_not_is_refused(network: Network) -> None:
    referral = await a_referral_at(network)
    with pytest.raises(InvalidInput, match="INSTRUMENT_VERSION_UNKNOWN"):
        await record(network, referral.id, GAD_7, {1: 1}, version="2099")


async def test_the_cut_off_of_the_audit_c_follows_the_person(network: Network) -> None:
    outcomes = []
    for gender in ("ADMINISTRATIVE_GENDER_MALE", "ADMINISTRATIVE_GENDER_FEMALE"):
        person = {"given_name": "Quillan", "family_name": "Vexmoor", "gender": gender}
        received = await call(network, "ReceiveReferral", a_referral(person=person), "ReferralService")
        made = await record(network, received.referral.id, AUDIT_C, {1: 1, 2: 1, 3: 1})
        outcomes.append({each.rule: each.outcome for each in made.assessment.score.findings}["positive"])
    assert outcomes == ["no", "yes"]


async def record_coded(network: Network, coded: dict[str, str | int], **changes: Any) -> Any:
    referral = await a_referral_at(network)
    given = [{"loinc": code, "answer_code" if isinstance(said, str) else "value": said} for code, said in coded.items()]
    request = RecordCodedAssessmentRequest(
        request_id=str(uuid4()), referral_id=referral.id, coded_answers=given, **changes
    )
    return await call(network, "RecordCodedAssessment", request, "AssessmentService")


async def test_answers_in_loinc_are_scored_and_flagged_like_all_others(network: Network) -> None:
    nine = [item.loinc for item in CURRENT["phq-9"].items[:9]]
    coded = {**dict.fromkeys(nine, "LA6569-3"), "44261-6": 9}
    made = await record_coded(network, coded, panel_loinc="44249-1")
    assert (made.assessment.instrument, made.assessment.score.total) == (PHQ_9, 9)
    assert (await a_flag(network, made.risk_flag_id)).assessment_id == made.assessment.id


async def test_answers_in_loinc_are_of_the_version_that_is_named(network: Network) -> None:
    items = [item.loinc for item in CURRENT["audit"].items if item.loinc]
    made = await record_coded(network, dict.fromkeys(items, 0), panel_loinc="72110-0", version="alternate-bands")
    assert made.assessment.score.version == "alternate-bands"
    with pytest.raises(InvalidInput, match="INSTRUMENT_VERSION_UNKNOWN"):
        await record_coded(network, dict.fromkeys(items, 0), panel_loinc="72110-0", version="tea")


@pytest.mark.parametrize(
    ("coded", "panel", "reason"),
    [
        ({"99999-9": 1}, "", "LOINC_UNKNOWN"),
        ({"44250-9": 1}, "70221-7", "LOINC_UNKNOWN"),
        ({"44250-9": "LA1-1"}, "", "ANSWER_CODE_UNKNOWN"),
        ({"44250-9": 4}, "", "ANSWER_OUT_OF_RANGE"),
        ({"not a code": 4}, "", "FIELD_INVALID"),
    ],
)
async def test_codes_that_no_instrument_has_are_refused_and_nothing_is_recorded(
    network: Network, coded: dict[str, str | int], panel: str, reason: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await record_coded(network, coded, panel_loinc=panel)
    assert refused.value.reason == reason
