"""The work queue: who needs what today, in pages, from an index that other sites do not make longer."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.dialects import postgresql

from stepway.intake.v1.referral_service_pb2 import (
    AssignReferralRequest,
    CloseReferralRequest,
    ListWorkRequest,
    RecordContactRequest,
)
from stepway.intake.v1.risk_service_pb2 import (
    AcknowledgeRiskFlagRequest,
    ListRiskFlagsRequest,
    RecordDispositionRequest,
)
from stepway_chassis import migrations
from stepway_chassis.database import Database
from stepway_chassis.pages import Place
from stepway_chassis.times import to_proto
from stepway_cli.bring_up import migrations_of
from stepway_intake.store.referrals import work_at
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral, phq_9

INTAKE = "stepway.intake.v1"
REFERRALS = f"{INTAKE}.ReferralService"
BUSY = "site7"
EACH_HAS, BUSY_HAS = 150, 5000
PAGE = 51


def in_a_month() -> Any:
    return to_proto(datetime.now(UTC) + timedelta(days=30))


async def owned(network: Network, count: int) -> tuple[str, list[str]]:
    """Somebody of the staff whom nobody knows, and the referrals that they look after."""
    owner, referrals = f"staff-{uuid4().hex[:8]}", []
    for _ in range(count):
        received = await network.call(f"{REFERRALS}/ReceiveReferral", a_referral(), role="front_desk")
        referrals.append(received.referral.id)
        named = AssignReferralRequest(request_id=str(uuid4()), referral_id=referrals[-1], owner=owner)
        await network.call(f"{REFERRALS}/AssignReferral", named, role="front_desk")
    return owner, referrals


async def work(network: Network, site: str = NORTHSIDE, **changes: Any) -> list[str]:
    """All pages of the queue."""
    ids, token = list[str](), ""
    while True:
        asked = ListWorkRequest(**{"page_size": 100, **changes}, page_token=token)
        answer = await network.call(f"{REFERRALS}/ListWork", asked, role="front_desk", site=site)
        ids += [each.id for each in answer.referrals]
        if not (token := answer.next_page_token):
            return ids


async def decline(network: Network, referral: str) -> None:
    closing = CloseReferralRequest(request_id=str(uuid4()), referral_id=referral, outcome="REFERRAL_STATUS_DECLINED")
    await network.call(f"{REFERRALS}/CloseReferral", closing, role="front_desk")


async def test_the_queue_has_what_is_due_what_is_longest_due_first_in_pages_of_any_size(network: Network) -> None:
    owner, mine = await owned(network, 5)
    for size in (1, 2, 5, 100):
        assert await work(network, owner=owner, due_before=in_a_month(), page_size=size) == mine
    everybodys = await work(network, due_before=in_a_month())
    assert [each for each in everybodys if each in mine] == mine
    tried = RecordContactRequest(request_id=str(uuid4()), referral_id=mine[0], reached=False)
    await network.call(f"{REFERRALS}/RecordContact", tried, role="front_desk")  # which puts the next try off
    await decline(network, mine[1])
    assert await work(network, owner=owner, due_before=in_a_month()) == [*mine[2:], mine[0]]
    assert not set(mine) & set(await work(network, LAKESIDE, due_before=in_a_month()))
    assert await work(network, owner=owner, due_before=to_proto(datetime.now(UTC))) == []


async def test_a_page_goes_on_where_the_last_ended_though_that_has_been_done_meanwhile(network: Network) -> None:
    owner, mine = await owned(network, 4)
    asked = ListWorkRequest(page_size=2, due_before=in_a_month(), owner=owner)
    first = await network.call(f"{REFERRALS}/ListWork", asked, role="front_desk")
    await decline(network, mine[1])
    asked.page_token = first.next_page_token
    second = await network.call(f"{REFERRALS}/ListWork", asked, role="front_desk")
    assert ([each.id for each in second.referrals], second.next_page_token) == (mine[2:], "")


async def test_who_is_in_danger_is_marked_until_it_is_on_record_what_was_done(network: Network) -> None:
    owner, (flagged, calm) = await owned(network, 2)
    flag = await in_danger(network, flagged)

    async def marked(role: str = "clinician") -> list[tuple[str, bool]]:
        asked = ListWorkRequest(owner=owner, due_before=in_a_month())
        listed = (await network.call(f"{REFERRALS}/ListWork", asked, role=role)).referrals
        return sorted((each.id, each.HasField("flag_open_since")) for each in listed)

    assert await marked() == sorted([(flagged, True), (calm, False)])
    assert await marked("front_desk") == sorted([(flagged, False), (calm, False)])
    await take(network, flag)
    assert (flagged, True) in await marked()
    await dispose(network, flag)
    assert (flagged, False) in await marked()


async def in_danger(network: Network, referral: str) -> str:
    """The flag that somebody's answers raise."""
    answered = phq_9(referral, [0] * 8 + [1])
    recorded = await network.call(f"{INTAKE}.AssessmentService/RecordAssessment", answered, role="clinician")
    return str(recorded.risk_flag_id)


async def take(network: Network, flag: str) -> None:
    request = AcknowledgeRiskFlagRequest(request_id=str(uuid4()), risk_flag_id=flag)
    await network.call(f"{INTAKE}.RiskService/AcknowledgeRiskFlag", request, role="clinician")


async def dispose(network: Network, flag: str) -> None:
    done = {"disposition": "RISK_DISPOSITION_NO_ACUTE_RISK", "note": "spoken with"}
    request = RecordDispositionRequest(request_id=str(uuid4()), risk_flag_id=flag, **done)
    await network.call(f"{INTAKE}.RiskService/RecordDisposition", request, role="clinician")


async def test_open_flags_come_by_the_time_of_their_next_step_in_pages_of_any_size(network: Network) -> None:
    _, referrals = await owned(network, 4)
    taken, first, second, done = flags = [await in_danger(network, each) for each in referrals]
    for flag in (done, taken):
        await take(network, flag)
    await dispose(network, done)

    async def due(**asked: Any) -> list[str]:
        """Those of them that are listed."""
        return [each for each in await due_flags(network, **asked) if each in flags]

    in_half_an_hour = to_proto(datetime.now(UTC) + timedelta(minutes=30))
    for size in (1, 100):
        assert await due(due_before=in_a_month(), page_size=size) == [first, second, taken]
    assert (
        await due(due_before=in_half_an_hour) == await due(due_before=in_a_month(), open_only=True) == [first, second]
    )
    assert await due(due_before=to_proto(datetime.now(UTC))) == []


async def due_flags(network: Network, **asked: Any) -> list[str]:
    """All pages."""
    ids, token = list[str](), ""
    while True:
        request = ListRiskFlagsRequest(**{"page_size": 100, **asked}, page_token=token)
        answer = await network.call(f"{INTAKE}.RiskService/ListRiskFlags", request, role="clinician")
        ids += [each.id for each in answer.risk_flags]
        if not (token := answer.next_page_token):
            return ids


@pytest.fixture
async def many_sites(network: Network) -> AsyncIterator[Database]:
    """A database of intake that no service looks at."""
    name, platform = f"scratch_{uuid4().hex}", network.platform
    platform.postgres.run_sql(f"CREATE DATABASE {name} OWNER intake_owner")
    owner, app = (
        platform.database_url("intake", role).replace("/stepway_intake", f"/{name}") for role in ("owner", "app")
    )
    await migrations.upgrade(owner, migrations_of("intake"))
    database = Database(app, service="intake", cell="shared", pool_size=1)
    yield database
    await database.close()
    platform.postgres.run_sql(f"DROP DATABASE {name}")


def fill(network: Network, database: Database, sites: int) -> None:
    """So many sites, one of them busy, each with some referrals about which there is nothing to do."""
    network.platform.postgres.run_sql(
        f"""
        INSERT INTO site (site, zone, settings, revision)
        SELECT 'site' || n, 'UTC', '{{}}', 1 FROM generate_series(1, {sites}) n ON CONFLICT DO NOTHING;
        CREATE TEMP TABLE fresh AS SELECT site, uuidv7() AS id
          FROM site, generate_series(1, CASE site WHEN '{BUSY}' THEN {BUSY_HAS} ELSE {EACH_HAS} END)
         WHERE site NOT IN (SELECT site FROM patient);
        INSERT INTO patient (site, id, person, label, created_at) SELECT site, id, '{{}}', 'part2', now() FROM fresh;
        INSERT INTO referral (site, id, patient_id, status, related_people, reason, received_at, due_at, owner)
        SELECT site, id, id, 'received', '[]', '', now(),
               CASE WHEN random() < 0.3 THEN now() + (random() - 0.5) * interval '20 days' END,
               'staff-' || (random() * 5)::int FROM fresh;
        VACUUM ANALYZE referral, patient""",
        database=str(database.engine.url.database),
    )


async def plan_of(database: Database, **which: Any) -> dict[str, Any]:
    """How the service's own role reads one page of one site's queue."""
    wanted: dict[str, Any] = {"until": datetime.now(UTC), "owner": "", "after": None, "limit": PAGE, **which}
    statement = work_at(BUSY, **wanted).compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
    async with database.transaction(BUSY, "test") as tx:
        told = await tx.connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
        found = told.scalar_one()
    plan: dict[str, Any] = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for each in plan.get("Plans", ()) for node in nodes(each))]


def blocks(node: dict[str, Any]) -> int:
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


async def test_a_page_is_read_from_an_index_and_costs_the_same_among_two_hundred_sites(
    network: Network, many_sites: Database
) -> None:
    further = {"after": Place(datetime.now(UTC) - timedelta(days=5), UUID(int=0))}
    pages = [
        (index, {**whose, **more})
        for index, whose in (("referral_due", {}), ("referral_owned", {"owner": "staff-1"}))
        for more in ({}, further)
    ]
    cut = dict[tuple[int, int], int]()
    for sites in (10, 200):
        fill(network, many_sites, sites)
        for number, (index, which) in enumerate(pages):
            plan = await plan_of(many_sites, **which)
            assert index in {node.get("Index Name") for node in nodes(plan)}
            (queue,) = (node for node in nodes(plan) if node.get("Relation Name") == "referral")
            cut[sites, number] = blocks(queue)
            assert queue["Node Type"] != "Seq Scan"
            assert blocks(plan) - blocks(queue) < 6 * PAGE  # a look at each person, by key
    for number in range(len(pages)):
        assert cut[200, number] <= cut[10, number] + 10, cut
