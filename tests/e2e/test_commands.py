"""The stepway command as a person and a script use it, against a running platform."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from getpass import getuser
from pathlib import Path
from uuid import uuid4

import pytest

from stepway.care.v1.treatment_plan_service_pb2 import ListTreatmentPlansRequest
from stepway_cli.local.forget import forget
from stepway_cli.services import SERVICES
from stepway_cli.sites import SiteRecord, apply
from tests.cases import a_case
from tests.data import DEMO_DATA, REPOSITORY
from tests.desk import soon
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral
from tests.shell import STEPWAY, stepway
from tests.waiting import until

PROGRAMS = (*(f"stepway_{service}" for service in SERVICES), "nats-server", "postgres", "smtp_sink")


def test_a_bundle_is_imported_once_however_often_it_is_sent(network: Network) -> None:
    bundle = str(next((DEMO_DATA / "referrals").glob("03*")))
    first = stepway(network, "import", "referral", bundle, "--site", "northside", "--json")
    again = stepway(network, "import", "referral", bundle, "--site", "northside", "--json")
    assert first.returncode == again.returncode == 0, first.stderr
    taken = json.loads(first.stdout)["taken"]
    assert taken == json.loads(again.stdout)["taken"]
    found = network.rows("intake", f"SELECT 1 FROM referral WHERE id = '{taken[0]['referral_id']}'")
    assert len(found) == 1


def test_an_import_that_refuses_something_says_so_and_ends_with_1(network: Network, tmp_path: Path) -> None:
    order = {"resourceType": "ServiceRequest", "id": "x", "status": "active", "subject": {"reference": "Patient/y"}}
    (tmp_path / "order.json").write_text(json.dumps(order))
    done = stepway(network, "import", "referral", str(tmp_path), "--site", "northside", "--json")
    assert done.returncode == 1
    assert [refused["name"] for refused in json.loads(done.stdout)["refused"]] == ["order.json ServiceRequest/x"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["import", "referral", "nowhere.json", "--site", "northside"], "nowhere.json"),
        (["trace", "zzzz"], "zzzz"),
        (["token", "king", "--site", "northside"], "no such role"),
        (["sites", "apply", "nowhere"], "nowhere"),
        (["dead-letters", "list", "--site", "atlantis"], "SITE_UNKNOWN"),
        (["sites", "move", "northside", "--service", "billing", "--cell", "west"], "no such service"),
        (["sites", "move", "northside", "--service", "intake", "--cell", "west"], "nobody serves intake in cell west"),
        (["sites", "move", "northside", "--service", "intake", "--cell", "West!"], "a cell's name"),
        (["sites", "move", "atlantis", "--service", "intake", "--cell", "shared"], "no such site"),
        (["up", "--cell", "@west"], "no such service"),
        (["keys", "rotate", "billing"], "no such key"),
        (["audit", "verify", "--site", "atlantis"], "SITE_UNKNOWN"),
        (["dead-letters", "retry", "billing", str(uuid4()), "--site", "northside"], "no such"),
        (
            ["dead-letters", "retry", "intake", "01a20062-0000-7000-8000-000000000000", "--site", "northside"],
            "NOT_FOUND",
        ),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(network: Network, arguments: list[str], said: str) -> None:
    done = stepway(network, *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_a_command_without_a_run_says_how_to_start_one() -> None:
    done = subprocess.run(
        [STEPWAY, "sites", "list", "--run", "never-started"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "make up" in done.stderr


def test_sites_traces_and_letters_are_there_for_scripts(network: Network) -> None:
    sites = json.loads(stepway(network, "sites", "list", "--json").stdout)
    assert {(row["service"], row["site"]) for row in sites} >= {("intake", "northside"), ("notifications", "lakeside")}
    assert isinstance(
        json.loads(stepway(network, "dead-letters", "list", "--site", "northside", "--json").stdout), list
    )
    stepway(network, "import", "referral", str(DEMO_DATA / "referrals"), "--site", "lakeside")
    assert json.loads(stepway(network, "trace", "latest", "--json").stdout)


def test_a_site_that_is_where_it_should_be_is_not_moved(network: Network) -> None:
    done = stepway(network, "sites", "move", "northside", "--service", "care", "--cell", "shared")
    assert "care: northside is in cell shared (epoch 1)" in done.stdout


def test_a_key_is_rotated_and_retired_and_what_was_signed_with_it_can_still_be_checked(network: Network) -> None:
    assert "care signs with care-2" in stepway(network, "keys", "rotate", "care").stdout
    assert "care: retired care-1" in stepway(network, "keys", "retire", "care").stdout
    assert "care: retired nothing" in stepway(network, "keys", "retire", "care").stdout
    keys = json.loads(network.platform.keys.jwks_file.read_text())["keys"]
    retired = {key["kid"]: key.get("stepway_retired", False) for key in keys}
    assert (retired["care-1"], retired["care-2"]) == (True, False)
    assert not any("d" in key for key in keys)


def test_migrations_may_run_again(network: Network) -> None:
    assert stepway(network, "migrate").returncode == 0


@pytest.fixture
def run() -> Iterator[str]:
    name = f"up-{os.getpid()}"
    yield name
    forget(REPOSITORY / ".stepway" / name)


def test_up_stops_within_15_seconds_leaves_no_process_and_keeps_data_and_sites(run: str, tmp_path: Path) -> None:
    first = Up(run)
    imported = first.imported()
    newer = (REPOSITORY / "deploy" / "sites" / "1-northside.yaml").read_text().replace("revision: 3", "revision: 4")
    (tmp_path / "northside.yaml").write_text(newer)
    applied = [STEPWAY, "sites", "apply", str(tmp_path), "--run", run]
    assert "northside applied" in subprocess.run(applied, cwd=REPOSITORY, capture_output=True, text=True).stdout
    first.interrupted()
    second = Up(run)
    assert second.imported() == imported  # the same request_id is answered from the data of the first start
    second.interrupted()


async def test_an_operator_reads_the_stream_of_a_site_as_cloudevents(network: Network) -> None:
    case = await a_case(network)
    done = stepway(network, "events", "tail", "--site", NORTHSIDE, "--since", "1h", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["specversion"] for event in events} == {"1.0"}
    assert case.admission in {event["subject"] for event in events}
    assert not [event for event in events if not event["source"].startswith(f"/sites/{NORTHSIDE}/")]
    one = stepway(network, "events", "tail", "--event", "patient_admitted", "--service", "intake").stdout
    assert case.admission in one
    assert "referral_received" not in one


async def test_an_operator_follows_what_is_still_to_come_until_they_have_seen_enough(network: Network) -> None:
    tail = _following(network, "--since", datetime.now(UTC).isoformat(), "--event", "referral_received", "--json")
    assert tail.stdout is not None
    received = [await _referred(network) for _ in range(2)]
    seen = [json.loads(await asyncio.to_thread(tail.stdout.readline))["subject"] for _ in received]
    tail.send_signal(signal.SIGINT)
    rest, said = tail.communicate(timeout=20)
    assert sorted(seen) == sorted(received)  # two people's referrals may come in either order
    assert (rest, said, tail.returncode) == ("", "", 0)


def _following(network: Network, *options: str) -> subprocess.Popen[str]:
    command = [STEPWAY, "events", "tail", "--follow", *options, "--run", network.platform.folder.path.name]
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    )


async def _referred(network: Network, site: str = NORTHSIDE) -> str:
    answer = await network.call(
        "stepway.intake.v1.ReferralService/ReceiveReferral", a_referral(), role="front_desk", site=site
    )
    return str(answer.referral.id)


async def test_an_operator_sees_who_did_what_to_whose_record(network: Network) -> None:
    case = await a_case(network)
    listed = stepway(network, "audit", "list", "--site", NORTHSIDE, "--person", case.patient, "--json")
    rows = json.loads(listed.stdout)
    lines = stepway(network, "audit", "list", "--site", NORTHSIDE, "--person", case.patient).stdout.splitlines()
    assert len(lines) >= len(rows)
    assert all(case.patient in line for line in lines)
    assert {"intake", "scheduling", "care", "family", "notifications"} <= {row["service"] for row in rows}
    assert all(case.patient in row["people"] for row in rows)
    elsewhere = stepway(network, "audit", "list", "--site", LAKESIDE, "--person", case.patient, "--json")
    assert json.loads(elsewhere.stdout) == []


async def test_an_operator_verifies_an_audit_and_learns_of_the_row_that_somebody_changed(network: Network) -> None:
    dock = SiteRecord(f"dock-{uuid4().hex[:8]}", zone="UTC", revision=1, settings={"short_name": "Dock"})
    await apply(network.platform.database_url("care", "registrar"), [dock])
    plans = "stepway.care.v1.TreatmentPlanService/ListTreatmentPlans"
    for _ in range(2):
        await network.call(plans, ListTreatmentPlansRequest(), role="clinician", site=dock.site)

    def verify(*options: str) -> subprocess.CompletedProcess[str]:
        return stepway(network, "audit", "verify", "--site", dock.site, "--service", "care", *options)

    async def sealed() -> bool:
        (account,) = json.loads(verify("--json").stdout)["accounts"]
        return bool(account["sealed"] == account["on_stream"] == 2)

    await until(sealed)
    assert (verify().returncode, "as sealed" in verify().stdout) == (0, True)
    touch = f"UPDATE audit SET actor = 'nobody' WHERE site = '{dock.site}' AND seq = 1"
    network.platform.postgres.run_sql(touch, database="stepway_care")
    touched, as_json = verify(), json.loads(verify("--json").stdout)
    assert touched.returncode == 1
    assert f"care  {dock.site}  EDITED_ROW  row 1: " in touched.stdout
    assert [each["kind"] for each in as_json["accounts"][0]["findings"]] == ["EDITED_ROW"]
    assert "clinician" not in touched.stdout + str(as_json)


def test_verifying_names_each_service_and_site_and_how_much_is_not_sealed(network: Network) -> None:
    accounts = json.loads(stepway(network, "audit", "verify", "--site", NORTHSIDE, "--json").stdout)["accounts"]
    assert [(each["service"], each["site"]) for each in accounts] == [(service, NORTHSIDE) for service in SERVICES]
    assert all({"sealed", "unsealed", "unsealed_seconds", "oldest_unsealed"} <= set(each) for each in accounts)
    assert sum(each["sealed"] for each in accounts) > 0
    assert not [each for each in accounts if each["findings"]]


def test_an_operator_sees_every_service_at_every_site_and_scripts_see_whether_all_is_well(network: Network) -> None:
    done = stepway(network, "status", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == (not found["well"])
    assert {(row["site"], row["service"]) for row in found["rows"]} >= {
        (site, service) for site in (NORTHSIDE, LAKESIDE) for service in SERVICES
    }
    shown = stepway(network, "status", "--site", LAKESIDE).stdout.splitlines()
    assert [line.split()[1] for line in shown if line.startswith(LAKESIDE)] == list(SERVICES)
    assert not [line for line in shown if line.startswith(NORTHSIDE)]
    assert max(map(len, shown)) <= 100


def test_the_status_of_a_site_that_is_none_is_not_well(network: Network) -> None:
    done = stepway(network, "status", "--site", "atlantis")
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no such site." in done.stderr


def test_status_names_what_does_not_answer_and_ends_with_1(network: Network) -> None:
    network.platform.process("family").stop()
    try:
        done = stepway(network, "status", "--site", NORTHSIDE)
    finally:
        network.platform.start_service("family")
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if line.startswith("family") and "NOT SERVING" in line]
    assert done.stderr == ""


async def test_an_operators_look_at_the_audit_is_in_the_audit(network: Network) -> None:
    case = await a_case(network)
    for options in (["--person", case.patient], ["--service", "intake", "--limit", "1"]):
        stepway(network, "audit", "list", "--site", NORTHSIDE, *options)
    listed = stepway(network, "audit", "list", "--site", NORTHSIDE, "--person", case.patient, "--json")
    looks = [row for row in json.loads(listed.stdout) if row["action"] == "audit list"]
    assert {row["service"] for row in looks} == set(SERVICES)
    assert {(row["actor"], row["outcome"]) for row in looks} == {(f"operator-{getuser()}", "DONE")}
    anybody = "SELECT people FROM audit WHERE action = 'audit list' ORDER BY id"
    assert [case.patient] in [row["people"] for row in network.rows("intake", anybody)]
    assert len(network.rows("intake", anybody)) >= 3


async def test_the_audit_is_listed_from_a_moment_on_of_one_service_and_no_more_than_asked_for(
    network: Network,
) -> None:
    before = await a_case(network)
    began = datetime.now(UTC)
    after = await a_case(network)

    def listed(*options: str) -> list[dict[str, str]]:
        done = stepway(network, "audit", "list", "--site", NORTHSIDE, "--json", "--limit", "10000", *options)
        return list(json.loads(done.stdout))

    late = listed("--since", began.isoformat())
    assert after.patient in {person for row in late for person in row["people"]}
    assert all(datetime.fromisoformat(row["at"]) >= began for row in late)
    assert any(datetime.fromisoformat(row["at"]) < began for row in listed("--person", before.patient))
    of_intake = listed("--service", "intake", "--person", after.patient)
    assert {row["service"] for row in of_intake} == {"intake"}
    actions = {row["action"].rpartition("/")[2] for row in of_intake}
    assert {"ReceiveReferral", "RecordAssessment", "DecideLevelOfCare", "GrantConsent", "AdmitPatient"} <= actions
    done = [row for row in listed("--person", after.patient) if row["action"] != "audit list"]
    assert done == sorted(done, key=lambda row: row["at"], reverse=True)
    assert len(listed("--person", after.patient, "--limit", "3")) == 3


async def test_what_waits_for_a_silent_stream_is_named_with_its_site_and_since_when(network: Network) -> None:
    network.platform.nats.pause()
    try:
        began = datetime.now(UTC)
        for site in (NORTHSIDE, LAKESIDE, LAKESIDE):
            await _referred(network, site)
        rows = json.loads(stepway(network, "outbox", "--json").stdout)
        shown = stepway(network, "outbox").stdout
    finally:
        network.platform.nats.resume()
    waiting = {row["site"]: row for row in rows if row["service"] == "intake"}
    assert {site: row["blocked"] for site, row in waiting.items()} == {NORTHSIDE: 0, LAKESIDE: 0}
    least = {NORTHSIDE: 1, LAKESIDE: 2}  # a seal of the audit may be one more
    assert all(0 <= row["unpublished"] - least[site] <= 2 for site, row in waiting.items())
    assert all(began <= datetime.fromisoformat(row["oldest"]) <= datetime.now(UTC) for row in waiting.values())
    assert "intake" in shown
    assert LAKESIDE in shown
    await until(partial(_nothing_waits, network))


async def _nothing_waits(network: Network) -> bool:
    return bool(json.loads(stepway(network, "outbox", "--json").stdout) == [])


async def test_nothing_waits_for_a_stream_that_is_there(network: Network) -> None:
    await a_case(network)
    await until(partial(_nothing_waits, network))
    counted = json.loads(stepway(network, "events", "republish", "--since", "1h", "--dry-run", "--json").stdout)
    assert sum(row["published"] for row in counted) > 0
    assert sum(row["missing"] for row in counted) == 0


@pytest.mark.parametrize(("option", "said"), [("--event", "--event"), ("--service", "no such service")])
def test_a_name_that_the_stream_cannot_hold_is_refused(network: Network, option: str, said: str) -> None:
    done = stepway(network, "events", "tail", option, "shoe_size")
    assert done.returncode != 0
    assert said in done.stderr


def test_reading_nothing_is_said(network: Network) -> None:
    done = stepway(network, "events", "tail", "--site", "atlantis")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing" in done.stderr


def test_a_moment_that_is_none_is_refused_by_name(network: Network) -> None:
    done = stepway(network, "events", "tail", "--since", "yesterday")
    assert done.returncode != 0
    assert "--since" in done.stderr


class Up:
    """`stepway up` in a process of its own."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._process = subprocess.Popen(
            [STEPWAY, "up", "--run", run], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if "stepway sites list" in line:
                return
        raise AssertionError("".join(said))

    def imported(self) -> list[str]:
        bundle = str(next((DEMO_DATA / "referrals").glob("01*")))
        command = [STEPWAY, "import", "referral", bundle, "--site", "northside", "--json", "--run", self._run]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        return [each["referral_id"] for each in json.loads(done.stdout)["taken"]]

    def interrupted(self) -> None:
        self._process.send_signal(signal.SIGINT)
        soon(lambda: not _left_of(self._run), within=15)
        self._process.communicate(timeout=60)
        assert self._process.returncode == 0
        assert not _left_of(self._run)


def _left_of(run: str) -> list[str]:
    """Processes whose command line or folder is this run's."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, folder = (process / "cmdline").read_bytes(), os.readlink(process / "cwd")
        except OSError:
            continue
        if (f"/{run}/".encode() in command or f"/{run}" in folder) and any(p.encode() in command for p in PROGRAMS):
            found.append(command.decode(errors="replace"))
    return found
