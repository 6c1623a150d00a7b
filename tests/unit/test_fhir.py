"""Reading FHIR: who becomes a referral, by which order, and what is refused or noted of a person by name."""

import pytest

from stepway.intake.v1 import referral_pb2
from stepway_cli.fhir.orders import HCPCS, SNOMED
from tests.fhir import a_bundle, a_patient, a_relative, adds_up, an_order, email, noted, only, phone, read, reasons

ROLE_CODE = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"
LAB = [{"coding": [{"system": SNOMED, "code": "108252007"}]}]


def person(**changes) -> referral_pb2.Person:
    return only(read(a_patient(**changes))).request.person


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
