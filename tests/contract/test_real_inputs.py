"""Real and published input, where it is there, and our own, which always is."""

import csv
import io
import json
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from stepway.intake.v1.assessment_pb2 import INSTRUMENT_GAD_7, INSTRUMENT_PHQ_9
from stepway_chassis.errors import InvalidInput
from stepway_cli.answers import read_answers
from stepway_cli.fhir.answered import with_answers
from stepway_cli.fhir.referrals import Import, Reading, read_referrals
from stepway_intake.instruments import coded
from stepway_intake.instruments.catalogue import CURRENT, GAD_7, PHQ_9
from stepway_intake.instruments.definition import Risk
from stepway_intake.instruments.scoring import risk_of, score
from tests import golden
from tests.data import DEMO_DATA, TEST_DATA, documents, resources

TODAY = date(2026, 11, 21)
FORMS = {INSTRUMENT_PHQ_9: PHQ_9, INSTRUMENT_GAD_7: GAD_7}

# Scoring


def our_case(instrument: str, said: Any, expect: Any) -> dict[str, Any]:
    return {"instrument": instrument, "input": said, "expect": expect}


OUR_CASES = [
    our_case("PHQ-9", [1, 2, 1, None, 1, 1, 1, 0, 1], {"total": 9, "band": "mild", "missing": 1, "item9_flag": True}),
    our_case(
        "PHQ-9",
        [0, 3, 2, 2, 2, 0, 0, 0, 1],
        {"total": 10, "band": "moderate", "missing": 0, "item9_flag": True, "algorithm": "major"},
    ),
    our_case("GAD-7", [2, 3, 2, 3, 2, 2, None], {"total": 16, "band": "severe", "missing": 1}),
    our_case("C-SSRS screener", {"q1": 1, "q2": 1, "q3": 0, "q4": 0, "q5": 1}, "high"),
    our_case("AUDIT", [2, 1, 1, 2, 0, 0, 1, 0, 0, 2], {"total": 9, "band": "zone2", "dependence": 2, "harm": 3}),
    our_case("AUDIT-C", {"a": [1, 1, 1], "sex": "M"}, {"total": 3, "positive": False, "q1_only": False}),
    our_case("DAST-10 (item 3 reversed wording)", [1, 0, 0, 1, 0, 0, 0, 0, 0, 0], {"total": 3, "band": "moderate"}),
    our_case(
        "PCL-5", [4] * 5 + [1] * 2 + [1] * 7 + [1, 1, 1, 0, 0, 1], {"total": 33, "cut33": True, "dsm_rule": False}
    ),
    our_case("MDQ", {"y13": [1] * 8 + [0] * 5, "same": False, "problem": "serious"}, {"count": 8, "positive": False}),
    our_case("WHODAS-12 simple 0-4", [None, *[3] * 11], {"total": 36, "pct": 75.0}),
    our_case("WHODAS-12 simple 0-4", [None, None, *[3] * 10], {"total": None, "pct": None}),
    our_case("EDE-QS", [3, 3, 3, 3, 2, None, *[0] * 6], {"total": 15, "positive": True}),  # 14 x 12 / 11 = 15.3
    our_case("SCOFF", [0, 1, 0, 1, 0], {"total": 2, "positive": True}),
    our_case("BAM categorical", {"4": 1, "5": 0, "6": 0, "1": 2}, {"use": 1, "risk": None, "protective": None}),
    our_case("PHQ-A/PHQ-9M", [2, *[1] * 7, 0, 0, 0, 0, 1], {"total": 9, "band": "mild", "item9_flag": True}),
]


def published_cases() -> list[dict[str, Any]]:
    path = TEST_DATA / "instruments" / "golden_scores.json"
    return json.loads(path.read_bytes()) if path.exists() else []


@pytest.mark.parametrize("case", OUR_CASES + published_cases())
def test_a_case_scores_as_published(case: dict[str, Any]) -> None:
    assert golden.results(case) == golden.expected(case)


def test_every_published_case_is_among_them_and_each_instrument_has_one_of_ours() -> None:
    assert len(published_cases()) in (0, 63)
    assert {golden.NAMES[case["instrument"]] for case in OUR_CASES} == set(CURRENT)


def total_item(total: int) -> dict:
    return {"linkId": f"/{PHQ_9.total_loinc}", "answer": [{"valueDecimal": total}]}


OUR_RESPONSE = {
    "resourceType": "QuestionnaireResponse",
    "item": [
        *({"linkId": f"/{item.loinc}", "answer": [{"valueCoding": {"code": "LA6569-3"}}]} for item in PHQ_9.items[:9]),
        total_item(9),
    ],
}


def published(kind: str) -> list[dict[str, Any]]:
    paths = [TEST_DATA / "fhir" / "us_core" / f"{name}.json" for name in kind.split()]
    return [json.loads(path.read_bytes()) for path in paths if path.exists()]


def coded_items(response: dict[str, Any]) -> dict[str, Any]:
    """By the LOINC code that stands in the linkId, what was answered."""
    answers = {item["linkId"].removeprefix("/"): item["answer"][0] for item in response["item"]}
    return {
        code: said["valueCoding"]["code"] if "valueCoding" in said else said["valueDecimal"]
        for code, said in answers.items()
    }


@pytest.mark.parametrize("response", [OUR_RESPONSE, *published("QuestionnaireResponse-phq-9-example")])
def test_a_questionnaire_response_scores_the_total_that_it_states(response: dict[str, Any]) -> None:
    said = coded_items(response)
    definition, answers = coded.read(said)
    assert (definition.name, score(definition, answers).total) == ("phq-9", said[PHQ_9.total_loinc])


def test_an_audit_c_that_asks_for_days_of_bingeing_instead_of_item_1_is_refused() -> None:
    ours = {"68517-2": 0, "68519-8": "LA15694-5", "68520-6": "LA6270-8", "75626-2": 0}
    for said in (ours, *map(coded_items, published("QuestionnaireResponse-AUDIT-C"))):
        with pytest.raises(InvalidInput, match="LOINC_UNKNOWN"):
            coded.read(said)


PHQ_9_OBSERVATIONS = " ".join(f"Observation-PHQ9-item-example-{item.loinc}" for item in PHQ_9.items)
OUR_OBSERVATIONS = [
    {"code": {"coding": [{"code": item.loinc}]}, "valueCodeableConcept": {"coding": [{"code": code}]}}
    for item, code in zip(PHQ_9.items, [*["LA6569-3"] * 9, "LA6572-7"], strict=True)
]


@pytest.mark.parametrize(
    ("observations", "total"),
    [(OUR_OBSERVATIONS, 9), *([(published(PHQ_9_OBSERVATIONS), 12)] if published(PHQ_9_OBSERVATIONS) else [])],
)
def test_the_observations_of_a_panel_score_the_total_of_the_panel(
    observations: list[dict[str, Any]], total: int
) -> None:
    said = {each["code"]["coding"][0]["code"]: _observed(each) for each in observations}
    definition, answers = coded.read(said)
    assert (definition.name, score(definition, answers).total) == ("phq-9", total)


def _observed(observation: dict[str, Any]) -> str:
    return str(observation["valueCodeableConcept"]["coding"][0]["code"])


# Answers in FHIR


def published_files(*kinds: str) -> list[tuple[str, bytes]]:
    """HL7's Patient whom all is about, and its example of a PHQ-9 in resources of these kinds."""
    files = documents(TEST_DATA / "fhir" / "us_core")
    return [file for file in files if file[0].startswith(kinds)]


@pytest.mark.parametrize("kind", ["QuestionnaireResponse-phq-9", "Observation-PHQ9", "Q"])
def test_the_published_answers_are_read_as_one_phq_9_of_12(kind):
    found = Reading(published_files("patient-example", kind), today=TODAY, wanted=with_answers)
    filled = [each for ready in found.ready() for each in ready.filled]
    if not (TEST_DATA / "fhir" / "us_core").exists():
        assert filled == []
        return
    (sheet,) = (each.sheet for each in filled if each.sheet.instrument == INSTRUMENT_PHQ_9)
    assert (score(PHQ_9, sheet.answers).total, sheet.stated_total) == (12, 12)


def test_every_published_resource_ends_in_one_place_with_answers_too():
    found = Reading(documents(TEST_DATA / "fhir" / "us_core"), today=TODAY, wanted=with_answers)
    taken = [name for ready in found.ready() for name in ready.made_of]
    assert found.read == len(taken) + len(found.refused) + sum(note.resources for note in found.notes)


# Answers in tables


@dataclass(frozen=True)
class ExpectedAnswers:
    path: Path
    people: int
    ignored: list[str]
    item_nine: Counter[Risk]


ANSWER_FILES = [
    ExpectedAnswers(
        DEMO_DATA / "answers.csv",
        people=6,
        ignored=[],
        item_nine=Counter({Risk.PRESENT: 2, Risk.NONE: 3, Risk.UNANSWERED: 1}),
    ),
    ExpectedAnswers(
        TEST_DATA / "instruments" / "ukm_items.csv",
        people=112,
        ignored=[*(f"S{item}" for item in range(1, 11)), "BMI"],
        item_nine=Counter({Risk.PRESENT: 38, Risk.NONE: 74}),
    ),
]


@pytest.mark.parametrize("expected", [file for file in ANSWER_FILES if file.path.exists()], ids=lambda f: f.path.name)
def test_every_row_of_real_answers_is_read_and_scored(expected):
    read = read_answers(expected.path.read_bytes())
    assert (len(read.people), read.refused, read.ignored_columns) == (expected.people, [], expected.ignored)
    assert Counter(risk_of(PHQ_9, person.answers[INSTRUMENT_PHQ_9]) for person in read.people) == expected.item_nine
    totals = [score(FORMS[form], answers).total for person in read.people for form, answers in person.answers.items()]
    assert len(totals) == 2 * expected.people
    assert None not in totals


@pytest.mark.parametrize("expected", [file for file in ANSWER_FILES if file.path.exists()], ids=lambda f: f.path.name)
def test_totals_agree_with_a_plain_sum_of_the_columns(expected):
    rows = list(csv.DictReader(io.StringIO(expected.path.read_text())))
    for row, person in zip(rows, read_answers(expected.path.read_bytes()).people, strict=True):
        for instrument, letter in ((INSTRUMENT_PHQ_9, "D"), (INSTRUMENT_GAD_7, "A")):
            cells = [cell for header, cell in row.items() if header.startswith(letter)]
            if all(cells):
                assert score(FORMS[instrument], person.answers[instrument]).total == sum(map(int, cells))


# Referrals


@dataclass(frozen=True)
class ExpectedImport:
    folder: Path
    taken: dict[str, list[str]]  # the patient's file and the kinds of what the referral is made of
    refused: dict[str, str]
    noted: list[str]  # what was left out of a referral
    set_aside: Counter[str]


IMPORTS = [
    ExpectedImport(
        DEMO_DATA / "referrals",
        taken={
            "01-wexmarrow.json": ["Patient", "ServiceRequest", "RelatedPerson"],
            "02-quillarmont.json": ["Patient", "ServiceRequest"],
            "03-thackenby.json": ["Patient", "ServiceRequest", "RelatedPerson"],
            "04-straithorn.json": ["Patient", "ServiceRequest"],
            "05-ovelzhuk.json": ["Patient"],
            "06-ambrusker.json": ["Patient", "ServiceRequest", "RelatedPerson"],
        },
        refused={},
        noted=["05-ovelzhuk.json Patient/ovelzhuk telecom[2]"],
        set_aside=Counter(),
    ),
    ExpectedImport(
        TEST_DATA / "fhir" / "us_core",
        taken={
            "patient-example.json": ["Patient", "ServiceRequest", "RelatedPerson"],
            "patient-child-example.json": ["Patient"],
            "patient-infant-example.json": ["Patient"],
        },
        refused={
            "patient-deceased-example.json Patient/deceased-example": "PATIENT_DECEASED",
            "servicerequest-DNR.json ServiceRequest/servicerequest-dnr-example1": "NOT_A_REFERRAL",
            "servicerequest-bmp.json ServiceRequest/bmp": "NOT_A_REFERRAL",
            "servicerequest-cbc.json ServiceRequest/cbc": "NOT_A_REFERRAL",
            "servicerequest-chest-xray.json ServiceRequest/chest-xray": "NOT_A_REFERRAL",
            "servicerequest-ekg.json ServiceRequest/ekg": "NOT_A_REFERRAL",
            "servicerequest-foodpantry-referral.json ServiceRequest/foodpantry-referral": "NOT_A_REFERRAL",
        },
        noted=[],
        set_aside=Counter(Observation=17, Questionnaire=6, QuestionnaireResponse=7, CareTeam=1, Encounter=3),
    ),
    ExpectedImport(
        TEST_DATA / "fhir" / "patients",
        taken={"bundle_0.json": ["Patient"], "bundle_1.json": ["Patient"], "bundle_2.json": ["Patient"]},
        refused={},
        noted=[],
        set_aside=Counter(
            Condition=123, Encounter=95, Practitioner=16, Organization=9, Location=7, CarePlan=7, CareTeam=7, Coverage=3
        ),
    ),
]
THERE = [expected for expected in IMPORTS if expected.folder.exists()]
EACH_FOLDER = pytest.mark.parametrize("expected", THERE, ids=lambda expected: expected.folder.name)


def kinds(names: tuple[str, ...]) -> list[str]:
    return [name.split(" ")[1].split("/")[0] for name in names]


def set_aside(found: Import) -> Counter[str]:
    lists = [note.message.removeprefix("not part of a referral: ") for note in found.notes if note.resources]
    pairs = [pair.split(" ") for numbers in lists for pair in numbers.split(", ")]
    return sum((Counter({kind: int(number)}) for number, kind in pairs), Counter())


@EACH_FOLDER
def test_a_folder_of_fhir_is_taken_refused_and_set_aside_as_expected(expected):
    found = read_referrals(documents(expected.folder), today=TODAY)
    assert {ready.name.split(" ")[0]: kinds(ready.made_of) for ready in found.referrals} == expected.taken
    assert {refused.name: refused.reason for refused in found.refused} == expected.refused
    assert [note.name for note in found.notes if not note.resources] == expected.noted
    assert set_aside(found) == expected.set_aside


@EACH_FOLDER
def test_every_resource_in_a_folder_ends_in_one_place(expected):
    found = read_referrals(documents(expected.folder), today=TODAY)
    taken = sum(len(ready.made_of) for ready in found.referrals)
    assert found.read == resources(expected.folder)
    assert taken + len(found.refused) + sum(note.resources for note in found.notes) == found.read


@EACH_FOLDER
def test_the_order_of_the_files_changes_nothing(expected):
    forwards = read_referrals(documents(expected.folder), today=TODAY)
    backwards = read_referrals(reversed(documents(expected.folder)), today=TODAY)
    assert sorted(forwards.refused, key=repr) == sorted(backwards.refused, key=repr)
    assert {ready.name: ready.request for ready in forwards.referrals} == {
        ready.name: ready.request for ready in backwards.referrals
    }


@EACH_FOLDER
def test_everybody_in_these_folders_can_be_reached(expected):
    found = read_referrals(documents(expected.folder), today=TODAY)
    assert all(ready.request.person.contact_points for ready in found.referrals)
