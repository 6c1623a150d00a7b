"""A Bundle of ten thousand rows, every tenth of which is broken somehow: each of those is named, the rest is taken."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.bundles import Resource, a_bundle, a_patient, a_response
from tests.conftest import SOAK
from tests.network import Network
from tests.shell import stepway

ROWS = 10_000 if SOAK else 400
SOUND_PEOPLE = 9  # two rows each, then two that are not sound
ANSWERS = [1, 2, 1, 2, 1, 2, 1, 2, 0]
LONGEST_SECONDS = 1200
TABLES = ("patient", "referral", "assessment", "imported", "outbox WHERE subject NOT LIKE '%.audit_sealed'")

Row = tuple[Any, str]  # with the reason of its refusal, which is empty for what is taken


def broken(name: str) -> list[tuple[Row, Row]]:
    """Every way to be broken, as somebody and their answers."""
    person, answers = a_patient(name), a_response(name, ANSWERS)
    nobody = a_response(f"nobody-{name}", ANSWERS)
    return [
        *(_both(a_patient(name, **wrong), answers, reason) for wrong, reason in PEOPLE),
        *(((person, ""), (answers | wrong, reason)) for wrong, reason in RESPONSES),
        ((person, ""), (a_response(name, [*ANSWERS[:8], 7]), "ANSWER_OUT_OF_RANGE")),
        ((nobody, "SUBJECT_NOT_FOUND"), ({"resourceType": "Tea"}, "NOT_FHIR")),
        ((None, "MALFORMED"), ("Patient", "MALFORMED")),
    ]


PEOPLE = (
    ({"name": []}, "NAME_MISSING"),
    ({"name": [{"family": "x" * 5000}]}, "INVALID"),
    ({"birthDate": "1990-02-31"}, "BIRTH_DATE_IMPOSSIBLE"),
    ({"birthDate": "2990-02-01"}, "BIRTH_DATE_IMPOSSIBLE"),
    ({"birthDate": 1990}, "MALFORMED"),
    ({"deceasedBoolean": True}, "PATIENT_DECEASED"),
)
RESPONSES = (
    ({"item": [{"linkId": "/99999-9", "answer": [{"valueInteger": 1}]}]}, "INSTRUMENT_UNKNOWN"),
    ({"authored": "yesterday"}, "MALFORMED"),
    ({"authored": "2990-01-01T10:00:00Z"}, "ANSWERED_IN_FUTURE"),
    ({"status": "entered-in-error"}, "RESPONSE_NOT_COMPLETED"),
)
NAMES = ("Zanzarrow", "Ñandú-Öğüt", "王小明", "Ωμέγα", "عمر", "प्रिया", "O’Quill")


def _both(person: Resource, answers: Resource, reason: str) -> tuple[Row, Row]:
    return (person, reason), (answers, "SUBJECT_REFUSED")


def rows() -> Iterator[Row]:
    """Nobody of whom anybody else in this run has sent."""
    run, ways = uuid4().hex[:8], len(broken(""))
    for number, family in enumerate(cycle(NAMES)):
        name = f"{run}-{number}"
        if number % (SOUND_PEOPLE + 1) == SOUND_PEOPLE:
            yield from broken(name)[number // (SOUND_PEOPLE + 1) % ways]
        else:
            yield a_patient(name, name=[{"family": family}]), ""
            yield a_response(name, ANSWERS), ""


def imported(network: Network, file: Path) -> dict[str, Any]:
    report = file.with_name("report.json")
    command = ("import", "fhir", str(file), "--site", "lakeside", "--report", str(report))
    done = stepway(network, *command, timeout=LONGEST_SECONDS)
    assert done.returncode == 1, done.stderr
    told: dict[str, Any] = json.loads(report.read_text())
    return told


def stored(network: Network) -> dict[str, int]:
    return {table: network.rows("intake", f"SELECT count(*) AS count FROM {table}")[0]["count"] for table in TABLES}


def test_every_broken_row_of_a_large_bundle_is_reported_and_the_same_bundle_changes_nothing_twice(
    network: Network, tmp_path: Path
) -> None:
    sent = list(islice(rows(), ROWS))
    reasons = {index: reason for index, (_, reason) in enumerate(sent) if reason}
    people = sum(1 for resource, reason in sent if not reason and resource["resourceType"] == "Patient")
    file = tmp_path / "bundle.json"
    file.write_text(json.dumps(a_bundle(*(resource for resource, _ in sent))))
    first = imported(network, file)
    assert {row["index"]: row["reason"] for row in first["refused"]} == reasons
    assert len(first["refused"]) == len(reasons)
    assert first["refused_by_reason"] == Counter(reasons.values())
    assert first["read"] == ROWS
    assert first["referrals"] == {"new": people, "known": 0}
    assert first["assessments"] == {"new": ROWS - people - len(reasons), "known": 0}
    before = stored(network)
    again = imported(network, file)
    assert stored(network) == before
    assert again["refused"] == first["refused"]
    assert again["taken"] == first["taken"]
    assert again["referrals"] == {"new": 0, "known": people}
