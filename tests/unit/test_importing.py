"""How an import tells one record from another, and what it reports."""

import io
import json
import tracemalloc
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from stepway_cli.answers import read_answers
from stepway_cli.fhir.answered import with_answers
from stepway_cli.fhir.referrals import Reading
from stepway_cli.findings import Note, Place, Refused
from stepway_cli.importing import telling
from stepway_cli.importing.account import Account, Taken
from stepway_cli.importing.documents import Unreadable, documents
from stepway_cli.importing.entries import Entry, of_fhir, of_rows
from tests.bundles import a_bundle, a_patient, a_response
from tests.conftest import SOAK

TODAY = date(2026, 11, 21)
VALUES = [2, 2, 2, 2, 1, 1, 2, 0, 0]
SERVER = "https://a.example/fhir"
ROWS = 3000 if SOAK else 150


def entries(*resources: dict[str, Any], source: str = "", url: str = "", site: str = "northside") -> list[Entry]:
    bundle = a_bundle(*resources)
    for entry in bundle["entry"] if url else ():
        entry["fullUrl"] = f"{url}/{entry['resource']['resourceType']}/{entry['resource']['id']}"
    found = Reading([("a.json", json.dumps(bundle).encode())], today=TODAY, wanted=with_answers)
    return [of_fhir(site, source, ready) for ready in found.ready()]


def ids(*resources: dict[str, Any], **options: str) -> list[str]:
    return [id for entry in entries(*resources, **options) for id in entry.import_ids]


MARRIED = a_patient("p", name=[{"family": "Ulm"}])


def test_the_same_record_has_the_same_id_and_another_site_another_one() -> None:
    assert ids(a_patient("p"), a_response("p", VALUES)) == ids(a_patient("p"), a_response("p", VALUES))
    assert len(set(ids(a_patient("p")) + ids(a_patient("p"), site="lakeside"))) == 2


@pytest.mark.parametrize("sender", [{"source": "county"}, {"url": SERVER}])
def test_a_record_of_a_known_sender_keeps_its_id_when_it_changes(sender: dict[str, str]) -> None:
    changed = ids(MARRIED, a_response("p", [0] * 9), **sender)
    assert changed == ids(a_patient("p"), a_response("p", VALUES), **sender)


def test_two_senders_may_call_different_people_alike() -> None:
    senders = ({}, {"source": "county"}, {"source": "school"}, {"url": SERVER}, {"url": "https://b.example/fhir"})
    assert len({id for sender in senders for id in ids(a_patient("p"), **sender)}) == 5
    assert ids(a_patient("p")) != ids(MARRIED)


def test_somebody_who_comes_with_a_further_order_or_without_the_one_before_is_another_record() -> None:
    orders = [an_order("p", id) for id in ("first", "second")]
    sent = [orders[:1], orders, orders[1:], []]
    assert len({id for each in sent for id in ids(a_patient("p"), *each, source="county")}) == 4


def an_order(patient: str, id: str) -> dict[str, Any]:
    asks = {"status": "active", "intent": "order", "subject": {"reference": f"Patient/{patient}"}}
    code = {"coding": [{"system": "http://snomed.info/sct", "code": "306206005"}]}
    return {"resourceType": "ServiceRequest", "id": id, "code": code, **asks}


def test_every_record_in_a_bundle_has_an_id_of_its_own() -> None:
    people = [resource for n in range(20) for resource in (a_patient(f"p{n}"), a_response(f"p{n}", VALUES))]
    for sender in ({}, {"source": "county"}):
        assert len(set(ids(*people, **sender))) == 40


def rows(content: str, file: str = "a.csv") -> list[Entry | Refused]:
    at = datetime(2024, 5, 1, tzinfo=UTC)
    return list(of_rows("northside", file, content.encode(), read_answers(content), at))


def test_a_row_goes_by_its_place_in_a_file_of_this_content_whatever_it_is_called() -> None:
    first = [entry.import_ids for entry in rows("D1,A1\n0,0\n0,0\n") if isinstance(entry, Entry)]
    assert first == [entry.import_ids for entry in rows("D1,A1\n0,0\n0,0\n", "b.csv") if isinstance(entry, Entry)]
    assert len({id for ids in first for id in ids}) == 6


def test_a_row_that_is_refused_says_in_which_file_it_stands() -> None:
    (refused,) = [row for row in rows("D1\n9\n1\n") if isinstance(row, Refused)]
    assert (refused.name, refused.place) == ("a.csv row 2", Place("a.csv", 2, "row"))


# Files


def test_a_folder_is_read_with_all_that_is_below_it(tmp_path: Path) -> None:
    for name in ("b/x.json", "a/x.json", "y.xml", "z.ndjson", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"{}")
    assert [name for name, _ in documents([tmp_path])] == ["a/x.json", "b/x.json", "y.xml", "z.ndjson"]


def test_a_folder_without_files_and_a_file_that_is_not_there_are_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.json"):
        with pytest.raises(Unreadable, match=path.name):
            list(documents([path]))


def test_two_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.json").write_bytes(b"{}")
    names = [name for name, _ in documents([tmp_path / "a" / "x.json", tmp_path / "b" / "x.json"])]
    assert names == ["x.json", str(tmp_path / "b" / "x.json")]


def test_a_broken_line_does_not_keep_the_others_out(tmp_path: Path) -> None:
    lines = [json.dumps(a_patient("p")), "{broken", "", "[]", json.dumps(a_patient("q"))]
    (tmp_path / "a.ndjson").write_text("\n".join(lines))
    reading = Reading(documents([tmp_path]), today=TODAY)
    assert len(list(reading.ready())) == 2
    assert [(each.name, each.reason) for each in reading.refused] == [
        ("a.ndjson line 2", "NOT_JSON"),
        ("a.ndjson line 4", "NOT_FHIR"),
    ]


# What it tells


def an_account(refused: int) -> Account:
    account = Account("northside", dry_run=False, read=refused)
    place = Place("a.json", 7, "Patient")
    account.refused = [Refused("a.json Patient/zanzarrow", "NAME_MISSING", "give a name", place)] * refused
    account.notes = [Note("a.json Patient/zanzarrow telecom[0]", "left out", place=place)]
    account.taken = [Taken("a.json Patient/zanzarrow", "northside", "0193", ("0194",), place)]
    return account


def test_a_report_names_rows_by_place_alone(tmp_path: Path) -> None:
    telling.write(tmp_path / "report.json", an_account(2))
    text = (tmp_path / "report.json").read_text()
    assert "zanzarrow" not in text
    told = json.loads(text)
    assert told["refused"][0] == {
        "file": "a.json",
        "index": 7,
        "resource": "Patient",
        "path": "",
        "reason": "NAME_MISSING",
        "message": "give a name",
    }
    assert (len(told["refused"]), told["taken"][0]["assessment_ids"]) == (2, ["0194"])


def test_what_is_read_is_kept_packed() -> None:
    rows = [each for n in range(ROWS) for each in (a_patient(f"p{n}"), a_response(f"p{n}", VALUES))]
    content = "\n".join(json.dumps(row) for row in rows).encode()
    tracemalloc.start()
    try:
        reading = Reading([("a.ndjson", io.BytesIO(content))], today=TODAY, wanted=with_answers)
        assert sum(1 for _ in reading.ready()) == ROWS
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most / len(rows) < 3000
