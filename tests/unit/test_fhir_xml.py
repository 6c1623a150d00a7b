"""FHIR XML is read as the JSON of the same document, and nothing in it is expanded or fetched."""

import json
from collections.abc import Iterator
from datetime import date
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepway_cli.fhir.answered import with_answers
from stepway_cli.fhir.referrals import Reading
from tests.bundles import a_bundle, a_patient, a_response
from tests.data import DEMO_DATA, TEST_DATA

TODAY = date(2026, 11, 21)


def as_xml(resource: dict[str, Any], *, top: bool = True) -> str:
    """The XML of a JSON resource, as FHIR defines it."""
    kind = resource["resourceType"]
    space = ' xmlns="http://hl7.org/fhir"' if top else ""
    fields = {name: value for name, value in resource.items() if name != "resourceType"}
    return f"<{kind}{space}>{''.join(_elements(fields))}</{kind}>"


def _elements(fields: dict[str, Any]) -> Iterator[str]:
    for name, value in fields.items():
        for each in value if isinstance(value, list) else [value]:
            yield _element(name, each)


def _element(name: str, value: Any) -> str:
    if isinstance(value, dict) and "resourceType" in value:
        return f"<{name}>{as_xml(value, top=False)}</{name}>"
    if isinstance(value, dict):
        url = f" url={quoteattr(value['url'])}" if name == "extension" else ""
        fields = {key: each for key, each in value.items() if not (url and key == "url")}
        return f"<{name}{url}>{''.join(_elements(fields))}</{name}>"
    said = json.dumps(value) if isinstance(value, bool | int | float) else str(value)
    return f"<{name} value={quoteattr(said)}/>"


def read(*documents: str | bytes) -> Reading:
    files = [
        (f"{number}.xml", each.encode() if isinstance(each, str) else each) for number, each in enumerate(documents)
    ]
    reading = Reading(files, today=TODAY, wanted=with_answers)
    list(reading.ready())
    return reading


OURS = [json.loads(path.read_bytes()) for path in sorted((DEMO_DATA / "referrals").glob("*.json"))]
WANTED = ("Patient", "RelatedPerson", "ServiceRequest", "QuestionnaireResponse", "Observation", "Questionnaire")
PUBLISHED = [json.loads(path.read_bytes()) for path in sorted((TEST_DATA / "fhir" / "us_core").glob("*.json"))]
DOCUMENTS = OURS + [document for document in PUBLISHED if document["resourceType"] in WANTED]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.get("id", document["resourceType"]))
def test_a_document_makes_the_same_referrals_and_answers_in_xml_as_in_json(document: dict[str, Any]) -> None:
    document.pop("text", None)
    forms = (as_xml(document), json.dumps(document))
    found = [Reading([("a", form.encode())], today=TODAY, wanted=with_answers) for form in forms]
    in_xml, in_json = ([(each.request, each.made_of) for each in one.ready()] for one in found)
    assert in_xml == in_json
    assert found[0].refused == found[1].refused


def test_a_bundle_in_xml_joins_people_and_answers() -> None:
    bundle = a_bundle(a_patient("p"), a_response("p", [1] * 9, total=9))
    (ready,) = Reading([("a.xml", as_xml(bundle).encode())], today=TODAY, wanted=with_answers).ready()
    (filled,) = ready.filled
    assert (sum(filled.sheet.answers.values()), filled.sheet.stated_total) == (9, 9)


PATIENT = '<Patient xmlns="http://hl7.org/fhir"><id value="p"/><name><family value="{}"/></name></Patient>'
BILLION_LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>' + PATIENT.format("&b;")
EXTERNAL = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + PATIENT.format("&a;")
ELSEWHERE = '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">' + PATIENT.format("Orrin")


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (BILLION_LAUGHS, "XML_DOCTYPE"),
        (EXTERNAL, "XML_DOCTYPE"),
        (ELSEWHERE, "XML_DOCTYPE"),
        (PATIENT.format("&undeclared;"), "NOT_XML"),
        (PATIENT.format("&#0;"), "NOT_XML"),
        (PATIENT.format("Orrin")[:-3], "NOT_XML"),
        ('<Patient><id value="p"/></Patient>', "NOT_FHIR"),
        ('<Tea xmlns="http://hl7.org/fhir"/>', "NOT_FHIR"),
        ('<Patient xmlns="http://hl7.org/fhir">' + "<a>" * 200 + "</a>" * 200 + "</Patient>", "TOO_DEEP"),
        ('<?xml version="1.0"?>', "NOT_XML"),
    ],
)
def test_what_is_no_plain_fhir_xml_is_refused_by_name(document: str, reason: str) -> None:
    reading = read(document, PATIENT.format("Orrin"))
    assert [(each.name, each.reason) for each in reading.refused] == [("0.xml", reason)]
    assert len(reading.patients) == 1


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_than_utf_8_is_refused(encoding: str) -> None:
    assert [each.reason for each in read(PATIENT.format("Örrin").encode(encoding)).refused] == ["NOT_UTF8"]


def test_a_narrative_is_passed_over() -> None:
    narrative = (
        '<text><status value="generated"/><div xmlns="http://www.w3.org/1999/xhtml"><p>Ila &amp; Bo</p></div></text>'
    )
    reading = read(PATIENT.format("Orrin").replace("<name>", narrative + "<name>"))
    assert (reading.refused, len(reading.patients)) == ([], 1)


@given(st.text(alphabet='<>/="&;![]- aPatient\n', max_size=60))
def test_nothing_in_xml_makes_reading_it_fail(rest: str) -> None:
    assert {each.reason for each in read(f"<{rest}").refused} <= {"NOT_XML", "NOT_FHIR", "XML_DOCTYPE", "TOO_DEEP"}
