"""Files of FHIR as they come: the same resource twice, what is none, what is spoilt; everything is accounted for."""

import json
from collections.abc import Iterator

import protovalidate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepway_cli.fhir.referrals import read_referrals
from tests.data import DEMO_DATA, documents
from tests.fhir import TODAY, a_bundle, a_patient, a_relative, adds_up, an_order, noted, only, phone, read, reasons

fixed = settings(derandomize=True, max_examples=40, deadline=None)
CANARY = "Zanzarrow"


# The same resource twice


def test_the_same_resource_in_two_files_is_taken_once():
    found = read(a_patient(), a_patient(meta={"versionId": "2"}), an_order(), an_order())
    assert only(found).made_of == ("a.json Patient/p", "c.json ServiceRequest/o")
    assert noted(found) == ["b.json Patient/p", "d.json ServiceRequest/o"]
    assert adds_up(found)


def test_another_resource_of_the_same_id_is_refused_with_what_its_own_file_says_about_it():
    other = a_bundle(a_patient(name=[{"family": "Ulm"}]), an_order(id="o2"), a_relative())
    found = read(a_patient(), other)
    assert reasons(found) == {
        "b.json Patient/p": "DUPLICATE_RESOURCE",
        "b.json ServiceRequest/o2": "SUBJECT_REFUSED",
        "b.json RelatedPerson/r": "SUBJECT_REFUSED",
    }
    assert [ready.made_of for ready in found.referrals] == [("a.json Patient/p",)]


def test_an_order_that_could_mean_two_patients_is_given_to_neither():
    found = read(a_patient(), an_order(), a_patient(name=[{"family": "Ulm"}]))
    assert reasons(found)["b.json ServiceRequest/o"] == "SUBJECT_AMBIGUOUS"
    assert [len(ready.made_of) for ready in found.referrals] == [1]


# Files


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "EMPTY_FILE"),
        (b" \n", "EMPTY_FILE"),
        (b"\xef\xbb\xbf", "EMPTY_FILE"),
        (b"\xff\xfe{\x00}\x00", "NOT_UTF8"),
        (b"<Patient xmlns='http://hl7.org/fhir'>", "NOT_XML"),
        (b"<Patient/>", "NOT_FHIR"),
        (b'{"resourceType": "Patient", ', "NOT_JSON"),
        (b'{"resourceType": "Patient"}\n{"resourceType": "Patient"}', "NOT_JSON"),
        (b'{"resourceType": "Patient", "x": NaN}', "NOT_JSON"),
        (b'{"resourceType": "Patient", "x": ' + b"9" * 5000 + b"}", "NOT_JSON"),
        (b'{"resourceType": "Patient", "x": "\\ud800"}', "NOT_JSON"),
        (b"[" * 100_000, "TOO_DEEP"),
        (b'{"resourceType": "Patient", "x": ' + b"[" * 200 + b"]" * 200 + b"}", "TOO_DEEP"),
        (b"[]", "NOT_FHIR"),
        (b"7", "NOT_FHIR"),
        (b"{}", "NOT_FHIR"),
        (b'{"resourceType": 7}', "NOT_FHIR"),
        (b'{"resourceType": "Pateint"}', "NOT_FHIR"),
        (b'{"resourceType": "Bundle"}', "BUNDLE_TYPE_UNSUPPORTED"),
        (b'{"resourceType": "Bundle", "type": "history"}', "BUNDLE_TYPE_UNSUPPORTED"),
        (b'{"resourceType": "Bundle", "type": []}', "BUNDLE_TYPE_UNSUPPORTED"),
        (b'{"resourceType": "Bundle", "type": "batch"}', "BUNDLE_EMPTY"),
        (b'{"resourceType": "Bundle", "type": "batch", "entry": {}}', "MALFORMED"),
    ],
)
def test_a_file_that_is_no_fhir_is_refused_by_name_and_the_others_are_read(content, reason):
    found = read(content, a_patient())
    assert reasons(found) == {"a.json": reason}
    assert len(found.referrals) == 1
    assert adds_up(found)


def test_a_byte_order_mark_is_no_reason_to_refuse():
    assert only(read(b"\xef\xbb\xbf" + json.dumps(a_patient()).encode()))


def test_what_is_wrong_in_a_bundle_is_refused_by_its_place():
    found = read(
        {
            "resourceType": "Bundle",
            "type": "batch",
            "entry": [
                7,
                {},
                {"resource": {"resourceType": "Pateint"}},
                {"resource": a_bundle()},
                {"resource": a_patient(), "fullUrl": 7},
                {"resource": a_patient(id="no id\n")},
                {"resource": a_patient(id=["p"])},
            ],
        }
    )
    assert reasons(found) == {
        "a.json entry[0]": "MALFORMED",
        "a.json entry[1]": "MALFORMED",
        "a.json entry[2]": "NOT_FHIR",
        "a.json entry[3]": "BUNDLE_IN_BUNDLE",
        "a.json entry[4]": "MALFORMED",
        "a.json Patient entry[5]": "MALFORMED",
        "a.json Patient entry[6]": "MALFORMED",
    }


def test_resources_without_an_id_are_named_by_their_place():
    patient = {key: value for key, value in a_patient().items() if key != "id"}
    assert [ready.name for ready in read(a_bundle(patient, patient), patient).referrals] == [
        "a.json Patient entry[0]",
        "a.json Patient entry[1]",
        "b.json Patient",
    ]


def test_what_no_referral_needs_is_counted_by_type_for_each_file():
    conditions = [{"resourceType": "Condition", "id": str(number)} for number in range(3)]
    found = read(a_bundle(a_patient(), *conditions, {"resourceType": "Encounter", "id": [7]}))
    assert [(note.name, note.message) for note in found.notes] == [
        ("a.json", "not part of a referral: 3 Condition, 1 Encounter")
    ]
    assert adds_up(found)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"name": "Orrin"}, "name"),
        ({"name": ["Orrin"]}, "name[0]"),
        ({"name": [{"family": ["Orrin"]}]}, "name[0].family"),
        ({"name": [{"family": "Orrin", "given": "Ila"}]}, "name[0].given"),
        ({"name": [{"family": "Orrin", "given": [7]}]}, "name[0].given[0]"),
        ({"name": [{"family": "Or\x00rin"}]}, "name[0].family"),
        ({"telecom": {}}, "telecom"),
        ({"telecom": [phone(7)]}, "telecom[0].value"),
        ({"telecom": [phone("212-555-0123", rank="1")]}, "telecom[0].rank"),
        ({"telecom": [phone("212-555-0123", period="now")]}, "telecom[0].period"),
        ({"active": "yes"}, "active"),
        ({"gender": ["female"]}, "gender"),
        ({"communication": [{"language": "es"}]}, "communication[0].language"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_its_path(changes, path):
    (refused,) = read(a_patient(**changes)).refused
    assert (refused.reason, refused.message.split()[0]) == ("MALFORMED", path)


# Whatever comes


def parts(value, *path) -> Iterator[tuple[object, ...]]:
    """The path to every part of a JSON document."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from parts(child, *path, key)


def replaced(value, path, instead):
    if not path:
        return instead
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], instead)
    return copy


WHOLE = json.loads((DEMO_DATA / "referrals" / "01-wexmarrow.json").read_bytes())
GARBAGE = st.sampled_from([None, 7, True, "", CANARY, f"{CANARY}\x00", [], {}, [CANARY], {"resourceType": CANARY}])


@fixed
@given(path=st.sampled_from(list(parts(WHOLE))), instead=GARBAGE)
def test_whatever_part_is_spoilt_everything_is_accounted_for_and_nothing_is_repeated(path, instead):
    found = read(replaced(WHOLE, path, instead))
    assert adds_up(found)
    assert CANARY not in repr(found)
    assert all(not protovalidate.collect_violations(ready.request.person) for ready in found.referrals)


@fixed
@given(st.binary(max_size=40) | st.text(alphabet='[]{},:"\\u0dA9 ', max_size=20).map(str.encode))
def test_nothing_in_a_file_makes_reading_it_fail(content):
    assert adds_up(read(content))


def test_our_own_demonstration_is_six_referrals_without_a_refusal():
    found = read_referrals(documents(DEMO_DATA / "referrals"), today=TODAY)
    assert (len(found.referrals), found.refused) == (6, [])
    assert adds_up(found)
    reached = [
        {point.WhichOneof("address") for point in ready.request.person.contact_points} for ready in found.referrals
    ]
    assert reached.count({"phone", "email"}) == 4
    assert {"phone"} in reached
    assert {"email"} in reached
