"""`stepway import` against a running platform: dry, twice, interrupted, with broken rows; and what it reports."""

import json
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.bundles import a_bundle, a_panel, a_patient, a_response, members_of
from tests.conftest import SOAK
from tests.data import DEMO_DATA, REPOSITORY, TEST_DATA
from tests.network import Network
from tests.shell import STEPWAY, stepway
from tests.waiting import until

ROWS = 10_000 if SOAK else 150
UKM = TEST_DATA / "instruments" / "ukm_items.csv"
OURS = DEMO_DATA / "answers.csv"


def imported(network: Network, *arguments: object, site: str = "northside", ends_with: int = 0) -> dict[str, Any]:
    done = stepway(network, "import", *map(str, arguments), "--site", site, "--json")
    assert done.returncode == ends_with, done.stderr
    account: dict[str, Any] = json.loads(done.stdout)
    return account


def bundle(folder: Path, *resources: dict[str, Any]) -> Path:
    file = folder / "bundle.json"
    file.write_text(json.dumps(a_bundle(*resources)))
    return file


def people(number: int) -> Iterator[dict[str, Any]]:
    """So many patients with a PHQ-9 each, whom nobody else in this run has sent."""
    run = uuid4().hex[:8]
    for one in range(number):
        yield a_patient(f"{run}-{one}")
        yield a_response(f"{run}-{one}", [1, 2, 1, 2, 1, 2, 1, 2, 0])


def stored(network: Network, account: dict[str, Any]) -> int:
    ids = ",".join(f"'{each['referral_id']}'" for each in account["taken"])
    return len(network.rows("intake", f"SELECT 1 FROM referral WHERE id IN ({ids})"))


def test_people_and_their_answers_are_taken_in_once_however_often_they_are_sent(
    network: Network, tmp_path: Path
) -> None:
    file = bundle(tmp_path, *people(3))
    first = imported(network, "fhir", file)
    assert (first["referrals"], first["assessments"]) == ({"new": 3, "known": 0}, {"new": 3, "known": 0})
    again = imported(network, "fhir", file.rename(tmp_path / "renamed.json"))
    assert (again["referrals"], again["assessments"]) == ({"new": 0, "known": 3}, {"new": 0, "known": 3})
    ids = [[each["referral_id"], each["assessment_ids"]] for each in first["taken"]]
    assert ids == [[each["referral_id"], each["assessment_ids"]] for each in again["taken"]]
    assert stored(network, first) == 3


def test_a_changed_record_of_a_named_sender_is_known(network: Network, tmp_path: Path) -> None:
    name = f"p-{uuid4()}"
    first = imported(network, "fhir", bundle(tmp_path, a_patient(name)), "--source", "county-hospital")
    changed = a_patient(name, gender="female")
    again = imported(network, "fhir", bundle(tmp_path, changed), "--source", "county-hospital")
    assert again["taken"] == first["taken"]
    other = imported(network, "fhir", bundle(tmp_path, changed), "--source", "school")
    assert other["taken"] != first["taken"]


def test_a_dry_run_says_what_would_happen_and_changes_nothing(network: Network, tmp_path: Path) -> None:
    before = network.rows("intake", "SELECT count(*) AS count FROM referral")
    file = bundle(tmp_path, *people(2), a_patient("nobody", name=[]))
    dry = imported(network, "fhir", file, "--dry-run", ends_with=1)
    assert (dry["referrals"], dry["assessments"]) == ({"new": 2, "known": 0}, {"new": 2, "known": 0})
    assert [each["reason"] for each in dry["refused"]] == ["NAME_MISSING"]
    assert network.rows("intake", "SELECT count(*) AS count FROM referral") == before
    imported(network, "fhir", file, ends_with=1)
    dry = imported(network, "fhir", file, "--dry-run", ends_with=1)
    assert (dry["referrals"], dry["assessments"]) == ({"new": 0, "known": 2}, {"new": 0, "known": 2})


def test_the_report_names_every_row_by_its_place_and_holds_nothing_private(network: Network, tmp_path: Path) -> None:
    wrong = a_response("zanzarrow", [1, 2, 1, 2, 1, 2, 1, 2, 7])
    file = bundle(tmp_path, a_patient("zanzarrow", name=[{"family": "Zanzarrow"}]), wrong, {"resourceType": "Tea"})
    report = tmp_path / "report.json"
    done = stepway(network, "import", "fhir", str(file), "--site", "northside", "--report", str(report))
    assert done.returncode == 1
    written = json.loads(report.read_text())
    rows = [(row["file"], row["index"], row["resource"], row["reason"]) for row in written["refused"]]
    assert sorted(rows, key=str) == [
        ("bundle.json", 1, "QuestionnaireResponse", "ANSWER_OUT_OF_RANGE"),
        ("bundle.json", 2, "", "NOT_FHIR"),
    ]
    assert written["refused_by_reason"] == {"ANSWER_OUT_OF_RANGE": 1, "NOT_FHIR": 1}
    assert written["taken"][0]["index"] == 0
    assert "zanzarrow" not in report.read_text().lower()
    assert "ANSWER_OUT_OF_RANGE" in done.stdout


@pytest.mark.parametrize("file", [path for path in (OURS, UKM) if path.exists()], ids=lambda path: path.name)
def test_all_rows_of_a_table_of_answers_are_imported_and_scored_and_nobody_is_paged_about_old_ones(
    network: Network, file: Path
) -> None:
    account = imported(network, "answers", file, "--answered", "2024-05-01", site="lakeside")
    rows = len(file.read_text().splitlines()) - 1
    assert (account["referrals"]["new"], account["assessments"]["new"], account["refused"]) == (rows, 2 * rows, [])
    ids = ",".join(f"'{id}'" for each in account["taken"] for id in each["assessment_ids"])
    totals = network.rows("intake", f"SELECT total FROM assessment WHERE id IN ({ids})")
    assert len(totals) == 2 * rows
    assert None not in {row["total"] for row in totals}
    flags = network.rows(
        "intake",
        "SELECT DISTINCT urgency FROM risk_flag JOIN assessment USING (site, referral_id)"
        f" WHERE assessment.id IN ({ids})",
    )
    assert [flag["urgency"] for flag in flags] == ["review"]
    again = imported(network, "answers", file, "--answered", "2024-06-01", site="lakeside")
    assert (again["referrals"]["new"], again["assessments"]["new"]) == (0, 0)


def test_a_table_is_of_the_version_that_is_named(network: Network, tmp_path: Path) -> None:
    header = ",".join(f"whodas-12.{item}" for item in range(1, 13))
    (tmp_path / "answers.csv").write_text("\n".join([header, ",".join("5" * 12)]))
    given = tmp_path / "answers.csv", "--answered", "2024-05-01"
    (refused,) = imported(network, "answers", *given, ends_with=1)["refused"]
    assert refused["reason"] == "ANSWER_OUT_OF_RANGE"
    account = imported(network, "answers", *given, "--version", "whodas-12=1-to-5")
    (id,) = account["taken"][0]["assessment_ids"]
    scored = network.rows("intake", f"SELECT version, permille FROM assessment WHERE id = '{id}'")
    assert scored == [{"version": "1-to-5", "permille": 1000}]


def test_answers_without_a_time_are_refused_rather_than_guessed_at(network: Network, tmp_path: Path) -> None:
    (tmp_path / "answers.csv").write_text("D1,D9,answered_at\n1,2,\n1,2,2024-05-01T10:00Z\n")
    account = imported(network, "answers", tmp_path / "answers.csv", ends_with=1)
    assert [(each["name"], each["reason"]) for each in account["refused"]] == [
        ("answers.csv row 2", "ANSWERED_AT_MISSING")
    ]
    assert account["assessments"]["new"] == 1


def test_a_row_may_name_a_referral_that_intake_has(network: Network, tmp_path: Path) -> None:
    (taken,) = imported(network, "fhir", bundle(tmp_path, a_patient(f"p-{uuid4()}")))["taken"]
    rows = [f"{taken['referral_id']},1,0", f"{uuid4()},1,0", "not-an-id,1,0"]
    (tmp_path / "answers.csv").write_text("referral_id,D1,D9\n" + "\n".join(rows))
    account = imported(
        network, "answers", tmp_path / "answers.csv", "--answered", datetime.now(UTC).isoformat(), ends_with=1
    )
    assert {each["reason"] for each in account["refused"]} == {"REFERRAL_NOT_FOUND", "REFERRAL_ID_MALFORMED"}
    assert account["assessments"]["new"] == 1
    found = network.rows("intake", f"SELECT total FROM assessment WHERE referral_id = '{taken['referral_id']}'")
    assert len(found) == 1


US_CORE = TEST_DATA / "fhir" / "us_core"


def published(folder: Path) -> list[Path]:
    """HL7's own example where it is there, and one that we wrote, which states the same total."""
    ours = a_response(f"p-{uuid4()}", [2, 2, 2, 2, 1, 1, 2, 0, 0], total=12)
    patient = ours["subject"]["reference"].partition("/")[2]
    return [bundle(folder, a_patient(patient), ours), *([US_CORE] if US_CORE.exists() else [])]


def test_the_total_that_is_published_is_the_total_that_is_scored(network: Network, tmp_path: Path) -> None:
    for given in published(tmp_path):
        done = stepway(network, "import", "fhir", str(given), "--site", "northside", "--json")
        account = json.loads(done.stdout)
        ids = ",".join(f"'{id}'" for each in account["taken"] for id in each["assessment_ids"])
        scored = network.rows(
            "intake", f"SELECT total, band FROM assessment WHERE instrument = 'phq-9' AND id IN ({ids})"
        )
        assert scored == [{"total": 12, "band": "moderate"}]
        assert not [note for note in account["notes"] if "total" in note["message"] and "phq-9" in note["name"]]


def test_a_total_that_is_not_what_the_answers_add_up_to_is_told(network: Network, tmp_path: Path) -> None:
    name = f"p-{uuid4()}"
    account = imported(network, "fhir", bundle(tmp_path, a_patient(name), a_response(name, [1] * 9, total=12)))
    assert [note["message"] for note in account["notes"]] == [
        "the total that it states is not what its answers add up to here"
    ]


def test_a_panel_of_observations_is_one_assessment(network: Network, tmp_path: Path) -> None:
    name = f"p-{uuid4()}"
    observations = members_of(name, [2, 2, 2, 2, 1, 1, 2, 0, 0])
    file = bundle(tmp_path, a_patient(name), a_panel(name, observations), *observations)
    (taken,) = imported(network, "fhir", file)["taken"]
    (assessment,) = taken["assessment_ids"]
    assert network.rows("intake", f"SELECT total FROM assessment WHERE id = '{assessment}'") == [{"total": 12}]


async def test_an_import_that_is_interrupted_goes_on_where_it_was(network: Network, tmp_path: Path) -> None:
    file = tmp_path / "people.ndjson"
    file.write_text("\n".join(json.dumps(resource) for resource in people(ROWS)))
    before = _received(network)
    first = _begun(network, file)
    await until(partial(_more, network, before + 10))
    first.send_signal(signal.SIGINT)
    told, _ = first.communicate(timeout=60)
    account = json.loads(told)
    assert (first.returncode, account["stopped"]) == (130, "interrupted")
    assert 0 < account["referrals"]["new"] < ROWS
    rest = imported(network, "fhir", file)
    assert rest["referrals"]["known"] >= account["referrals"]["new"]
    assert rest["referrals"]["new"] + rest["referrals"]["known"] == ROWS
    assert rest["assessments"]["new"] + rest["assessments"]["known"] == ROWS
    assert len({each["referral_id"] for each in rest["taken"]}) == ROWS == stored(network, rest)


async def test_an_import_outlives_a_service_that_is_killed(network: Network, tmp_path: Path) -> None:
    file = tmp_path / "people.ndjson"
    file.write_text("\n".join(json.dumps(resource) for resource in people(ROWS)))
    before = _received(network)
    running = _begun(network, file)
    await until(partial(_more, network, before + 10))
    network.platform.process("intake").kill()
    network.platform.start_service("intake")
    told, said = running.communicate(timeout=600)
    assert running.returncode == 0, said
    account = json.loads(told)
    assert account["referrals"]["new"] + account["referrals"]["known"] == ROWS
    assert len({each["referral_id"] for each in account["taken"]}) == ROWS == stored(network, account)
    again = imported(network, "fhir", file)
    assert (again["referrals"]["new"], again["assessments"]["new"]) == (0, 0)


def _begun(network: Network, file: Path) -> subprocess.Popen[str]:
    command = [STEPWAY, "import", "fhir", str(file), "--site", "northside", "--json"]
    command += ["--run", network.platform.folder.path.name]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _received(network: Network) -> int:
    return int(network.rows("intake", "SELECT count(*) AS count FROM referral")[0]["count"])


async def _more(network: Network, number: int) -> bool:
    return _received(network) >= number
