"""Levels of care over gRPC: suggested from what is known, by whose rules, and decided on once at a time."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from stepway.intake.v1 import assessment_pb2, level_of_care_pb2
from stepway.intake.v1.assessment_service_pb2 import RecordAssessmentRequest
from stepway.intake.v1.hand_off_service_pb2 import ListHandOffsRequest
from stepway.intake.v1.level_of_care_service_pb2 import (
    GetLevelOfCareDecisionRequest,
    GetLevelOfCareSuggestionRequest,
    SuggestLevelOfCareRequest,
)
from stepway.intake.v1.level_of_care_suggestion_pb2 import AgeGroup, LevelOfCareFacts
from stepway.intake.v1.risk_service_pb2 import AcknowledgeRiskFlagRequest, RecordDispositionRequest
from stepway.intake.v1.workup_service_pb2 import SaveWorkupSectionRequest
from stepway_chassis.errors import Conflict, InvalidInput, Refusal
from stepway_chassis.times import to_proto
from stepway_cli.sites import SiteRecord, apply
from tests.cases import At, a_decision, a_workup, an_admission
from tests.network import Network, a_referral, phq_9
from tests.waiting import until

SITE = "millbrook"
SOMEBODY = {"family_name": "Ovelmoor"}
HIGH = "FACT_GRADE_HIGH"
WELL: dict[str, Any] = {
    **dict.fromkeys(("risk", "withdrawal_risk", "medical_instability", "psychiatric_instability"), "FACT_GRADE_NONE"),
    "impairment": "FACT_GRADE_NONE",
    "supports": "HOME_SUPPORT_STRONG",
    "responsibilities": "DAILY_RESPONSIBILITIES_MANAGED",
    "treatment_history": "EARLIER_TREATMENT_NO_SETBACK",
    "hours_needed": 9,
}
STRICT = {
    "name": "north-mutual/2",
    "otherwise": "outpatient",
    "fresh_days": 7,
    "rules": [
        {"code": "danger", "level": "inpatient", "text": "In danger.", "when": {"fact": "risk", "from": "high"}},
        {
            "code": "ten_hours",
            "level": "intensive_outpatient",
            "text": "Ten hours or more.",
            "when": {"fact": "hours_needed", "from": 10},
        },
    ],
}
SETTINGS = {
    "short_name": "Millbrook",
    "phone": "212-555-0177",
    "email": "office@millbrook.example.org",
    "on_call": [{"clinician": "staff-1", "email": "one@millbrook.example.org"}],
    "level_of_care": {"payers": {"north-mutual": STRICT}},
}


@pytest_asyncio.fixture(scope="module")
async def at(network: Network) -> At:
    """A site that only these tests know, with rules of a payer's."""
    for service in ("intake", "notifications"):
        url = network.platform.database_url(service, "registrar")
        await apply(url, [SiteRecord(SITE, "UTC", 1, SETTINGS)])
    here = At(network, SITE)

    async def answers() -> bool:
        try:
            await here.call("intake", "HandOffService/ListHandOffs", ListHandOffsRequest())
        except Refusal:
            return False
        return True

    await until(answers)
    return here


async def screened(
    at: At, answers: tuple[int, ...] = (0,) * 9, anxiety: int | None = 0, born: str = "1990-04-01", **changes: Any
) -> Any:
    person = {"family_name": "Ovelmoor", "birth_date": born}
    received = await at.call("intake", "ReferralService/ReceiveReferral", a_referral(person=person))
    await at.call("intake", "AssessmentService/RecordAssessment", phq_9(received.referral.id, list(answers), **changes))
    if anxiety is not None:
        gad_7 = phq_9(received.referral.id, [anxiety] * 7, instrument="INSTRUMENT_GAD_7", **changes)
        await at.call("intake", "AssessmentService/RecordAssessment", gad_7)
    return received.referral


def a_screener(referral: str, answers: tuple[int, ...] = (1, 1, 0, 1, 0, 0, 0)) -> RecordAssessmentRequest:
    """Of somebody in danger: intent within the month."""
    return phq_9(referral, list(answers), instrument="INSTRUMENT_C_SSRS_SCREENER")


async def heard(at: At, workup: str, section: dict[str, Any]) -> None:
    request = SaveWorkupSectionRequest(request_id=str(uuid4()), workup_id=workup, section=section)
    await at.call("intake", "WorkupService/SaveWorkupSection", request)


async def suggested(at: At, referral: str, *, payer: str = "", **facts: Any) -> Any:
    request = SuggestLevelOfCareRequest(request_id=str(uuid4()), referral_id=referral, facts=facts, payer=payer)
    return (await at.call("intake", "LevelOfCareService/SuggestLevelOfCare", request)).suggestion


async def decided(at: At, referral: str, level: str, **changes: Any) -> Any:
    request = a_decision(referral, level=f"LEVEL_OF_CARE_{level}", **changes)
    return (await at.call("intake", "LevelOfCareService/DecideLevelOfCare", request)).decision


async def refused(call: Any) -> str:
    with pytest.raises(Refusal) as refusal:
        await call
    return refusal.value.reason


def level(found: Any) -> str:
    return level_of_care_pb2.LevelOfCare.Name(found).removeprefix("LEVEL_OF_CARE_")


async def test_what_is_suggested_names_its_reasons_its_facts_and_the_version_of_its_rules(at: At) -> None:
    referral = await screened(at)
    made = await suggested(at, referral.id, **WELL)
    assert (level(made.level), level(made.at_least)) == ("INTENSIVE_OUTPATIENT", "INTENSIVE_OUTPATIENT")
    assert [(reason.code, level(reason.level)) for reason in made.reasons] == [
        ("hours_of_a_programme", "INTENSIVE_OUTPATIENT")
    ]
    assert made.facts == LevelOfCareFacts(**WELL)
    assert {band.instrument: band.band for band in made.bands} == {"phq-9": "minimal", "gad-7": "minimal"}
    assert (list(made.missing), made.rule_set.partition("@")[0]) == ([], "stepway/1")
    get = GetLevelOfCareSuggestionRequest(suggestion_id=made.id)
    assert (await at.call("intake", "LevelOfCareService/GetLevelOfCareSuggestion", get)).suggestion == made


async def test_nothing_is_suggested_from_what_is_missing_and_it_is_named(at: At) -> None:
    referral = await screened(at, anxiety=None)
    made = await suggested(at, referral.id, **{**WELL, "risk": "FACT_GRADE_UNSPECIFIED", "hours_needed": None})
    assert (level(made.level), level(made.at_least), list(made.reasons)) == ("UNSPECIFIED", "UNSPECIFIED", [])
    assert list(made.missing) == ["hours_needed", "risk"]
    assert not made.facts.HasField("hours_needed")


async def test_whoever_is_not_of_age_needs_fewer_hours_for_a_programme(at: At) -> None:
    hours = {**WELL, "hours_needed": 7}
    made = [
        await suggested(at, (await screened(at, born=born)).id, **hours)
        for born in ("", "1990-04-01", f"{datetime.now(UTC).year - 15}-06-01")
    ]
    assert [level(each.level) for each in made] == ["UNSPECIFIED", "OUTPATIENT", "INTENSIVE_OUTPATIENT"]
    assert list(made[0].missing) == ["age_group"]
    ages = ["AGE_GROUP_UNSPECIFIED", "AGE_GROUP_ADULT", "AGE_GROUP_ADOLESCENT"]
    assert [AgeGroup.Name(each.age_group) for each in made] == ages


async def test_answers_that_are_too_old_for_the_rules_are_no_facts(at: At) -> None:
    old = to_proto(datetime.now(UTC) - timedelta(days=31))
    referral = await screened(at, answered_at=old)
    made = await suggested(at, referral.id, **{**WELL, "impairment": "FACT_GRADE_LOW", "hours_needed": 0})
    assert (list(made.bands), list(made.missing)) == ([], ["band.gad-7", "band.phq-9"])


async def test_the_newest_answers_count_and_where_they_have_no_total_there_is_no_band(at: At) -> None:
    referral = await screened(at, (3,) * 8 + (0,))
    facts = {**WELL, "impairment": "FACT_GRADE_LOW", "hours_needed": 0}
    made = await suggested(at, referral.id, **facts)
    assert (level(made.level), [reason.code for reason in made.reasons]) == (
        "INTENSIVE_OUTPATIENT",
        ["severe_symptoms"],
    )
    unfinished = phq_9(referral.id, [None] * 8 + [0])
    await at.call("intake", "AssessmentService/RecordAssessment", unfinished)
    made = await suggested(at, referral.id, **facts)
    assert (level(made.level), list(made.missing)) == ("UNSPECIFIED", ["band.phq-9"])


async def test_what_a_workup_has_heard_counts_until_a_clinician_says_otherwise(at: At) -> None:
    referral = await screened(at)
    workup = (await at.call("intake", "WorkupService/StartWorkup", a_workup(referral.id))).workup.id
    evaluation = {
        "evaluated_on": datetime.now(UTC).date().isoformat(),
        "examiner": "Dr. Ambrusker",
        "withdrawal_risk": "CLINICAL_RISK_HIGH",
        "medical_instability": "CLINICAL_RISK_NONE",
        "clearance": "MEDICAL_CLEARANCE_CLEARED",
    }
    home = {"at_home": "SUPPORT_STRONG", "safe_at_home": "TOLD_NOT_ASKED"}
    for form in ({"medical_evaluation": evaluation}, {"supports": home}):
        await heard(at, workup, form)
    stated = {fact: value for fact, value in WELL.items() if fact not in ("withdrawal_risk", "supports")}
    made = await suggested(at, referral.id, **stated)
    assert [reason.code for reason in made.reasons][:1] == ["withdrawal_needs_watching"]
    assert (level(made.at_least), list(made.missing)) == ("INPATIENT", ["supports"])
    assert (made.facts.supports, made.facts.withdrawal_risk) == (1, 4)
    assert level((await suggested(at, referral.id, **WELL)).level) == "INTENSIVE_OUTPATIENT"
    for day in (evaluation["evaluated_on"], "2001-03-04"):  # it stands until a later one clears them
        not_cleared = {**evaluation, "clearance": "MEDICAL_CLEARANCE_NOT_CLEARED", "evaluated_on": day}
        await heard(at, workup, {"medical_evaluation": not_cleared})
        assert list((await suggested(at, referral.id, **WELL)).missing) == ["medical_instability"]
    assert await refused(decided(at, referral.id, "INTENSIVE_OUTPATIENT")) == "OVERRIDE_MISSING"
    await heard(at, workup, {"medical_evaluation": {**evaluation, "evaluated_on": "2001-03-04"}})
    assert not (await suggested(at, referral.id)).facts.withdrawal_risk


async def test_a_screening_says_what_risk_there_is_at_least(at: At) -> None:
    referral = await screened(at)
    await at.call("intake", "AssessmentService/RecordAssessment", a_screener(referral.id))
    made = await suggested(at, referral.id, **{**WELL, "risk": "FACT_GRADE_UNSPECIFIED"})
    assert (level(made.level), level(made.at_least), made.risk_may_be_higher) == ("UNSPECIFIED", "INPATIENT", True)


async def test_a_total_that_is_to_be_treated_as_the_next_band_up_counts_as_that(at: At) -> None:
    referral = await screened(at)
    someone_is_worried = phq_9(referral.id, [1, *[0] * 7, 2, 4], instrument="INSTRUMENT_AUDIT")
    scored = (await at.call("intake", "AssessmentService/RecordAssessment", someone_is_worried)).assessment.score
    assert (scored.total, scored.band) == (7, assessment_pb2.SEVERITY_BAND_ZONE_1)
    made = await suggested(at, referral.id, **WELL)
    assert {band.instrument: band.band for band in made.bands}["audit"] == "zone_2"


async def test_while_a_risk_flag_is_open_no_word_on_the_risk_is_the_last(at: At) -> None:
    referral = await screened(at, (0,) * 8 + (1,))
    made = await suggested(at, referral.id, **WELL)
    assert (level(made.level), level(made.at_least)) == ("UNSPECIFIED", "INTENSIVE_OUTPATIENT")
    assert (list(made.missing), made.risk_may_be_higher) == (["risk"], True)
    made = await suggested(at, referral.id, **{**WELL, "risk": HIGH})
    assert (level(made.level), made.risk_may_be_higher) == ("INPATIENT", False)


async def test_a_flag_counts_until_it_is_on_record_what_was_done_whoever_has_taken_it_and_whatever_is_answered_later(
    at: At,
) -> None:
    referral = await screened(at)
    flag = (await at.call("intake", "AssessmentService/RecordAssessment", a_screener(referral.id))).risk_flag_id
    await at.call("intake", "AssessmentService/RecordAssessment", a_screener(referral.id, (0,) * 7))
    take = AcknowledgeRiskFlagRequest(request_id=str(uuid4()), risk_flag_id=flag)
    await at.call("intake", "RiskService/AcknowledgeRiskFlag", take)
    made = await suggested(at, referral.id, **WELL)
    assert (level(made.level), level(made.at_least), made.risk_may_be_higher) == ("UNSPECIFIED", "INPATIENT", True)
    assert await refused(decided(at, referral.id, "OUTPATIENT")) == "OVERRIDE_MISSING"
    done = {"disposition": "RISK_DISPOSITION_NO_ACUTE_RISK", "note": "spoken with"}
    dispose = RecordDispositionRequest(request_id=str(uuid4()), risk_flag_id=flag, **done)
    await at.call("intake", "RiskService/RecordDisposition", dispose)
    made = await suggested(at, referral.id, **WELL)
    assert (level(made.level), made.risk_may_be_higher) == ("INTENSIVE_OUTPATIENT", False)


async def test_a_suggestion_is_overtaken_by_a_flag_that_was_raised_since(at: At) -> None:
    referral = await screened(at)
    await suggested(at, referral.id, **WELL)
    await at.call("intake", "AssessmentService/RecordAssessment", a_screener(referral.id))
    assert await refused(decided(at, referral.id, "INTENSIVE_OUTPATIENT")) == "SUGGESTION_OUTDATED"
    newer = await suggested(at, referral.id, **WELL)
    assert (await decided(at, referral.id, "INPATIENT")).suggestion_id == newer.id


async def test_a_payers_own_rules_count_for_its_patients_and_no_others(at: At) -> None:
    referral = await screened(at)
    theirs = await suggested(at, referral.id, payer="north-mutual", **WELL)
    assert (level(theirs.level), theirs.payer, theirs.rule_set.partition("@")[0]) == (
        *("OUTPATIENT", "north-mutual"),
        "north-mutual/2",
    )
    other = await suggested(at, referral.id, payer="south-mutual", **WELL)
    assert (level(other.level), other.rule_set.partition("@")[0]) == ("INTENSIVE_OUTPATIENT", "stepway/1")


async def test_the_decision_keeps_what_was_suggested_why_it_went_another_way_and_what_a_licensed_tool_said(
    at: At,
) -> None:
    referral = await screened(at)
    made = await suggested(at, referral.id, **WELL)
    told = {
        "tool": "a licensed tool",
        "edition": "4th",
        "scores": [{"label": "1", "value": "2b"}, {"label": "2", "value": "0"}],
        "level": "2.5",
        "evaluator": "Dr. Ambrusker",
        "evaluated_at": to_proto(datetime(2026, 11, 20, tzinfo=UTC)),
    }
    why = {"reason": "OVERRIDE_REASON_CLINICAL_JUDGEMENT", "text": "needs a doctor daily"}
    by_day = "PARTIAL_HOSPITALIZATION"
    assert await refused(decided(at, referral.id, by_day, suggestion_id=made.id)) == "OVERRIDE_MISSING"
    decision = await decided(at, referral.id, by_day, suggestion_id=made.id, override=why, tool_results=[told])
    assert (decision.suggestion_id, decision.rule_set, decision.suggested_level) == (made.id, made.rule_set, made.level)
    assert decision.override == level_of_care_pb2.Override(**why)
    assert list(decision.tool_results) == [level_of_care_pb2.ToolResult(**told)]
    get = GetLevelOfCareDecisionRequest(decision_id=decision.id)
    assert (await at.call("intake", "LevelOfCareService/GetLevelOfCareDecision", get)).decision == decision


async def test_a_decision_below_what_the_known_facts_ask_for_needs_a_reason_although_others_are_missing(at: At) -> None:
    referral = await screened(at)
    await suggested(at, referral.id, hours_needed=20)
    assert await refused(decided(at, referral.id, "INTENSIVE_OUTPATIENT")) == "OVERRIDE_MISSING"
    assert level((await decided(at, referral.id, "RESIDENTIAL")).suggested_level) == "UNSPECIFIED"


async def test_who_decides_on_a_suggestion_that_was_overtaken_has_to_look_again(at: At) -> None:
    referral = await screened(at)
    first, second = [await suggested(at, referral.id, hours_needed=hours) for hours in (9, 20)]
    stale = decided(at, referral.id, "INTENSIVE_OUTPATIENT", suggestion_id=first.id)
    assert await refused(stale) == "SUGGESTION_OUTDATED"
    assert (await decided(at, referral.id, "INPATIENT", suggestion_id=second.id)).suggestion_id == second.id


async def test_of_clinicians_who_decide_at_once_one_has_decided_and_the_others_hear_so(at: At) -> None:
    referral = await screened(at)
    levels = ["OUTPATIENT", "INTENSIVE_OUTPATIENT", "RESIDENTIAL", "INPATIENT"]
    answers = await asyncio.gather(
        *(
            at.network.call(
                "stepway.intake.v1.LevelOfCareService/DecideLevelOfCare",
                a_decision(referral.id, level=f"LEVEL_OF_CARE_{each}"),
                role="clinician",
                site=SITE,
                subject=f"clinician-{each.lower()}",
            )
            for each in levels
        ),
        return_exceptions=True,
    )
    decisions = [each.decision for each in answers if not isinstance(each, BaseException)]
    refusals = [each for each in answers if isinstance(each, BaseException)]
    assert len(decisions) == 1
    assert [getattr(each, "reason", each) for each in refusals] == ["LEVEL_OF_CARE_ALREADY_DECIDED"] * 3
    assert all(isinstance(each, Conflict) for each in refusals)
    kept = at.network.rows(
        "intake", f"SELECT id, decided_by FROM level_of_care_decision WHERE referral_id = '{referral.id}'"
    )
    assert kept == [{"id": decisions[0].id, "decided_by": decisions[0].decided_by}]
    said = f"SELECT count(*) FROM outbox WHERE aggregate_id = '{decisions[0].id}'"
    assert at.network.rows("intake", said) == [{"count": 1}]
    audited = at.network.rows(
        "intake",
        "SELECT outcome, count(*) FROM audit WHERE action LIKE '%/DecideLevelOfCare'"
        f" AND people = ARRAY['{referral.patient_id}'::uuid] GROUP BY outcome ORDER BY outcome",
    )
    assert audited == [{"outcome": "DONE", "count": 1}, {"outcome": "REFUSED", "count": 3}]


async def test_of_clinicians_who_decide_again_at_once_one_has_and_the_decision_before_says_so(at: At) -> None:
    referral = await screened(at)
    first = await decided(at, referral.id, "INTENSIVE_OUTPATIENT")
    levels = ["PARTIAL_HOSPITALIZATION", "RESIDENTIAL", "INPATIENT"]
    answers = await asyncio.gather(
        *(decided(at, referral.id, each, replaces_decision_id=first.id) for each in levels), return_exceptions=True
    )
    (second,) = [each for each in answers if not isinstance(each, BaseException)]
    assert [each.reason for each in answers if isinstance(each, Conflict)] == ["DECISION_OUTDATED"] * 2
    assert (second.replaces_decision_id, second.replaced_by_decision_id) == (first.id, "")
    get = GetLevelOfCareDecisionRequest(decision_id=first.id)
    first.replaced_by_decision_id = second.id
    assert (await at.call("intake", "LevelOfCareService/GetLevelOfCareDecision", get)).decision == first
    said = f"SELECT convert_from(payload, 'UTF8')::json AS said FROM outbox WHERE aggregate_id = '{second.id}'"
    assert [row["said"]["replacesDecisionId"] for row in at.network.rows("intake", said)] == [first.id]
    admitting = at.call("intake", "AdmissionService/AdmitPatient", an_admission(referral.id))
    assert await refused(admitting) == "LEVEL_OF_CARE_NOT_OFFERED"
    third = await decided(at, referral.id, "INTENSIVE_OUTPATIENT", replaces_decision_id=second.id)
    assert (await at.call("intake", "AdmissionService/AdmitPatient", an_admission(referral.id))).admission.id
    assert await refused(decided(at, referral.id, "INPATIENT", replaces_decision_id=third.id)) == (
        "LEVEL_OF_CARE_ALREADY_DECIDED"
    )


async def test_a_suggestion_that_crosses_a_decision_is_either_held_against_it_or_unknown_to_it(at: At) -> None:
    for _ in range(5):
        referral = await screened(at)
        crossing = suggested(at, referral.id, hours_needed=20), decided(at, referral.id, "OUTPATIENT")
        made, answer = await asyncio.gather(*crossing, return_exceptions=True)
        assert made.id
        if isinstance(answer, BaseException):
            assert getattr(answer, "reason", answer) == "OVERRIDE_MISSING"
        else:
            assert answer.suggestion_id == ""


def test_the_database_knows_the_levels_and_keeps_a_suggestion_from_being_rewritten(network: Network) -> None:
    definitions = [row["definition"] for row in network.rows("intake", CHECKS)]
    assert all("'intensive_outpatient'::text" in each for each in definitions)
    assert len(definitions) == 6


CHECKS = """
    SELECT pg_get_constraintdef(oid) AS definition FROM pg_constraint
     WHERE contype = 'c' AND pg_get_constraintdef(oid) LIKE '%''residential''%'"""


async def test_rules_that_a_site_wrote_wrongly_are_told_by_their_place(at: At) -> None:
    record = {**SETTINGS, "level_of_care": {"payers": {"north-mutual": {**STRICT, "fresh_days": 0}}}}
    url = at.network.platform.database_url("intake", "registrar")
    await apply(url, [SiteRecord("oddbrook", "UTC", 1, record)])
    there = At(at.network, "oddbrook")
    with pytest.raises(InvalidInput) as refusal:
        await until(lambda: _suggested_or_unknown(there))
    assert (refusal.value.reason, refusal.value.field) == (
        "SITE_SETTING_INVALID",
        "level_of_care.payers.north-mutual.fresh_days",
    )


async def _suggested_or_unknown(there: At) -> Any:
    received = await there.call("intake", "ReferralService/ReceiveReferral", a_referral(person=SOMEBODY))
    return await suggested(there, received.referral.id, payer="north-mutual")
