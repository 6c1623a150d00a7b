"""The servers that a local Stepway brings along: kept data, kept secrets, least privilege, no orphans."""

import asyncio
import contextlib
import json
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path

import asyncpg
import nats
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig

from stepway_cli.local.errors import DidNotStart, FolderInUse, FolderNotHeld
from stepway_cli.local.folder import RunFolder
from stepway_cli.local.leftovers import processes_in
from stepway_cli.local.platform import Platform
from stepway_cli.local.postgres import PostgresServer
from stepway_cli.local.process import Process
from stepway_cli.local.roles import ROLES
from stepway_cli.tokens import ALGORITHM, KeyFolder, mint, read_key
from tests.waiting import LONGEST

SERVICES = ("intake", "notifications")
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

STANDIN = """
import asyncio, os, grpc
from grpc_health.v1 import health, health_pb2_grpc
print("environment:", *sorted(name for name in os.environ if name.startswith("STEPWAY_")))
if os.environ.get("STANDIN_FAILS"):
    raise SystemExit("the standin gives up")
async def main():
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    server.add_insecure_port(os.environ["STEPWAY_LISTEN"])
    await server.start()
    await server.wait_for_termination()
asyncio.run(main())
"""

SUPERVISOR = """
import sys, time
from pathlib import Path
from stepway_cli.local.platform import Platform
platform = Platform(Path(sys.argv[1]))
platform.start()
print(*(platform.process(name).pid for name in ("postgres", "nats", "smtp")), platform.postgres.data, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    modules = tmp_path_factory.mktemp("modules")
    (modules / "stepway_standin.py").write_text(STANDIN)
    overrides = {
        "standin": {"PYTHONPATH": str(modules)},
        "failing": {"PYTHONPATH": str(modules), "STANDIN_FAILS": "1"},
    }
    (modules / "stepway_failing.py").write_text(STANDIN)
    folder = tmp_path_factory.mktemp("run") / ".stepway" / "test"
    with Platform(folder, (*SERVICES, "standin", "failing"), overrides=overrides) as platform:
        yield platform
        platform.postgres.remove()


# --- the run folder


def test_a_second_holder_of_a_run_folder_is_refused_by_its_name(platform: Platform) -> None:
    with pytest.raises(FolderInUse, match=str(platform.folder.path)):
        Platform(platform.folder.path).start()


def test_who_does_not_hold_a_folder_reads_its_secrets_and_makes_none(platform: Platform) -> None:
    reader = RunFolder(platform.folder.path)
    assert reader.secret("nats_admin") == platform.nats_admin[2]
    assert reader.port("postgres") == platform.postgres.port
    with pytest.raises(FolderNotHeld):
        reader.secret("never_made")


def test_nobody_else_reads_a_run_folder(platform: Platform) -> None:
    folder = platform.folder.path
    assert folder.stat().st_mode & 0o777 == 0o700
    private = ["secrets.json", "nats.conf", "keys/people.json", "keys/intake.json", "logs/postgres.log"]
    assert [(folder / name).stat().st_mode & 0o077 for name in private] == [0] * len(private)


def test_a_port_that_was_taken_meanwhile_is_replaced(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        first = folder.port("intake")
    with RunFolder(tmp_path / "run") as folder:
        assert folder.port("intake") == first
    with listening(first), RunFolder(tmp_path / "run") as folder:
        assert folder.port("intake") != first


# --- processes


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    child = Process("sleeper", ["/bin/sleep", "60"], {}, tmp_path / "log")
    thread = threading.Thread(target=child.start)
    thread.start()
    thread.join()
    with pytest.raises(TimeoutError):
        child.wait(0.3)
    child.kill()
    assert child.wait() == -signal.SIGKILL


def test_a_paused_child_still_hears_that_it_should_stop(tmp_path: Path) -> None:
    child = Process("sleeper", ["/bin/sleep", "60"], {}, tmp_path / "log")
    child.start()
    child.pause()
    child.stop(timeout=5)
    assert child.wait() == -signal.SIGTERM


# --- PostgreSQL


async def test_a_role_enters_the_database_of_its_own_service_only(platform: Platform) -> None:
    for role in ROLES:
        assert await query(platform.database_url("intake", role), "SELECT current_user") == f"intake_{role}"
        for elsewhere in ("stepway_notifications", "postgres", "template1"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await query(platform.database_url("intake", role).replace("stepway_intake", elsewhere), "SELECT 1")


async def test_nobody_enters_without_the_password(platform: Platform) -> None:
    url = platform.database_url("intake", "app").replace(platform.folder.secret("intake_app"), "guess")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await query(url, "SELECT 1")


async def test_only_the_owner_makes_tables_and_nobody_is_above_row_security(platform: Platform) -> None:
    await query(platform.database_url("intake", "owner"), "CREATE TABLE made_by_owner (id int)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await query(platform.database_url("intake", "app"), "CREATE TABLE made_by_app (id int)")
    powers = "SELECT bool_or(rolsuper OR rolbypassrls OR rolcreaterole) FROM pg_roles WHERE rolname ~ '^intake_'"
    assert await query(platform.database_url("intake", "app"), powers) is False


@pytest.mark.parametrize(
    ("role", "setting", "value"),
    [
        ("app", "idle_in_transaction_session_timeout", "10s"),
        ("keeper", "transaction_timeout", "30s"),
        ("app", "tcp_keepalives_idle", "5"),
        ("relay", "idle_session_timeout", "10s"),
        ("relay", "tcp_keepalives_count", "3"),
        ("owner", "transaction_timeout", "0"),
    ],
)
async def test_a_stopped_process_holds_nobody_up(platform: Platform, role: str, setting: str, value: str) -> None:
    assert await query(platform.database_url("intake", role), f"SHOW {setting}") == value


def test_the_server_is_durable_and_reads_utf8(platform: Platform) -> None:
    shown = platform.postgres.run_sql("SHOW fsync; SHOW wal_level; SHOW server_encoding; SHOW unix_socket_directories")
    assert shown.split("\n") == ["on", "replica", "UTF8", "", ""]
    assert platform.postgres.run_sql("SELECT upper('é')") == "É\n"


async def test_a_killed_postgres_starts_again_with_its_data(platform: Platform) -> None:
    owner = platform.database_url("notifications", "owner")
    await query(owner, "CREATE TABLE kept AS SELECT 42 AS answer")
    session = await asyncpg.connect(owner)
    platform.process("postgres").kill()
    assert not processes_in(platform.postgres.data)
    platform.process("postgres").start()
    platform.postgres.provision("notifications")
    assert await query(owner, "SELECT answer FROM kept") == 42
    with contextlib.suppress(Exception):
        await session.close(timeout=1)


# --- NATS


@pytest.fixture
async def stream(platform: Platform) -> AsyncIterator[JetStreamContext]:
    async with as_admin(platform) as jetstream:
        await jetstream.add_stream(name="EVENTS", subjects=["evt.v1.>"])
        yield jetstream
        await jetstream.delete_stream("EVENTS")


async def test_a_service_publishes_its_own_events_and_pulls_all(platform: Platform, stream: JetStreamContext) -> None:
    intake = await connect(platform, "intake")
    events = intake.jetstream()
    await events.publish("evt.v1.northside.general.intake.referral_received", b"{}")
    await events.add_consumer("EVENTS", ConsumerConfig(durable_name="intake-northside", ack_policy=AckPolicy.EXPLICIT))
    pulled = await events.pull_subscribe_bind("intake-northside", "EVENTS")
    [message] = await pulled.fetch(1, timeout=LONGEST)
    await message.ack_sync(timeout=LONGEST)
    info = await events.consumer_info("EVENTS", "intake-northside")
    assert (info.num_pending, info.num_ack_pending) == (0, 0)
    await intake.close()


@pytest.mark.parametrize(
    "subject",
    [
        "evt.v1.northside.general.notifications.message_delivered",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.PURGE.EVENTS",
        "$JS.API.CONSUMER.DELETE.EVENTS.intake-northside",
        "$JS.API.STREAM.MSG.GET.EVENTS",
        "_INBOX_notifications.anything",
        "$KV.SITES.intake.northside",
        "committed.notifications",
    ],
)
async def test_a_service_publishes_nothing_else(platform: Platform, stream: JetStreamContext, subject: str) -> None:
    assert "permissions violation for publish" in await refusal(platform, lambda intake: intake.publish(subject, b"{}"))
    assert (await stream.stream_info("EVENTS")).state.messages == 0


@pytest.mark.parametrize(
    "subject", ["_INBOX_notifications.>", "_INBOX.>", "evt.v1.>", ">", "$KV.SITES.care.>", "committed.care"]
)
async def test_a_service_listens_to_its_own_inbox_only(platform: Platform, subject: str) -> None:
    refused = await refusal(platform, lambda intake: intake.subscribe(subject))
    assert "permissions violation for subscription" in refused


async def test_a_killed_nats_keeps_what_it_acknowledged_and_a_wiped_one_nothing(platform: Platform) -> None:
    async with as_admin(platform) as before:
        await before.add_stream(name="EVENTS", subjects=["evt.v1.>"])
        await before.publish("evt.v1.northside.general.intake.referral_received", b"{}")
    platform.nats.kill()
    platform.nats.start()
    async with as_admin(platform) as restarted:
        assert (await restarted.stream_info("EVENTS")).state.messages == 1
    platform.nats.kill()
    platform.nats.wipe()
    platform.nats.start()
    async with as_admin(platform) as wiped:
        assert await wiped.streams_info() == []


# --- mail


def test_an_accepted_mail_is_a_file(platform: Platform) -> None:
    mail(platform, "parent@example.org", message_id="<one@stepway>")
    mail(platform, "parent@example.org", message_id="<one@stepway>")
    files = sorted(platform.mails.glob("*.eml"))
    assert [file.name.split("-")[0] for file in files] == ["000001", "000002"]
    assert len({file.stem.split("-")[1] for file in files}) == 1
    kept = message_from_bytes(files[0].read_bytes())
    assert (kept["Delivered-To"], kept["Message-ID"]) == ("parent@example.org", "<one@stepway>")


@pytest.mark.parametrize(("address", "code"), [("refused@example.org", 550), ("busy@example.org", 451)])
def test_some_recipients_are_refused(platform: Platform, address: str, code: int) -> None:
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        mail(platform, address, message_id="<two@stepway>")
    assert refused.value.recipients[address][0] == code


# --- services


def test_a_service_starts_until_it_serves_and_is_told_only_what_is_its_own(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPWAY_OF_THE_CALLER", "x")
    platform.start_service("standin")
    said = (platform.folder.path / "logs" / "standin.log").read_text()
    platform.process("standin").kill()
    platform.process("standin").start()
    platform.wait_until_serving("standin")
    platform.process("standin").stop()
    told = platform.environment("standin")
    assert {name for name in told if name.startswith("STEPWAY_")} == set(said.split()[1:])
    assert "STEPWAY_OF_THE_CALLER" not in told


def test_a_service_that_ends_at_once_is_reported_with_its_last_lines(platform: Platform) -> None:
    with pytest.raises(DidNotStart, match="the standin gives up"):
        platform.start_service("failing")


# --- tokens


def test_a_token_is_verified_with_the_public_keys_alone(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path)
    keys.create(SERVICES)
    before = keys.jwks_file.read_text()
    keys.create(SERVICES)
    assert keys.jwks_file.read_text() == before
    assert '"d"' not in before
    lifetime = timedelta(minutes=5)
    token = mint(keys.people_key(), "u1", grants={"northside": ["front_desk"]}, now=NOON, lifetime=lifetime)
    read = jwt.decode(token, KeySet.import_key_set(json.loads(before)), algorithms=[ALGORITHM])
    assert read.header["kid"] == "people-1"
    assert read.claims["grants"] == {"northside": ["front_desk"]}
    assert read.claims["exp"] - read.claims["iat"] == 300
    assert read_key(keys.service_key_file("intake")).as_dict(private=False)["stepway_service"] == "intake"


# --- supervisors that end


def test_nothing_outlives_a_killed_supervisor_and_the_next_start_finds_its_data(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with supervisor(folder) as (first, pids, data):
        first.kill()
        first.wait()
        wait_until(lambda: not any(map(is_running, pids)) and not processes_in(data))
    ports, secrets = (folder / "ports.json").read_text(), (folder / "secrets.json").read_text()
    with Platform(folder) as second:
        assert ((folder / "ports.json").read_text(), (folder / "secrets.json").read_text()) == (ports, secrets)
        assert "stepway_intake" in second.postgres.run_sql("SELECT datname FROM pg_database")
        second.postgres.remove()


def test_a_postgres_that_nobody_supervises_is_stopped_and_replaced(platform: Platform) -> None:
    unsupervised = platform.postgres
    replacement = PostgresServer(platform.folder)
    replacement.start()
    assert not unsupervised.alive
    replacement.stop()
    unsupervised.start()


def test_the_lock_file_of_a_dead_postgres_harms_no_stranger_with_its_number(platform: Platform, tmp_path: Path) -> None:
    stranger = Process("stranger", ["/bin/sleep", "60"], {}, tmp_path / "log")
    stranger.start()
    platform.postgres.kill()
    (platform.postgres.data / "postmaster.pid").write_text(f"{stranger.pid}\n")
    platform.postgres.start()
    assert stranger.alive
    stranger.kill()


# --- words of these tests


async def query(url: str, sql: str) -> object:
    session = await asyncpg.connect(url)
    try:
        return await session.fetchval(sql)
    finally:
        await session.close()


async def connect(platform: Platform, user: str, **options: object) -> Client:
    return await nats.connect(
        platform.nats.url,
        user=user,
        password=platform.nats.password(user),
        inbox_prefix=f"_INBOX_{user}".encode(),
        allow_reconnect=False,
        connect_timeout=LONGEST,
        **options,
    )


@contextlib.asynccontextmanager
async def as_admin(platform: Platform) -> AsyncIterator[JetStreamContext]:
    connection = await connect(platform, "admin")
    yield connection.jetstream()
    await connection.close()


async def refusal(platform: Platform, attempt: Callable[[Client], Awaitable[object]]) -> str:
    """What the server says to intake about the attempt."""
    said: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def hear(error: Exception) -> None:
        if not said.done():
            said.set_result(str(error))

    intake = await connect(platform, "intake", error_cb=hear)
    await attempt(intake)
    try:
        return await asyncio.wait_for(said, timeout=LONGEST)
    finally:
        await intake.close()


def mail(platform: Platform, to: str, *, message_id: str) -> None:
    message = EmailMessage()
    message["Message-ID"] = message_id
    message["From"], message["To"] = "stepway@example.org", to
    message.set_content("You have a message.")
    with smtplib.SMTP("127.0.0.1", platform.folder.port("smtp")) as server:
        server.send_message(message)


@contextlib.contextmanager
def listening(port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield


@contextlib.contextmanager
def supervisor(folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[int], Path]]:
    """A Platform in a process of its own, with the process ids of its servers and the data folder of its PostgreSQL."""
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        *pids, data = process.stdout.readline().split()
        yield process, [int(pid) for pid in pids], Path(data)


def is_running(pid: int) -> bool:
    """A zombie that nobody has collected yet does not run."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
