"""What interviews say of facts, and that what nobody was asked stays unknown."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import pytest

from stepway.intake.v1 import workup_section_pb2 as contract
from stepway_intake.domain.facts import GRADES, SCALES, Facts, is_known, with_record
from stepway_intake.domain.interviews import facts_in, of_late, standing_in
from stepway_intake.domain.sections import Form

SURE: frozenset[str] = frozenset()
TODAY, MONTH = date(2026, 11, 30), timedelta(days=30)


@pytest.mark.parametrize(
    ("sections", "known", "may_be_worse"),
    [
        ({}, {}, SURE),
        ({"goals": {"goals": [{"words": "sleep"}]}, "psychosocial": {"narrative": "tired"}}, {}, SURE),
        ({"supports": {"at_home": "SUPPORT_STRONG", "safe_at_home": "TOLD_YES"}}, {"supports": "strong"}, SURE),
        ({"supports": {"at_home": "SUPPORT_STRONG", "safe_at_home": "TOLD_NO"}}, {"supports": "unsafe"}, SURE),
        (
            {"supports": {"at_home": "SUPPORT_STRONG", "safe_at_home": "TOLD_NOT_ASKED"}},
            {"supports": "strong"},
            frozenset({"supports"}),
        ),
        (
            {"supports": {"at_home": "SUPPORT_WEAK", "safe_at_home": "TOLD_YES"}},
            {"supports": "some"},
            frozenset({"supports"}),
        ),
        ({"supports": {"at_home": "SUPPORT_HARMFUL"}}, {"supports": "unsafe"}, SURE),
        ({"responsibilities": {"able_to_manage": True}}, {"responsibilities": "managed"}, SURE),
        ({"responsibilities": {"responsibilities": []}}, {}, SURE),
        ({"substance_use": {"none": True}}, {"withdrawal_risk": "none"}, SURE),
        ({"substance_use": {"substances": [{"withdrawal_signs": ["WITHDRAWAL_SIGN_TREMOR"]}]}}, {}, SURE),
        (
            {"substance_use": {"substances": [{}, {"withdrawal_signs": ["WITHDRAWAL_SIGN_SEIZURE"]}]}},
            {"withdrawal_risk": "moderate"},
            frozenset({"withdrawal_risk"}),
        ),
    ],
)
def test_an_interview_says_no_more_than_was_heard(
    sections: Mapping[str, Form], known: Mapping[str, str], may_be_worse: frozenset[str]
) -> None:
    assert facts_in(sections) == Facts(known, may_be_worse)


@pytest.mark.parametrize("grade", GRADES)
def test_the_examiners_word_is_the_last_on_what_was_examined(grade: str) -> None:
    told = f"CLINICAL_RISK_{grade.upper()}"
    sections: dict[str, dict[str, Any]] = {
        "medical_evaluation": {"withdrawal_risk": told, "medical_instability": told},
        "substance_use": {"substances": [{"withdrawal_signs": ["WITHDRAWAL_SIGN_DELIRIUM"]}]},
    }
    for order in (sections, dict(reversed(sections.items()))):
        assert facts_in(order) == Facts({"withdrawal_risk": grade, "medical_instability": grade})


@pytest.mark.parametrize("grade", GRADES)
def test_what_somebody_says_of_their_use_takes_nothing_from_what_the_examiner_found(grade: str) -> None:
    sections: dict[str, dict[str, Any]] = {
        "medical_evaluation": {"withdrawal_risk": f"CLINICAL_RISK_{grade.upper()}"},
        "substance_use": {"none": True},
    }
    for order in (sections, dict(reversed(sections.items()))):
        assert facts_in(order) == Facts({"withdrawal_risk": grade})


def an_evaluation(day: str, **changes: str) -> Mapping[str, Form]:
    told = {"medical_instability": "CLINICAL_RISK_NONE", "clearance": "MEDICAL_CLEARANCE_CLEARED", **changes}
    return {"medical_evaluation": {"evaluated_on": day, "withdrawal_risk": "CLINICAL_RISK_NONE", **told}}


def test_an_evaluation_is_as_old_as_it_says_and_an_interview_as_its_workup() -> None:
    home = {"supports": {"at_home": "SUPPORT_STRONG", "safe_at_home": "TOLD_YES"}}
    assert of_late([(TODAY, {**home, **an_evaluation("2001-03-04")})], TODAY - MONTH) == home
    made_since = an_evaluation("2026-11-20")
    assert of_late([(TODAY - 2 * MONTH, {**home, **made_since})], TODAY - MONTH) == made_since
    assert of_late([(TODAY - MONTH, home)], TODAY - MONTH) == home


def test_of_two_evaluations_the_later_counts_and_not_the_one_that_was_written_down_last() -> None:
    later, earlier = an_evaluation("2026-11-20"), an_evaluation("2026-11-02")
    for workups in ([(TODAY - MONTH, later), (TODAY, earlier)], [(TODAY - MONTH, earlier), (TODAY, later)]):
        assert of_late(workups, TODAY - MONTH) == later
    assert of_late([(TODAY, earlier), (TODAY, later)], date(2026, 11, 21)) == {}


@pytest.mark.parametrize("examined", GRADES)
@pytest.mark.parametrize("stated", [None, *GRADES])
def test_whoever_was_not_cleared_is_unstable_whatever_else_is_said(examined: str, stated: str | None) -> None:
    grade = f"CLINICAL_RISK_{examined.upper()}"
    forms = an_evaluation("2026-11-20", medical_instability=grade, clearance="MEDICAL_CLEARANCE_NOT_CLEARED")
    said = Facts({"medical_instability": stated} if stated else {})
    found = with_record(said, {}, interviews=facts_in(forms), standing=standing_in(forms), age_group=None)
    worst = max("moderate", examined, stated or "none", key=GRADES.index)
    assert found.known["medical_instability"] == worst
    assert is_known("medical_instability", found) is (stated == "high")


@pytest.mark.parametrize("clearance", ["CLEARED", "CLEARED_WITH_CONDITIONS"])
def test_whoever_was_cleared_is_as_the_examiner_says(clearance: str) -> None:
    assert standing_in(an_evaluation("2026-11-20", clearance=f"MEDICAL_CLEARANCE_{clearance}")) == Facts({})
    assert standing_in({}) == Facts({})


def test_every_word_of_the_contract_that_is_read_is_one_of_the_scale() -> None:
    told = [name for name in contract.Support.DESCRIPTOR.values_by_name if name != "SUPPORT_UNSPECIFIED"]
    heard = [facts_in({"supports": {"at_home": each, "safe_at_home": "TOLD_YES"}}) for each in told]
    assert all(each.known["supports"] in SCALES["supports"] for each in heard)
    grades = [name for name in contract.ClinicalRisk.DESCRIPTOR.values_by_name if name != "CLINICAL_RISK_UNSPECIFIED"]
    found = [facts_in({"medical_evaluation": {"medical_instability": each}}) for each in grades]
    assert [each.known["medical_instability"] for each in found] == list(GRADES)
    assert "MEDICAL_CLEARANCE_NOT_CLEARED" in contract.MedicalClearance.DESCRIPTOR.values_by_name
    assert set(contract.WithdrawalSign.keys()) >= {"WITHDRAWAL_SIGN_SEIZURE", "WITHDRAWAL_SIGN_DELIRIUM"}
