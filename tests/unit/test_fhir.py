"""Reading FHIR: who becomes a referral, and what is refused or noted by name."""

import json
from collections.abc import Iterator
from datetime import date

import protovalidate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepway.intake.v1 import referral_pb2
from stepway_cli.fhir.orders import HCPCS, SNOMED
from stepway_cli.fhir.referrals import Import, Ready, read_referrals
from tests.data import DEMO_DATA, documents

fixed = settings(derandomize=True, max_examples=40, deadline=None)

TODAY = date(2026, 11, 21)
ROLE_CODE = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"
LAB = [{"coding": [{"system": SNOMED, "code": "108252007"}]}]
CANARY = "Zanzarrow"


def a_patient(**changes):
    return {"resourceType": "Patient", "id": "p", "name": [{"family": "Orrin", "given": ["Ila"]}]} | changes


def an_order(**changes):
    order = {"resourceType": "ServiceRequest", "id": "o", "status": "active", "intent": "order"}
    code = {"coding": [{"system": SNOMED, "code": "306206005"}], "text": "Please see her"}
    return order | {"code": code, "subject": {"reference": "Patient/p"}} | changes


def a_relative(**changes):
    relative = {"resourceType": "RelatedPerson", "id": "r", "patient": {"reference": "Patient/p"}}
    return relative | {"name": [{"family": "Orrin", "given": ["Bo"]}]} | changes


def a_bundle(*resources, kind="collection", urls=()):
    entries = [{"resource": resource} for resource in resources]
    for entry, url in zip(entries, urls, strict=False):
        entry["fullUrl"] = url
    return {"resourceType": "Bundle", "type": kind, "entry": entries}


def read(*contents) -> Import:
    """Read the contents as files a.json, b.json, ...; what is no bytes is written as JSON."""
    names = (f"{letter}.json" for letter in "abcdefgh")
    files = (content if isinstance(content, bytes) else json.dumps(content).encode() for content in contents)
    return read_referrals(zip(names, files, strict=False), today=TODAY)


def only(found: Import) -> Ready:
    assert found.refused == []
    (ready,) = found.referrals
    return ready


def person(**changes) -> referral_pb2.Person:
    return only(read(a_patient(**changes))).request.person


def reasons(found: Import) -> dict[str, str]:
    return {refused.name: refused.reason for refused in found.refused}


def noted(found: Import) -> list[str]:
    return [note.name for note in found.notes]


def adds_up(found: Import) -> bool:
    taken = [name for ready in found.referrals for name in ready.made_of]
    set_aside = sum(note.resources for note in found.notes)
    return found.read == len(taken) + len(found.refused) + set_aside and len(taken) == len(set(taken))


# Who becomes a referral


def test_a_patient_without_an_order_is_a_referral():
    ready = only(read(a_patient()))
    assert (ready.name, ready.made_of) == ("a.json Patient/p", ("a.json Patient/p",))
    assert (ready.request.person.given_name, ready.request.person.family_name) == ("Ila", "Orrin")
    assert (ready.request.request_id, ready.request.reason) == ("", "")


def test_single_resources_are_joined_across_files_whatever_their_order():
    ready = only(read(an_order(), a_relative(), a_patient()))
    assert ready.made_of == ("c.json Patient/p", "a.json ServiceRequest/o", "b.json RelatedPerson/r")
    assert ready.request.reason == "Please see her"
    assert ready.request.related_people[0].given_name == "Bo"


@pytest.mark.parametrize("kind", ["transaction", "collection", "searchset", "document", "batch"])
def test_a_bundle_of_any_kind_that_carries_resources_is_read(kind):
    assert only(read(a_bundle(a_patient(), an_order(), kind=kind))).request.reason == "Please see her"


@pytest.mark.parametrize(
    ("url", "reference"),
    [
        ("urn:uuid:0b5e6f6e-7d0a-4a70-9d1d-3d1c3a6c8a01", "urn:uuid:0b5e6f6e-7d0a-4a70-9d1d-3d1c3a6c8a01"),
        ("https://a.example/fhir/Patient/p", "https://a.example/fhir/Patient/p"),
        ("https://a.example/fhir/Patient/p", "https://a.example/fhir/Patient/p/_history/2"),
        ("https://a.example/fhir/Patient/p", "Patient/p"),
        ("", "https://a.example/fhir/Patient/p"),
        ("", "Patient/p/_history/2"),
    ],
)
def test_a_reference_is_resolved_however_it_is_written(url, reference):
    found = read(a_bundle(a_patient(), an_order(subject={"reference": reference}), urls=[url]))
    assert len(only(found).made_of) == 2


def test_an_order_never_lands_on_another_servers_patient_of_the_same_id():
    here = a_bundle(a_patient(), urls=["https://a.example/fhir/Patient/p"])
    there = a_bundle(an_order(), urls=["https://b.example/fhir/ServiceRequest/o"])
    assert reasons(read(here, there)) == {"b.json ServiceRequest/o": "SUBJECT_NOT_FOUND"}


def test_patients_of_two_servers_may_have_the_same_id():
    here = a_bundle(
        a_patient(), an_order(), urls=[f"https://a.example/{key}" for key in ("Patient/p", "ServiceRequest/o")]
    )
    other = a_patient(name=[{"family": "Ulm"}])
    there = a_bundle(other, a_relative(), urls=[f"https://b.example/{key}" for key in ("Patient/p", "RelatedPerson/r")])
    first, second = read(here, there).referrals
    assert (first.request.person.family_name, len(first.request.related_people)) == ("Orrin", 0)
    assert (second.request.person.family_name, len(second.request.related_people)) == ("Ulm", 1)


def test_two_orders_for_one_patient_are_one_referral_with_both_reasons():
    found = read(
        a_patient(), an_order(), an_order(id="o2", code={"coding": [{"system": HCPCS, "code": "S9480"}], "text": "IOP"})
    )
    assert only(found).request.reason == "Please see her\nIOP"


def test_a_patient_whose_orders_are_all_refused_is_refused_too_and_so_are_the_relatives():
    found = read(a_patient(), an_order(category=LAB, code={}), a_relative())
    assert reasons(found) == {
        "a.json Patient/p": "NO_REFERRAL_ORDER",
        "b.json ServiceRequest/o": "NOT_A_REFERRAL",
        "c.json RelatedPerson/r": "SUBJECT_REFUSED",
    }
    assert adds_up(found)


def test_one_accepted_order_is_enough_beside_refused_ones():
    found = read(a_patient(), an_order(), an_order(id="lab", category=LAB, code={}))
    assert reasons(found) == {"c.json ServiceRequest/lab": "NOT_A_REFERRAL"}
    assert len(found.referrals) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"deceasedBoolean": True}, "PATIENT_DECEASED"),
        ({"deceasedDateTime": "2022"}, "PATIENT_DECEASED"),
        ({"active": False}, "PATIENT_INACTIVE"),
        ({"name": []}, "NAME_MISSING"),
        ({"name": [{"given": ["Ila"]}]}, "NAME_MISSING"),
        ({"name": [{"family": "Orrin", "use": "old"}]}, "NAME_MISSING"),
        ({"name": [{"family": "Orrin", "period": {"end": "2026-11-20"}}]}, "NAME_MISSING"),
        ({"name": [{"family": "o" * 201}]}, "INVALID"),
        ({"birthDate": "1990-02-30"}, "BIRTH_DATE_IMPOSSIBLE"),
        ({"birthDate": "1990-13"}, "BIRTH_DATE_IMPOSSIBLE"),
        ({"birthDate": "0000"}, "BIRTH_DATE_IMPOSSIBLE"),
        ({"birthDate": "2026-11-22"}, "BIRTH_DATE_IMPOSSIBLE"),
        ({"birthDate": "1899-12-31"}, "BIRTH_DATE_IMPOSSIBLE"),
        ({"birthDate": "03/04/1990"}, "MALFORMED"),
        ({"birthDate": 1990}, "MALFORMED"),
    ],
)
def test_a_patient_who_cannot_be_taken_in_is_refused_with_what_belongs_to_them(changes, reason):
    found = read(a_patient(**changes), an_order(), a_relative())
    assert reasons(found) == {
        "a.json Patient/p": reason,
        "b.json ServiceRequest/o": "SUBJECT_REFUSED",
        "c.json RelatedPerson/r": "SUBJECT_REFUSED",
    }
    assert adds_up(found)


@pytest.mark.parametrize("born", ["2009", "2009-08", "2009-08-30", "2026-11-21", "2026-11", "2026"])
def test_a_birth_date_may_be_partial_and_as_late_as_today(born):
    assert person(birthDate=born).birth_date == born


# Orders


@pytest.mark.parametrize("status", ["draft", "on-hold", "revoked", "completed", "entered-in-error", "unknown", None])
def test_only_an_active_order_asks_for_anything(status):
    assert reasons(read(a_patient(), an_order(status=status)))["b.json ServiceRequest/o"] == "ORDER_NOT_ACTIVE"


@pytest.mark.parametrize("intent", ["proposal", "plan", "order", "original-order", "instance-order", "filler-order"])
def test_a_referral_may_be_proposed_planned_or_ordered(intent):
    assert len(only(read(a_patient(), an_order(intent=intent))).made_of) == 2


@pytest.mark.parametrize("changes", [{"intent": "directive"}, {"intent": "option"}, {"doNotPerform": True}])
def test_a_wish_an_option_and_a_prohibition_are_no_referral(changes):
    assert reasons(read(a_patient(), an_order(**changes)))["b.json ServiceRequest/o"] == "NOT_A_REFERRAL"


def coded(system: str, code: str, category: str = ""):
    categories = [{"coding": [{"system": SNOMED, "code": category}]}] if category else []
    coding = [{"system": system, "code": code}] if code else []
    return {"code": {"coding": coding, "text": "psychotherapy"}, "category": categories}


@pytest.mark.parametrize(
    "order",
    [
        coded(SNOMED, "24165007", "410606002"),
        coded(SNOMED, "183524004", "386053000"),  # the code is more precise than the category
        coded(HCPCS, "S9480"),
        coded("urn:oid:2.16.840.1.113883.6.285", "H0015"),
        coded("", "", "409063005"),
        coded("", "", "3457005"),
    ],
)
def test_an_order_with_a_listed_code_or_without_code_but_with_a_listed_category_is_a_referral(order):
    assert len(only(read(a_patient(), an_order(**order))).made_of) == 2


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (coded("http://loinc.org", "58410-2", "108252007"), "NOT_A_REFERRAL"),
        (coded("http://loinc.org", "30746-2", "363679005"), "NOT_A_REFERRAL"),
        (coded("", "", "387713003"), "NOT_A_REFERRAL"),
        (coded(SNOMED, "467771000124109", "410606002"), "NOT_A_REFERRAL"),
        (coded(SNOMED, "306250006", "409063005"), "ORDER_CODE_UNKNOWN"),  # genetic counselling
        (coded("http://elsewhere.example", "306206005"), "ORDER_CODE_UNKNOWN"),
        (coded("", ""), "ORDER_CODE_UNKNOWN"),  # text is never guessed at
        ({"code": None}, "MALFORMED"),
        ({"code": []}, "MALFORMED"),
    ],
)
def test_any_other_order_is_refused_by_name(order, reason):
    assert reasons(read(a_patient(), an_order(**order)))["b.json ServiceRequest/o"] == reason


def test_the_reason_is_what_the_sender_wrote_each_once():
    found = read(
        a_patient(),
        an_order(
            reasonCode=[{"text": "Low mood"}, {"coding": [{"code": "x"}, {"display": "Panic"}]}, {"text": "Low mood"}],
            reasonReference=[{"display": "Grief"}],
            note=[{"text": "Evenings\nonly"}],
        ),
    )
    assert only(found).request.reason == "Please see her; Low mood; Panic; Grief; Evenings\nonly"


def test_a_long_reason_is_cut_with_a_note():
    found = read(a_patient(), an_order(note=[{"text": "é" * 5000}]))
    assert len(only(found).request.reason) == 4000
    assert noted(found) == ["a.json Patient/p"]


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ({"reference": "Patient/nobody"}, "SUBJECT_NOT_FOUND"),
        ({"reference": "Group/p"}, "SUBJECT_NOT_FOUND"),
        ({"reference": "RelatedPerson/r"}, "SUBJECT_NOT_FOUND"),
        ({"reference": "#p"}, "SUBJECT_NOT_FOUND"),
        ({"identifier": {"value": "7"}}, "SUBJECT_NOT_FOUND"),
        ("Patient/p", "MALFORMED"),
        ({"reference": 7}, "MALFORMED"),
    ],
)
def test_an_order_whose_patient_is_not_in_the_input_is_refused(subject, reason):
    found = read(a_patient(), a_relative(), an_order(subject=subject))
    assert reasons(found) == {"c.json ServiceRequest/o": reason}
    assert adds_up(found)


# People


def test_the_official_name_comes_before_the_usual_and_past_names_are_skipped():
    past = [{"use": "old", "family": "A"}, {"use": "maiden", "family": "B"}]
    over = {"use": "official", "family": "C", "period": {"end": "2020"}}
    usual = {"use": "usual", "family": "D"}
    assert person(name=[*past, over, usual]).family_name == "D"
    assert (
        person(name=[usual, *past, {"use": "official", "family": " E  F ", "given": ["G", None, "H"]}]).family_name
        == "E F"
    )


def test_a_name_that_is_only_written_out_is_kept_as_family_name_with_a_note():
    found = read(a_patient(name=[{"text": "Ila Orrin"}]))
    assert (only(found).request.person.given_name, only(found).request.person.family_name) == ("", "Ila Orrin")
    assert noted(found) == ["a.json Patient/p name[0]"]


def phone(value, **changes):
    return {"system": "phone", "value": value} | changes


def email(value, **changes):
    return {"system": "email", "value": value} | changes


@pytest.mark.parametrize(
    ("written", "e164"),
    [
        ("212-555-0123", "+12125550123"),
        ("(212) 555 0123", "+12125550123"),
        ("+44 20 7946 0018", "+442079460018"),
        ("tel:+1-212-555-0123", "+12125550123"),
    ],
)
def test_a_telephone_number_is_kept_as_e164_and_a_us_one_needs_no_country(written, e164):
    assert [point.phone for point in person(telecom=[phone(written, system="sms")]).contact_points] == [e164]


@pytest.mark.parametrize(
    "point",
    [
        phone("555-0123"),  # no area code
        phone("212-555-0123 ext. 7"),  # a switchboard
        phone("call my mother"),
        phone("212-555-0123", use="old"),
        phone("212-555-0123", period={"end": "2026-11-20"}),
        phone("212-555-0123", system="fax"),
        phone(""),
        {"value": "212-555-0123"},
        email("somebody at example.org"),
        email("s" * 250 + "@example.org"),
    ],
)
def test_what_nobody_can_be_reached_by_is_left_out_with_a_note_by_path(point):
    found = read(a_patient(telecom=[email("ila@example.org"), point]))
    assert [contact.email for contact in only(found).request.person.contact_points] == ["ila@example.org"]
    assert noted(found) == ["a.json Patient/p telecom[1]"]
    assert "0123" not in repr(found.notes)


def test_ways_to_reach_somebody_are_ranked_and_taken_once():
    points = [
        email("ila@example.org"),
        phone("212-555-0123", rank=1),
        phone("+1 (212) 555-0123"),
        email("ILA@example.org"),
    ]
    assert [point.phone or point.email for point in person(telecom=points).contact_points] == [
        "+12125550123",
        "ila@example.org",
    ]


def test_ten_ways_to_reach_somebody_are_enough():
    found = read(a_patient(telecom=[email(f"ila{number}@example.org") for number in range(12)]))
    assert len(only(found).request.person.contact_points) == 10
    assert noted(found) == ["a.json Patient/p telecom"] * 2


def speaks(code, **changes):
    return {"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": code}]}} | changes


def test_the_preferred_language_comes_first():
    assert person(communication=[speaks("en"), speaks("es", preferred=True)]).language == "es"
    assert person(communication=[speaks("en-US"), speaks("es")]).language == "en-US"


def test_a_gender_language_or_relationship_outside_its_codes_is_left_out_with_a_note():
    found = read(
        a_patient(gender="F", communication=[speaks("not a code"), {"language": {"text": "Spanish"}}]),
        a_relative(relationship=[{"coding": [{"system": "http://elsewhere.example", "code": "NIECE"}]}]),
    )
    assert only(found).request.related_people[0].relationship == ""
    assert sorted(noted(found)) == [
        "a.json Patient/p communication[0].language",
        "a.json Patient/p communication[1].language",
        "a.json Patient/p gender",
        "b.json RelatedPerson/r relationship",
    ]


@pytest.mark.parametrize(
    ("gender", "number"), [("male", 1), ("female", 2), ("other", 3), ("unknown", 4), ("", 0), (None, 0)]
)
def test_gender_is_fhirs_administrative_gender(gender, number):
    assert person(gender=gender).gender == number


def test_a_relative_keeps_the_hl7_role_code():
    relationship = [
        {"coding": [{"system": "http://elsewhere.example", "code": "N"}, {"system": ROLE_CODE, "code": "NIECE"}]}
    ]
    found = read(a_patient(), a_relative(relationship=relationship, telecom=[phone("212-555-0124")]))
    (relative,) = only(found).request.related_people
    assert (relative.relationship, relative.contact_points[0].phone) == ("NIECE", "+12125550124")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"active": False}, "RELATED_PERSON_INACTIVE"),
        ({"period": {"end": "2020-01-01T10:00:00Z"}}, "RELATED_PERSON_INACTIVE"),
        ({"period": {"end": "soon"}}, "MALFORMED"),
        ({"name": None}, "NAME_MISSING"),
        ({"name": [{"family": "o" * 201}]}, "INVALID"),
        ({"patient": {"reference": "Patient/nobody"}}, "SUBJECT_NOT_FOUND"),
    ],
)
def test_a_relative_who_cannot_be_named_is_refused_and_the_patient_is_not(changes, reason):
    found = read(a_patient(), a_relative(**changes))
    assert reasons(found) == {"b.json RelatedPerson/r": reason}
    assert len(found.referrals) == 1


def test_more_relatives_than_intake_takes_are_refused_by_name():
    found = read(a_bundle(a_patient(), *(a_relative(id=f"r{number}") for number in range(22))))
    assert reasons(found) == {f"a.json RelatedPerson/r{number}": "TOO_MANY_RELATED_PEOPLE" for number in (20, 21)}
    assert adds_up(found)


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
