"""Answers in FHIR: which instrument they are of, whose, and what is refused."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepway.intake.v1.assessment_pb2 import INSTRUMENT_GAD_7, INSTRUMENT_PHQ_9
from stepway_cli.fhir.answered import with_answers
from stepway_cli.fhir.referrals import Reading, Ready
from stepway_cli.fhir.sheets import Sheet
from stepway_cli.times import Times
from stepway_intake.instruments.catalogue import GAD_7
from tests.bundles import (
    LOINC,
    PHQ_9_ITEMS,
    a_bundle,
    a_panel,
    a_patient,
    a_response,
    an_item,
    an_observation,
    members_of,
)
from tests.conftest import SOAK

TODAY = date(2026, 11, 21)
VALUES = [2, 2, 2, 2, 1, 1, 2, 0, 0]
ROWS = 10_000 if SOAK else 300
CANARY = "Zanzarrow"
ORDINAL = "http://hl7.org/fhir/StructureDefinition/ordinalValue"


def reading(*resources: Any, times: Times | None = None) -> tuple[Reading, list[Ready]]:
    content = json.dumps(a_bundle(*resources)).encode()
    found = Reading([("a.json", content)], today=TODAY, wanted=with_answers, times=times)
    return found, list(found.ready())


def sheets(*resources: Any, times: Times | None = None) -> list[Sheet]:
    found, (ready,) = reading(a_patient("p"), *resources, times=times)
    assert found.refused == []
    return [filled.sheet for filled in ready.filled]


def reasons(*resources: Any) -> list[str]:
    found, ready = reading(a_patient("p"), *resources)
    assert not any(each.filled for each in ready)
    assert adds_up(found, ready)
    return [refused.reason for refused in found.refused]


def adds_up(found: Reading, ready: Sequence[Ready]) -> bool:
    taken = [name for each in ready for name in each.made_of]
    return found.read == len(taken) + len(found.refused) + sum(note.resources for note in found.notes)


def numbered(values: Sequence[int | None]) -> dict[int, int]:
    return {number: value for number, value in enumerate(values, start=1) if value is not None}


# QuestionnaireResponses


def test_items_are_known_by_the_loinc_code_that_is_their_link_id() -> None:
    (sheet,) = sheets(a_response("p", VALUES, total=12))
    assert (sheet.instrument, sheet.answers, sheet.stated_total) == (INSTRUMENT_PHQ_9, numbered(VALUES), 12)
    assert sheet.answered_at == datetime(2026, 1, 15, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize("shape", ["/{}", "{}", "/44249-1/{}", "/a/b/{}/"])
def test_a_link_id_may_be_a_path_that_ends_in_the_code(shape: str) -> None:
    items = [an_item(shape.format(code), value) for code, value in zip(PHQ_9_ITEMS, VALUES, strict=True)]
    (sheet,) = sheets(a_response("p", VALUES, item=items))
    assert sheet.answers == numbered(VALUES)


def test_a_questionnaire_says_which_code_a_link_id_stands_for_and_what_its_options_count() -> None:
    options = [
        {"valueCoding": {"code": f"own-{n}", "extension": [{"url": ORDINAL, "valueDecimal": n}]}} for n in range(4)
    ]
    questions = [
        {"linkId": f"q{n}", "code": [{"system": LOINC, "code": code}], "answerOption": options}
        for n, code in enumerate(PHQ_9_ITEMS)
    ]
    form = {
        "resourceType": "Questionnaire",
        "url": "http://a.example/form",
        "item": [{"linkId": "g", "item": questions}],
    }
    items = [{"linkId": f"q{n}", "answer": [{"valueCoding": {"code": f"own-{v}"}}]} for n, v in enumerate(VALUES)]
    response = a_response("p", VALUES, questionnaire="http://a.example/form|2.0", item=[{"linkId": "g", "item": items}])
    (sheet,) = sheets(form, response)
    assert sheet.answers == numbered(VALUES)


def test_an_item_goes_by_its_number_where_the_address_is_the_instruments() -> None:
    items = [{"linkId": str(n), "answer": [{"valueInteger": v}]} for n, v in numbered(VALUES).items()]
    (sheet,) = sheets(a_response("p", VALUES, questionnaire="http://a.example/Questionnaire/phq-9", item=items))
    assert sheet.answers == numbered(VALUES)
    assert reasons(a_response("p", VALUES, item=items)) == ["INSTRUMENT_UNKNOWN"]


@pytest.mark.parametrize(
    "value",
    [
        {"valueInteger": 2},
        {"valueDecimal": 2.0},
        {"valueString": "2"},
        {"valueQuantity": {"value": 2}},
        {"valueCoding": {"code": "LA6570-1"}},
        {
            "valueCoding": {
                "code": "x",
                "extension": [{"url": ORDINAL, "valueDecimal": 2}],
            }
        },
    ],
)
def test_an_answer_may_be_written_in_many_ways(value: dict[str, Any]) -> None:
    (sheet,) = sheets(a_response("p", VALUES, item=[{"linkId": PHQ_9_ITEMS[8], "answer": [value]}]))
    assert sheet.answers == {9: 2}


def test_an_unanswered_item_is_left_out_and_never_nought() -> None:
    (sheet,) = sheets(a_response("p", [*VALUES[:8], None]))
    assert 9 not in sheet.answers


def test_a_form_of_two_instruments_is_two_sheets_and_what_is_of_neither_is_noted() -> None:
    other = [an_item(item.loinc, 1) for item in GAD_7.items]
    text = {"linkId": "story", "answer": [{"valueString": CANARY}]}
    response = a_response("p", VALUES)
    response["item"] += [*other, text]
    found, (ready,) = reading(a_patient("p"), response)
    assert [filled.sheet.instrument for filled in ready.filled] == [INSTRUMENT_PHQ_9, INSTRUMENT_GAD_7]
    assert [note.place.path for note in found.notes if note.place] == [f"item[{len(response['item']) - 1}]"]
    assert CANARY not in repr(found.notes)
    assert adds_up(found, [ready])


def test_an_instrument_of_which_nothing_is_answered_does_not_keep_the_other_out() -> None:
    response = a_response("p", VALUES)
    response["item"] += [an_item(item.loinc, None) for item in GAD_7.items]
    (sheet,) = sheets(response)
    assert sheet.instrument == INSTRUMENT_PHQ_9


def test_a_link_id_that_is_a_number_is_no_item_where_others_have_codes() -> None:
    response = a_response("p", [*VALUES[:8], None], questionnaire="http://a.example/phq-9")
    response["item"].append({"linkId": "9", "answer": [{"valueInteger": 3}]})
    (sheet,) = sheets(response)
    assert 9 not in sheet.answers


def changed(position: int, **item: Any) -> dict[str, Any]:
    response = a_response("p", VALUES)
    response["item"][position] |= item
    return response


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (a_response("p", VALUES, status="in-progress"), "RESPONSE_NOT_COMPLETED"),
        (a_response("p", VALUES, status="entered-in-error"), "RESPONSE_NOT_COMPLETED"),
        (a_response("p", VALUES, authored=None), "ANSWERED_AT_MISSING"),
        (a_response("p", VALUES, authored="2026-02-30"), "MALFORMED"),
        (a_response("p", VALUES, item=[]), "INSTRUMENT_UNKNOWN"),
        (a_response("p", VALUES, item=[an_item("/99999-9", 1)]), "INSTRUMENT_UNKNOWN"),
        (a_response("p", [None] * 9), "NO_ANSWERS"),
        (a_response("p", VALUES, subject={"reference": "Patient/nobody"}), "SUBJECT_NOT_FOUND"),
        (changed(8, answer=[{"valueInteger": 4}]), "ANSWER_OUT_OF_RANGE"),
        (changed(8, answer=[{"valueInteger": -1}]), "ANSWER_OUT_OF_RANGE"),
        (changed(8, answer=[{"valueCoding": {"system": LOINC, "code": "LA33-6"}}]), "ANSWER_CODE_UNKNOWN"),
        (changed(8, answer=[{"valueInteger": 10**400}]), "ANSWER_OUT_OF_RANGE"),
        (changed(8, answer=[{"valueDecimal": 1e308}]), "ANSWER_OUT_OF_RANGE"),
        (changed(8, answer=[{"valueString": CANARY}]), "ANSWER_UNREADABLE"),
        (changed(8, answer=[{"valueDecimal": 1.5}]), "ANSWER_UNREADABLE"),
        (changed(8, answer=[{"valueInteger": 1}, {"valueInteger": 2}]), "ITEM_REPEATED"),
        (changed(8, linkId=PHQ_9_ITEMS[0]), "ITEM_REPEATED"),
        (changed(8, answer={"valueInteger": 1}), "MALFORMED"),
        (changed(8, answer=[{"valueInteger": "1"}]), "MALFORMED"),
    ],
)
def test_answers_that_cannot_be_scored_are_refused_and_the_person_is_not(response: dict[str, Any], reason: str) -> None:
    assert reasons(response) == [reason]


def test_an_answer_that_says_no_time_takes_the_one_that_is_given_for_all() -> None:
    at = datetime(2024, 5, 1, tzinfo=UTC)
    (sheet,) = sheets(a_response("p", VALUES, authored=None), times=Times(at, otherwise=at))
    assert sheet.answered_at == at


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2025", datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2026-03", datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC)),
        ("2026-03-04", datetime(2026, 3, 4, 23, 59, 59, tzinfo=UTC)),
        ("2026-03-04T10:00:00-05:00", datetime(2026, 3, 4, 15, tzinfo=UTC)),
    ],
)
def test_a_time_may_be_as_coarse_as_a_year(written: str, read: datetime) -> None:
    times = Times(datetime(2026, 11, 21, tzinfo=UTC), zone=UTC)
    (sheet,) = sheets(a_response("p", VALUES, authored=written), times=times)
    assert sheet.answered_at == read


# Observations


def test_members_of_a_panel_are_one_sheet() -> None:
    members = members_of("p", VALUES)
    total = an_observation("total", "p", "44261-6", valueString="12")
    (sheet,) = sheets(a_panel("p", [*members, total]), *members, total)
    assert (sheet.answers, sheet.stated_total) == (numbered(VALUES), 12)


def test_components_of_a_panel_are_one_sheet() -> None:
    components = [
        {"code": {"coding": [{"system": LOINC, "code": code}]}, "valueInteger": value}
        for code, value in zip(PHQ_9_ITEMS, VALUES, strict=True)
    ]
    (sheet,) = sheets(an_observation("panel", "p", "44249-1", component=components))
    assert sheet.answers == numbered(VALUES)


def test_a_panel_that_repeats_a_response_is_not_recorded_twice() -> None:
    members = members_of("p", VALUES)
    panel = a_panel("p", members, derivedFrom=[{"reference": "QuestionnaireResponse/answers-of-p"}])
    found, (ready,) = reading(a_patient("p"), a_response("p", VALUES), panel, *members)
    assert len(ready.filled) == 1
    assert adds_up(found, [ready])


def test_vital_signs_are_set_aside() -> None:
    found, (ready,) = reading(a_patient("p"), an_observation("bp", "p", "85354-9", valueInteger=120))
    assert (ready.filled, found.refused) == ((), [])
    assert adds_up(found, [ready])


def test_what_is_wrong_with_a_panel_refuses_it_with_its_members() -> None:
    members = members_of("p", VALUES)
    other = a_patient("q")
    elsewhere = members_of("q", VALUES)
    assert set(reasons(a_panel("p", members, status="registered"), *members)) == {
        "OBSERVATION_NOT_FINAL",
        "PANEL_REFUSED",
    }
    assert reasons(a_panel("p", members), *members[1:])[0] == "MEMBER_NOT_FOUND"
    assert reasons(other, a_panel("p", elsewhere), *elsewhere)[0] == "MEMBER_OF_ANOTHER"
    assert reasons(*members) == ["PANEL_MISSING"] * 9


# Many rows, and whatever comes

NAMES = ["علي حسن", "王小明", "Łukasz Żółć", "דוד", "ಕನ್ನಡ", "Zoë\u0301", "𐐀𐐁", "👩‍👩‍👧", "O'Brien-Smith", "ㅤ한글"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_any_script_stays_as_it_is(name: str) -> None:
    _, (ready,) = reading(a_patient("p", name=[{"family": name}]))
    assert ready.request.person.family_name == " ".join(name.split())


def test_a_bundle_of_many_rows_with_broken_ones_is_taken_but_for_those_that_are_named() -> None:
    broken: dict[int, Any] = {
        0: lambda n: a_patient(f"p{n}", birthDate="1990-02-30"),
        1: lambda n: {"resourceType": "Patient", "id": f"p{n}", "name": "Orrin"},
        2: lambda n: 7,
        3: lambda n: a_response(f"p{n - 1}", [*VALUES[:8], 9]),
        4: lambda n: a_patient(f"p{n}", name=[{"family": "x" * 100_000}]),
    }
    rows = [
        broken[n % 100](n) if n % 100 in broken else a_patient(f"p{n}") if n % 2 else a_response(f"p{n - 1}", VALUES)
        for n in range(ROWS)
    ]
    found, ready = reading(*rows)
    assert found.read == ROWS
    assert adds_up(found, ready)
    assert {refused.place.index % 100 for refused in found.refused if refused.place} <= {0, 1, 2, 3, 4, 6}
    assert len(ready) == ROWS // 100 * 48


def parts(value: Any, *path: Any) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(each for key, child in children for each in parts(child, *path, key))]


def replaced(value: Any, path: tuple[Any, ...], instead: Any) -> Any:
    if not path:
        return instead
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], instead)
    return copy


SHORT = members_of("p", [*VALUES[:2], *[None] * 7])
WHOLE = [a_response("p", VALUES, total=12), a_panel("p", SHORT), *SHORT]
GARBAGE = st.sampled_from([None, 7, 1.5, True, "", CANARY, f"{CANARY}\x00", [], {}, [CANARY], {"value": CANARY}])


@given(path=st.sampled_from(parts(WHOLE)[1:]), instead=GARBAGE)
def test_whatever_part_of_the_answers_is_spoilt_all_is_accounted_for_and_nothing_repeated(
    path: tuple[Any, ...], instead: Any
) -> None:
    found, ready = reading(a_patient("p"), *replaced(WHOLE, path, instead))
    assert adds_up(found, ready)
    assert CANARY not in repr([each.message for each in found.refused])
    assert CANARY not in repr([note.message for note in found.notes])
