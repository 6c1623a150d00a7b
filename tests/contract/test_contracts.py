"""A contract that breaks a rule of the house is refused, with the place named."""

import shutil
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor

from stepway.audit.v1.events_pb2 import AuditSealed
from stepway.intake.v1.events_pb2 import ReferralReceived
from stepway_chassis.contracts import ContractError, event_rule, faults, rules_of
from stepway_chassis.rpc.server import Server
from tests.contract import gate

IMPORTS = {
    "buf.validate": "buf/validate/validate.proto",
    "google.protobuf.Any": "google/protobuf/any.proto",
    "google.protobuf.Duration": "google/protobuf/duration.proto",
    "google.protobuf.Struct": "google/protobuf/struct.proto",
    "google.protobuf.Value": "google/protobuf/struct.proto",
    "google.protobuf.Timestamp": "google/protobuf/timestamp.proto",
    "google.protobuf.StringValue": "google/protobuf/wrappers.proto",
    "stepway.access": "stepway/access/v1/access.proto",
    "stepway.events": "stepway/events/v1/events.proto",
    "stepway.privacy": "stepway/privacy/v1/privacy.proto",
}
SEES = "grants: { roles: [ROLE_CLINICIAN] scope: SCOPE_SITE }"
MESSAGES = """
message AskRequest { string id = 1 [(stepway.privacy.v1.public) = PUBLIC_ID]; }
message AskResponse { string name = 1 [(stepway.privacy.v1.phi) = true]; }
message WriteRequest { string request_id = 1 [(stepway.privacy.v1.public) = PUBLIC_ID]; }
"""
ID = "string id = 1 [(stepway.privacy.v1.public) = PUBLIC_ID, (buf.validate.field).string.uuid = true];"
EVENT = 'lane: LANE_NORMAL noun: "thing" id_field: "id" dataref: "stepway.intake.v1.RiskService/ListRiskFlags"'


@pytest.fixture(scope="module", autouse=True)
def _real_contracts() -> None:
    """Loaded, so that a dataref can name their RPCs."""
    gate.contracts()


def rpc(access: str, request: str = "AskRequest") -> str:
    option = f"option (stepway.access.v1.rpc) = {{ {access} }};" if access else ""
    return f"service AskService {{ rpc Ask({request}) returns (AskResponse) {{ {option} }} }}"


def event(fields: str, *, first: str = ID, option: str = EVENT) -> str:
    return f"message Happened {{ option (stepway.events.v1.event) = {{ {option} }}; {first} {fields} }}"


def image_of(folder: Path, text: str, *, package: str = "broken") -> descriptor_pb2.FileDescriptorSet:
    """The real contracts and one more, compiled."""
    protos = folder / "protos"
    shutil.copytree(gate.PROTOS / "stepway", protos / "stepway", dirs_exist_ok=True)
    file = protos / "stepway" / package / "v1" / f"{package}.proto"
    file.parent.mkdir(parents=True)
    imports = sorted({file for word, file in IMPORTS.items() if word in MESSAGES + text})
    header = ['syntax = "proto3";', f"package stepway.{package}.v1;", *(f'import "{each}";' for each in imports)]
    file.write_text("\n".join(header) + MESSAGES + text)
    image = folder / "image.binpb"
    assert gate.build().build_image(protos, image) == 0
    return descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())


def compiled(folder: Path, text: str) -> FileDescriptor:
    """One file of contracts, known to nobody else."""
    pool = descriptor_pool.DescriptorPool()
    for file in image_of(folder, text).file:
        pool.Add(file)
    return pool.FindFileByName("stepway/broken/v1/broken.proto")


@pytest.mark.parametrize(
    "text",
    [
        rpc(f"effect: EFFECT_READ {SEES}"),
        rpc(f"effect: EFFECT_WRITE {SEES}", "WriteRequest"),
        rpc('effect: EFFECT_READ services: ["notifications"]'),
        event(""),
        event("google.protobuf.Timestamp at = 2; google.protobuf.Duration late = 3; int64 count = 4; bool urgent = 5;"),
        event('string by = 2 [(stepway.privacy.v1.public) = PUBLIC_ID, (buf.validate.field).string.pattern = "^a$"];'),
        event("", option='lane: LANE_NORMAL noun: "thing" id_field: "id" every_service: true'),
        "message Holder { AskRequest asked = 1; google.protobuf.Timestamp at = 2; double share = 3; }",
    ],
)
def test_a_contract_that_keeps_the_rules_has_no_fault(tmp_path: Path, text: str) -> None:
    assert faults([compiled(tmp_path, text)]) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (rpc(""), "AskService/Ask: say who may call it"),
        (rpc(SEES), "AskService/Ask: say whether it reads or writes"),
        (rpc("effect: EFFECT_READ"), "AskService/Ask: nobody may call it"),
        (rpc(f"effect: EFFECT_WRITE {SEES}"), "AskService/Ask: a call that writes needs a request_id"),
        (rpc(f"effect: EFFECT_READ {SEES} {SEES}"), "AskService/Ask: name each role once"),
        (
            rpc("effect: EFFECT_READ grants: { roles: [ROLE_PATIENT, ROLE_PATIENT] scope: SCOPE_SELF }"),
            "AskService/Ask: name each role once",
        ),
        (rpc("effect: EFFECT_READ grants: { roles: [ROLE_PATIENT] }"), "AskService/Ask: name each role once, with a"),
        (
            rpc("effect: EFFECT_READ grants: { roles: [ROLE_UNSPECIFIED] scope: SCOPE_SITE }"),
            "AskService/Ask: name each role once",
        ),
        (rpc("effect: EFFECT_READ grants: { scope: SCOPE_SITE }"), "AskService/Ask: nobody may call it"),
        ("message Held { string name = 1; }", "Held.name: mark it"),
        ("message Held { bytes name = 1; }", "Held.name: mark it"),
        ("message Held { repeated string names = 1; }", "Held.names: mark it"),
        ("message Held { oneof way { string name = 1; } }", "Held.name: mark it"),
        ("message Held { map<string, int32> names = 1; }", "Held.NamesEntry.key: mark it"),
        ("message Outer { message Held { string name = 1; } }", "Outer.Held.name: mark it"),
        ("message Held { string name = 1 [(stepway.privacy.v1.phi) = false]; }", "Held.name: mark it"),
        ("message Held { string name = 1 [(stepway.privacy.v1.public) = PUBLIC_UNSPECIFIED]; }", "Held.name: mark it"),
        (
            "message Held { string name = 1"
            " [(stepway.privacy.v1.public) = PUBLIC_ID, (stepway.privacy.v1.phi) = true]; }",
            "Held.name: it cannot be both",
        ),
        ("message Held { google.protobuf.Struct all = 1; }", "Held.all: google.protobuf.Struct could hold anything"),
        ("message Held { google.protobuf.Any all = 1; }", "Held.all: google.protobuf.Any could hold anything"),
        ("message Held { google.protobuf.Value all = 1; }", "Held.all: google.protobuf.Value could hold anything"),
        ("message Held { google.protobuf.StringValue all = 1; }", "Held.all: google.protobuf.StringValue could"),
        (event("string by = 2 [(stepway.privacy.v1.phi) = true];"), "Happened.by: an event holds"),
        (event("string by = 2 [(stepway.privacy.v1.public) = PUBLIC_ID];"), "Happened.by: an event holds"),
        (event("string by = 2;"), "Happened.by: an event holds"),
        (
            event(
                "string by = 2 [(stepway.privacy.v1.public) = PUBLIC_ID, (stepway.privacy.v1.phi) = true,"
                " (buf.validate.field).string.uuid = true];"
            ),
            "Happened.by: an event holds",
        ),
        (event("bytes by = 2 [(stepway.privacy.v1.public) = PUBLIC_ID];"), "Happened.by: an event holds"),
        (event("double weight = 2;"), "Happened.weight: an event holds"),
        (event("float weight = 2;"), "Happened.weight: an event holds"),
        (event("map<int32, int32> counts = 2;"), "Happened.counts: an event holds"),
        (event("AskResponse who = 2;"), "Happened.who: an event holds"),
        (event("google.protobuf.Struct all = 2;"), "Happened.all: an event holds"),
        (event("", option=EVENT.replace('id_field: "id"', 'id_field: "thing_id"')), "Happened: name the aggregate"),
        (event("", option=EVENT.replace('id_field: "id"', "")), "Happened: name the aggregate"),
        (event("", option=EVENT.replace('noun: "thing"', "")), "Happened: name the aggregate"),
        (event("", first="int64 id = 1;"), "Happened: name the aggregate"),
        (
            event(
                "",
                first=ID.replace("string.uuid = true", "string.pattern = '.'"),
            ),
            "Happened: name the aggregate",
        ),
        (event("", option=EVENT.replace("ListRiskFlags", "ListRisks")), "Happened: dataref names no RPC"),
        (event("", option=EVENT.replace("RiskService/", "RisksService/")), "Happened: dataref names no RPC"),
        (event("", option='noun: "thing" id_field: "id"'), "Happened: dataref names no RPC"),
        (event("", option=f"{EVENT} every_service: true"), "Happened: an event of every service has no dataref"),
    ],
)
def test_a_contract_that_breaks_a_rule_is_named(tmp_path: Path, text: str, fault: str) -> None:
    found = faults([compiled(tmp_path, text)])
    assert [each for each in found if each.startswith(f"stepway.broken.v1.{fault}")], found


def test_an_event_of_every_service_is_said_by_the_one_that_runs() -> None:
    ours, of_intake = event_rule(AuditSealed.DESCRIPTOR), event_rule(ReferralReceived.DESCRIPTOR)
    assert (ours.said_by("care"), ours.service) == ("care", "*")
    assert (of_intake.said_by("care"), of_intake.service) == ("intake", "intake")


def test_a_message_that_is_no_event_has_no_event_rule(tmp_path: Path) -> None:
    file = compiled(tmp_path, "")
    with pytest.raises(ContractError, match="AskRequest is no event"):
        event_rule(file.message_types_by_name["AskRequest"])


def served(folder: Path, text: str) -> type:
    """A servicer class for a contract that this process, and no generated file, knows."""
    package = f"broken{uuid4().hex}"
    files = image_of(folder, text, package=package).file
    mine = next(file for file in files if file.package == f"stepway.{package}.v1")
    descriptor_pool.Default().AddSerializedFile(mine.SerializeToString())

    class AskService:
        SERVICE = f"stepway.{package}.v1.AskService"

    return AskService


NO_GATE: Any = None


async def test_a_service_with_an_rpc_that_anybody_could_call_does_not_start(tmp_path: Path) -> None:
    servicer = served(tmp_path, rpc(""))
    with pytest.raises(ContractError, match="say who may call it"):
        rules_of(servicer.SERVICE)  # type: ignore[attr-defined]
    with pytest.raises(ContractError, match="say who may call it"):
        Server([servicer()], NO_GATE, reflect=False)


async def test_a_servicer_that_lacks_a_method_does_not_start(tmp_path: Path) -> None:
    servicer = served(tmp_path, rpc(f"effect: EFFECT_READ {SEES}"))
    with pytest.raises(ContractError, match="nothing answers Ask"):
        Server([servicer()], NO_GATE, reflect=False)


def test_the_contracts_pass_the_gate(capsys: pytest.CaptureFixture[str]) -> None:
    assert gate.main() == 0
    assert capsys.readouterr().out.count(": ok\n") == 5


def test_the_gate_looks_at_every_contract() -> None:
    files = {file.name for file in gate.contracts()}
    protos = {str(path.relative_to(gate.PROTOS)) for path in (gate.PROTOS / "stepway").rglob("*.proto")}
    options = {f"stepway/{name}/v1/{name}.proto" for name in ("access", "privacy", "events")}
    assert protos - files == options | {"stepway/privacy/v1/label.proto"}


def test_the_gate_fails_and_says_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gate, "faults", lambda files: ["a contract: breaks a rule"])
    assert gate.main() == 1
    assert "access, privacy and events: BROKEN\n  a contract: breaks a rule\n" in capsys.readouterr().out


def test_a_contract_in_bad_style_is_found(tmp_path: Path) -> None:
    image_of(tmp_path, "message lower_case { int32 CamelCase = 1; }")
    found = "\n".join(gate.lint(tmp_path / "image.binpb"))
    assert "lower_case" in found
    assert "CamelCase" in found


def test_a_package_file_that_holds_something_is_found(tmp_path: Path) -> None:
    for name, text in (("empty", ""), ("full", "import os\n"), (".hidden", "import os\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    assert gate.full_inits(tmp_path) == ["full/__init__.py: empty it"]


@pytest.fixture
def released(tmp_path: Path) -> tuple[Path, str]:
    """A repository whose only commit holds the contracts as they are, and that commit."""
    repository = tmp_path / "repository"
    shutil.copytree(gate.PROTOS / "stepway", repository / "protos" / "stepway")
    git(repository, "init", "--quiet")
    git(repository, "add", "protos")
    git(repository, "commit", "--quiet", "--message", "Release")
    return repository, git(repository, "rev-parse", "HEAD")


def git(repository: Path, *arguments: str) -> str:
    who = ["-c", "user.name=Release", "-c", "user.email=release@example.org", "-c", "core.hooksPath=/dev/null"]
    command = ["git", "-C", str(repository), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def changed(tmp_path: Path, old: str, new: str) -> Path:
    """The image of contracts in which a piece of the referral service reads differently."""
    protos, image = tmp_path / "changed", tmp_path / "changed.binpb"
    shutil.copytree(gate.PROTOS / "stepway", protos / "stepway")
    file = protos / "stepway" / "intake" / "v1" / "referral_service.proto"
    assert file.read_text().count(old) >= 1
    file.write_text(file.read_text().replace(old, new, 1))
    assert gate.build().build_image(protos, image) == 0
    return image


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("string reason = 4 [", "string cause = 4 [", "reason"),
        ("string reason = 4 [", "string reason = 9 [", "reason"),
        ("int32 page_size = 1 [", "sint32 page_size = 1 [", "page_size"),
        ("rpc GetReferral(", "rpc ReadReferral(", "GetReferral"),
    ],
)
def test_a_change_that_breaks_a_client_is_found(
    tmp_path: Path, released: tuple[Path, str], old: str, new: str, told: str
) -> None:
    repository, commit = released
    found = gate.broken_since(commit, repository, changed(tmp_path, old, new))
    assert [line for line in found if told in line and "referral_service.proto" in line], found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("// The site's referrals", "// All the site's referrals"),
        ("message GetReferralResponse {", "message GetReferralResponse {\n  int32 version = 9;\n"),
    ],
)
def test_a_change_that_old_clients_do_not_notice_is_fine(
    tmp_path: Path, released: tuple[Path, str], old: str, new: str
) -> None:
    repository, commit = released
    assert gate.broken_since(commit, repository, changed(tmp_path, old, new)) == []


def test_a_baseline_that_git_does_not_know_is_a_fault(released: tuple[Path, str]) -> None:
    found = gate.broken_since("0" * 40, released[0], gate.IMAGE)
    assert len(found) == 1
    assert found[0].startswith(f"git cannot show the protos at {'0' * 40}")
