"""A service's life: it starts without its neighbours, says when it cannot serve, and leaves without losing a call."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from stepway_chassis import outbox, telemetry
from stepway_chassis.app import Service, utc_now
from stepway_chassis.errors import PeerFailed, Refusal, Unavailable
from stepway_chassis.identity import Bearer
from stepway_chassis.rpc.client import Peers
from stepway_chassis.testing import running
from stepway_chassis.transaction import Tx
from stepway_cli.local.health import is_serving
from stepway_cli.local.process import Process
from stepway_intake.app import APP as INTAKE
from tests.calls import service_token
from tests.ledger import LOOK, NOTE, OTHER_SITE, SITE, Ledger, a_note, an_app, message, noted, said
from tests.network import NORTHSIDE, Network, a_referral, phq_9
from tests.waiting import LONGEST, until

RECEIVE = "stepway.intake.v1.ReferralService/ReceiveReferral"
RECORD = "stepway.intake.v1.AssessmentService/RecordAssessment"
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
PERSON = UUID(int=7)


async def deciding(tx: Tx, _: object) -> Any:
    tx.concerns(PERSON)
    outbox.append(tx, noted(uuid4()), label="general")
    return said("done")


@asynccontextmanager
async def calling(network: Network, service: Service, *roles: str, site: str) -> AsyncIterator[Peers]:
    async with bearing(network.token("tester", **{site: list(roles)}), service) as peers:
        yield peers


@asynccontextmanager
async def bearing(token: str, service: Service) -> AsyncIterator[Peers]:
    traced = telemetry.start("test", ratio=0.0)
    peers = Peers({service.app.name: f"127.0.0.1:{service.port}"}, Bearer(token), traced, utc_now)
    try:
        yield peers
    finally:
        await peers.close()
        traced.close()


@asynccontextmanager
async def watching(address: str) -> AsyncIterator[Any]:
    """What the service says of its health, as it says it."""
    async with grpc.aio.insecure_channel(address) as channel:
        watch = HealthStub(channel).Watch(HealthCheckRequest(), timeout=60)
        try:
            yield watch
        finally:
            watch.cancel()


async def told(watch: Any, wanted: int) -> None:
    async with asyncio.timeout(LONGEST):
        while (await watch.read()).status != wanted:
            pass


@asynccontextmanager
async def holding(network: Network, referral_id: str) -> AsyncIterator[None]:
    """Whoever wants to write this referral waits meanwhile."""
    connection = await asyncpg.connect(network.platform.database_url("intake", "app"))
    try:
        async with connection.transaction():
            await connection.execute("SELECT enter_site($1, 'shared')", NORTHSIDE)
            assert await connection.fetch("SELECT 1 FROM referral WHERE id = $1 FOR UPDATE", UUID(referral_id))
            yield
    finally:
        await connection.close()


async def answers_again(network: Network) -> None:
    async def received() -> bool:
        try:
            return bool(await network.call(RECEIVE, a_referral(), role="front_desk"))
        except Refusal:
            return False

    await until(received)


async def test_on_sigterm_a_service_says_so_finishes_what_it_began_and_leaves_nothing(network: Network) -> None:
    referral = (await network.call(RECEIVE, a_referral(), role="front_desk")).referral
    intake = network.platform.process("intake")
    assert isinstance(intake, Process)
    try:
        async with watching(network.platform.address("intake")) as watch:
            await told(watch, SERVING)
            async with holding(network, referral.id):
                answers = phq_9(referral.id, [1] * 9)
                call = asyncio.create_task(network.call(RECORD, answers, role="clinician"))
                await until(lambda: waits_for_a_lock(network))
                asked = time.monotonic()
                intake.ask_to_stop()
                await told(watch, NOT_SERVING)
                with pytest.raises(TimeoutError):  # it does not take it back
                    async with asyncio.timeout(1.5):
                        await told(watch, SERVING)
                assert not call.done()
        recorded = await call
        assert await asyncio.to_thread(intake.wait, 15) == 0
        assert time.monotonic() - asked < 15
        assert network.rows("intake", f"SELECT 1 FROM assessment WHERE id = '{recorded.assessment.id}'")
        mine = f"aggregate_id = '{recorded.assessment.id}'"
        assert network.rows("intake", f"SELECT 1 FROM outbox WHERE {mine} AND published_at IS NOT NULL")
        await until(lambda: nobody_connected(network))
    finally:
        await asyncio.to_thread(network.platform.start_service, "intake")
    await answers_again(network)


async def waits_for_a_lock(network: Network) -> bool:
    waiting = "SELECT pid FROM pg_stat_activity WHERE usename = 'intake_app' AND wait_event_type = 'Lock'"
    return bool(network.rows("intake", waiting))


async def nobody_connected(network: Network) -> bool:
    return not network.rows("intake", "SELECT usename FROM pg_stat_activity WHERE usename LIKE 'intake%'")


async def test_a_service_is_not_serving_while_postgres_is_down_and_serves_again_by_itself(network: Network) -> None:
    ports = [network.platform.folder.port(service) for service in network.platform.services]
    await asyncio.to_thread(network.platform.postgres.stop)
    try:
        for port in ports:
            await until(partial(says, port, serving=False))
        with pytest.raises(Unavailable) as refused:
            await network.call(RECEIVE, a_referral(), role="front_desk")
        assert refused.value.reason == "DATABASE_UNAVAILABLE"
    finally:
        await asyncio.to_thread(network.platform.postgres.start)
    for port in ports:
        await until(partial(says, port, serving=True))
    await answers_again(network)


async def says(port: int, *, serving: bool) -> bool:
    return is_serving(port) is serving


async def test_a_service_that_never_reached_its_database_never_says_that_it_serves(ledger: Ledger) -> None:
    async def silent(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        """A database that takes the connection and says nothing."""

    async with await asyncio.start_server(silent, "127.0.0.1") as deaf:
        port = deaf.sockets[0].getsockname()[1]
        url = f"postgresql://ledger_app:secret@127.0.0.1:{port}/stepway_ledger"
        environ = ledger.environment(database_url=url, keeper_database_url=url, relay_database_url=url)
        async with running(an_app(deciding), environ) as service, watching(f"127.0.0.1:{service.port}") as watch:
            assert (await watch.read()).status == NOT_SERVING


async def test_a_service_starts_and_serves_while_nats_is_down_and_publishes_when_it_is_back(ledger: Ledger) -> None:
    network = ledger.network
    nothing = f"nats://127.0.0.1:{network.platform.folder.port('nothing')}"

    async def all_published() -> bool:
        return not ledger.rows("SELECT id FROM outbox WHERE published_at IS NULL AND site = 'harbour'")

    async with running(an_app(deciding), ledger.environment(nats_url=nothing)) as service:
        async with watching(f"127.0.0.1:{service.port}") as watch:
            await told(watch, SERVING)
        async with calling(network, service, "clinician", site=SITE) as caller:
            assert (await caller.call(NOTE, a_note(), site=SITE)).said == "done"
        assert not await all_published()
    async with running(an_app(deciding), ledger.environment()):
        await until(all_published)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"STEPWAY_POOLSIZE": "hunter2"}, "stepway intake: unknown: STEPWAY_POOLSIZE; known: STEPWAY_"),
        (
            {"STEPWAY_POOL_SIZE": "hunter2"},
            "stepway intake: cannot read STEPWAY_POOL_SIZE: it has to be a whole number",
        ),
        ({"STEPWAY_NATS_URL": ""}, "stepway intake: missing: STEPWAY_NATS_URL"),
    ],
)
def test_a_setting_that_cannot_be_ends_the_process_with_one_clear_line(
    network: Network, changes: dict[str, str], complaint: str
) -> None:
    environ = network.platform.environment("intake") | changes
    ended = subprocess.run(
        [sys.executable, "-m", "stepway_intake"], env=environ, capture_output=True, text=True, timeout=20, check=False
    )
    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert line.startswith(complaint)
    assert "hunter2" not in line


async def test_two_services_run_side_by_side_in_one_process(network: Network, ledger: Ledger) -> None:
    own = {"STEPWAY_LISTEN": "127.0.0.1:0", "STEPWAY_METRICS_LISTEN": "127.0.0.1:0", "STEPWAY_TRACE_FILE": ""}
    told_intake = network.platform.environment("intake") | own
    async with running(INTAKE, told_intake) as intake, running(an_app(deciding), ledger.environment()) as other:
        assert intake.port != other.port
        async with calling(network, other, "clinician", site=SITE) as caller:
            assert (await caller.call(NOTE, a_note(), site=SITE)).said == "done"
        async with calling(network, intake, "front_desk", site=NORTHSIDE) as caller:
            assert (await caller.call(RECEIVE, a_referral(), site=NORTHSIDE)).referral.id


async def test_a_site_that_never_stops_calling_is_held_back_and_no_other_site_and_no_service(ledger: Ledger) -> None:
    """At a pace of one call in ten seconds, the second of a site would wait too long."""
    network, everywhere = ledger.network, {site: ["clinician"] for site in (SITE, OTHER_SITE)}
    async with (
        running(an_app(deciding), ledger.environment(site_pace="0.1")) as service,
        bearing(network.token("tester", **everywhere), service) as people,
        bearing(service_token(network, "care"), service) as care,
    ):
        for site in (OTHER_SITE, SITE):
            await people.call(NOTE, a_note(), site=site)
        for site in (OTHER_SITE, SITE):
            with pytest.raises(Unavailable) as refused:
                await people.call(NOTE, a_note(), site=site)
            assert refused.value.reason == "BUSY"
        for _ in range(3):
            await care.call(LOOK, a_note(), site=SITE)


async def test_a_handler_that_says_for_nobody_whose_record_it_touched_is_a_defect_and_commits_nothing(
    ledger: Ledger,
) -> None:
    account, request = uuid4(), a_note()

    async def silent(tx: Tx, _: object) -> Any:
        outbox.append(tx, noted(account), label="general")
        await outbox.announce(tx)
        return message("NoteResponse")()

    async with (
        running(an_app(silent), ledger.environment()) as service,
        calling(ledger.network, service, "clinician", site=SITE) as caller,
    ):
        for rpc in (NOTE, NOTE.replace("Note", "Look")):
            with pytest.raises(PeerFailed) as refused:
                await caller.call(rpc, request, site=SITE)
            assert str(refused.value) == "INTERNAL"
            assert "concerns" not in str(refused.value)
    assert ledger.rows(f"SELECT id FROM outbox WHERE aggregate_id = '{account}'") == []
    assert ledger.rows(f"SELECT rpc FROM idempotency WHERE request_id = '{request.request_id}'") == []
