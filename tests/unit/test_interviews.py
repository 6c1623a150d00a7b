"""What interviews say of facts, and that what nobody was asked stays unknown."""

from collections.abc import Mapping
from typing import Any

import pytest

from stepway.intake.v1 import workup_section_pb2 as contract
from stepway_intake.domain.facts import GRADES, SCALES, Facts
from stepway_intake.domain.interviews import facts_in
from stepway_intake.domain.sections import Form

SURE: frozenset[str] = frozenset()


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


def test_every_word_of_the_contract_that_is_read_is_one_of_the_scale() -> None:
    told = [name for name in contract.Support.DESCRIPTOR.values_by_name if name != "SUPPORT_UNSPECIFIED"]
    heard = [facts_in({"supports": {"at_home": each, "safe_at_home": "TOLD_YES"}}) for each in told]
    assert all(each.known["supports"] in SCALES["supports"] for each in heard)
    grades = [name for name in contract.ClinicalRisk.DESCRIPTOR.values_by_name if name != "CLINICAL_RISK_UNSPECIFIED"]
    found = [facts_in({"medical_evaluation": {"medical_instability": each}}) for each in grades]
    assert [each.known["medical_instability"] for each in found] == list(GRADES)
    assert set(contract.WithdrawalSign.keys()) >= {"WITHDRAWAL_SIGN_SEIZURE", "WITHDRAWAL_SIGN_DELIRIUM"}
