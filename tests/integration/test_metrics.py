"""What the services measure of themselves on the running platform: each number is there, and moves for its reason."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from stepway.notifications.v1.escalation_service_pb2 import AcknowledgeEscalationRequest
from stepway_chassis import outbox, telemetry
from stepway_chassis.app import utc_now
from stepway_chassis.broker import Broker, Stored
from stepway_chassis.deliveries import Delivery
from stepway_chassis.errors import Denied, NotFound
from stepway_chassis.relay import Relay
from stepway_cli import letters, status
from stepway_cli.place import place
from stepway_cli.services import SERVICES
from stepway_cli.sites import SiteRecord, apply
from tests.cases import IN_DANGER, Case, a_case
from tests.faults.foreign import administrator, changed, put
from tests.ledger import Ledger, noted
from tests.network import NORTHSIDE, Network, a_referral, phq_9
from tests.scraping import Scrape, scraped
from tests.waiting import until

RECEIVE = "stepway.intake.v1.ReferralService/ReceiveReferral"
RECORD = "stepway.intake.v1.AssessmentService/RecordAssessment"
ACKNOWLEDGE = "stepway.notifications.v1.EscalationService/AcknowledgeEscalation"
SITE = "well-measured"
SETTINGS = {
    "short_name": "Brookside",
    "phone": "503-555-0100",
    "email": "office@brookside.example.org",
    "sending_window": ["00:00", "24:00"],
    "on_call": [{"clinician": "staff-2041", "email": "reyes@brookside.example.org"}],
}
EVERYWHERE = (
    "rpc_server_call_duration_seconds",
    "db_client_connection_wait_time_seconds",
    "messaging_client_operation_duration_seconds",
    "stepway_outbox_unpublished",
    "stepway_outbox_age_seconds",
    "stepway_outbox_blocked",
    "stepway_dead_letters_waiting",
    "stepway_consumer_pending",
    "stepway_event_delay_seconds",
    "stepway_loop_lag_seconds",
)
SAYS_NOTHING = {"care": {"messaging_client_operation_duration_seconds"}}
CLINICAL = {
    "intake": (
        *("stepway_risk_flags_open", "stepway_risk_flags_urgent", "stepway_risk_flags_unpaged"),
        *("stepway_risk_flags_overdue", "stepway_referrals_overdue"),
        *("stepway_hand_offs_open", "stepway_hand_offs_overdue"),
    ),
    "scheduling": ("stepway_waitlist_people",),
    "care": ("stepway_treatment_plans_draft", "stepway_treatment_plans_overdue"),
    "family": (),
    "notifications": (
        "stepway_escalations_unacknowledged",
        "stepway_escalations_overdue",
        "stepway_messages_queued",
        "stepway_messages_overdue",
    ),
}
PRIVATE = ("Quillan", "Vexmoor", "vexmoor", "2125550142", "2125550143", "wants help", "Corwin", "UNCLE")


@pytest_asyncio.fixture(scope="module")
async def case(network: Network) -> Case:
    """Somebody's whole way at a site that only these tests know."""
    for service in SERVICES:
        url = network.platform.database_url(service, "registrar")
        await apply(url, [SiteRecord(SITE, "UTC", 1, SETTINGS)])
    for service in SERVICES:
        await seen(network, service, lambda now: SITE in now.sites("stepway_outbox_unpublished"))
        await seen(network, service, lambda now: SITE in now.sites("stepway_consumer_pending"))
    return await a_case(network, SITE)


async def seen(network: Network, service: str, wanted: Callable[[Scrape], bool]) -> Scrape:
    """The first scrape that has what is wanted."""

    async def look() -> Scrape | None:
        now = await scraped(network, service)
        return now if wanted(now) else None

    return await until(look)


def at_site(sample: str, count: float, **labels: str) -> Callable[[Scrape], bool]:
    return lambda now: now.sum(sample, stepway_site=SITE, **labels) == count


async def event(network: Network, token: str) -> Delivery:
    """One event of the site, as it lies in the stream."""

    async def published() -> list[Stored]:
        return await network.published(f"evt.v1.{SITE}.*.*.{token}")

    first = (await until(published))[0]
    return Delivery(SITE, first.subject, first.headers, first.payload)


@asynccontextmanager
async def stopped(network: Network, name: str) -> AsyncIterator[None]:
    await asyncio.to_thread(network.platform.process(name).stop)
    try:
        yield
    finally:
        await asyncio.to_thread(network.platform.process(name).start)
        if name in SERVICES:
            await asyncio.to_thread(network.platform.wait_until_serving, name)


async def refused(refusal: type[Exception], call: Awaitable[Any]) -> None:
    with pytest.raises(refusal):
        await call


@pytest.mark.parametrize("service", SERVICES)
async def test_after_a_journey_every_service_shows_every_number_for_its_site(
    network: Network, case: Case, service: str
) -> None:
    wanted = {*EVERYWHERE, *CLINICAL[service]} - SAYS_NOTHING.get(service, set())
    if service == "intake":
        wanted -= {"stepway_event_delay_seconds"}  # nobody has taken the page yet
    now = await seen(network, service, lambda now: all(SITE in now.sites(metric) for metric in wanted))
    assert now.sum("stepway_event_loop_delay_seconds_count", service_name=service) > 0  # of the process, at no site
    shown = [each.labels for metric in now.metrics if metric.name in wanted for each in metric.samples]
    assert {(labels["service_name"], labels["stepway_cell"]) for labels in shown} == {(service, "shared")}


async def test_a_call_is_counted_with_its_code_at_a_site_where_the_caller_has_a_role(
    network: Network, case: Case
) -> None:
    def calls(now: Scrape, code: str, site: str) -> float:
        labels = {"rpc_method": RECEIVE, "rpc_response_status_code": code, "stepway_site": site}
        return now.sum("rpc_server_call_duration_seconds_count", **labels)

    before = await scraped(network, "intake")
    await network.call(RECEIVE, a_referral(), role="front_desk", site=SITE)
    await refused(Denied, network.staff("patient", SITE).call(RECEIVE, a_referral(), site=SITE))
    await refused(Denied, network.staff("front_desk", NORTHSIDE).call(RECEIVE, a_referral(), site=SITE))
    await refused(NotFound, network.staff("front_desk", "jane-roe").call(RECEIVE, a_referral(), site="jane-roe"))
    after = await scraped(network, "intake")
    moved = {
        (code, site): calls(after, code, site) - calls(before, code, site)
        for code, site in (("OK", SITE), ("PERMISSION_DENIED", SITE), ("PERMISSION_DENIED", ""), ("NOT_FOUND", ""))
    }
    assert moved[("OK", SITE)] == 1
    assert moved[("PERMISSION_DENIED", SITE)] + moved[("PERMISSION_DENIED", "")] == 2
    assert moved[("NOT_FOUND", "")] == 1
    assert "jane-roe" not in after.text


async def test_open_work_of_the_clinic_is_counted_until_somebody_has_done_it(network: Network, case: Case) -> None:
    await seen(network, "intake", at_site("stepway_risk_flags_urgent", 1))
    await seen(network, "notifications", at_site("stepway_escalations_unacknowledged", 1))
    await seen(network, "care", at_site("stepway_treatment_plans_draft", 1))
    taken = AcknowledgeEscalationRequest(request_id=str(uuid4()), escalation_id=case.escalation)
    await network.call(ACKNOWLEDGE, taken, role="clinician", site=SITE, subject="staff-2041")
    await seen(network, "notifications", at_site("stepway_escalations_unacknowledged", 0))
    now = await seen(network, "intake", at_site("stepway_risk_flags_open", 0))
    of_page = {"messaging_consumer_group_name": "acknowledge_risk_flag"}
    assert now.sum("stepway_event_delay_seconds_count", stepway_site=SITE, **of_page) == 1


async def test_a_duplicate_is_counted_and_changes_no_delay(network: Network, case: Case) -> None:
    again = await event(network, "risk_flagged")
    before = await scraped(network, "notifications")
    async with administrator(network) as jetstream:
        await put(jetstream, changed(again, Nats_Msg_Id=str(uuid4())))
    labels = {"stepway_site": SITE, "messaging_consumer_group_name": "page_clinician"}
    known = before.sum("stepway_inbox_duplicates_total", **labels)
    after = await seen(
        network, "notifications", lambda now: now.sum("stepway_inbox_duplicates_total", **labels) > known
    )
    delays = [now.sum("stepway_event_delay_seconds_count", **labels) for now in (before, after)]
    assert delays[0] == delays[1]


async def test_a_dead_letter_is_counted_until_it_is_applied(network: Network, case: Case) -> None:
    poison = changed(await event(network, "patient_admitted"), {"admissionId": "no-uuid"}, ce_id=str(uuid4()))
    async with administrator(network) as jetstream:
        await put(jetstream, changed(poison, Nats_Msg_Id=str(uuid4())))
    now = await seen(network, "scheduling", at_site("stepway_dead_letters_waiting", 1))
    assert now.sum("stepway_dead_letters_buried_total", stepway_site=SITE, stepway_reason="MALFORMED") == 1
    (row,) = [row for row in await ill(network) if row.service == "scheduling"]
    assert list(row.faults) == ["dead_letters"]

    keeper = network.platform.database_url("scheduling", "keeper")
    (letter,) = await letters.listed(keeper, "scheduling", SITE)
    good = (await event(network, "patient_admitted")).payload.hex()
    mended = f"UPDATE dead_letter SET payload = '\\x{good}' WHERE id = '{letter['id']}'"
    network.platform.postgres.run_sql(mended, database="stepway_scheduling")
    await letters.retry(keeper, "scheduling", SITE, letter["id"])
    await seen(network, "scheduling", at_site("stepway_dead_letters_waiting", 0))
    for service in ("family", "scheduling"):
        network.platform.postgres.run_sql("TRUNCATE dead_letter", database=f"stepway_{service}")


async def ill(network: Network) -> list[status.Row]:
    found = await status.look(place(network.platform.folder.path.name), site=SITE)
    return [row for row in found.rows if any(row.faults)]


async def only_ill(network: Network, name: str) -> status.Status | None:
    """`stepway status`, when it says of this part and no other that it is not well: a busy one may answer late."""
    found = await status.look(place(network.platform.folder.path.name), site=SITE)
    return found if [part.name for part in found.parts if not part.well] == [name] else None


async def test_with_nats_stopped_the_outbox_grows_old_and_empties_when_it_is_back(network: Network, case: Case) -> None:
    async with stopped(network, "nats"):
        referral = (await network.call(RECEIVE, a_referral(), role="front_desk", site=SITE)).referral
        await network.call(RECORD, phq_9(referral.id, IN_DANGER), role="clinician", site=SITE)
        waits = await seen(network, "intake", lambda now: now.sum("stepway_outbox_unpublished", stepway_site=SITE) >= 3)
        age = waits.sum("stepway_outbox_age_seconds", stepway_site=SITE)
        await seen(network, "intake", lambda now: now.sum("stepway_outbox_age_seconds", stepway_site=SITE) > age > 0)
        found = await until(lambda: only_ill(network, "NATS"))
        assert {row.lag for row in found.rows} == {None}
        assert {row.service: row.unpublished for row in found.rows}[
            "intake"
        ] >= 3  # a seal of the audit may be one more
    now = await seen(network, "intake", at_site("stepway_outbox_unpublished", 0))
    assert now.sum("stepway_outbox_age_seconds", stepway_site=SITE) == 0


async def test_what_has_to_wait_for_a_neighbour_is_pending_and_comes_again(network: Network, case: Case) -> None:
    heard = await event(network, "referral_received")
    lane = {"stepway_lane": "normal"}
    async with stopped(network, "intake"), administrator(network) as jetstream:
        for _ in range(20):
            id = str(uuid4())
            await put(jetstream, changed(heard, ce_id=id, Nats_Msg_Id=id))
        now = await seen(
            network,
            "notifications",
            lambda now: (
                now.sum("stepway_consumer_pending", stepway_site=SITE, **lane) > 0
                and now.sum("stepway_consumer_redeliveries_total", stepway_site=SITE) > 0
            ),
        )
        assert now.sum("stepway_inbox_duplicates_total", stepway_site=SITE, **lane) == 0
        found = await until(lambda: only_ill(network, "intake"))
        assert {row.service: row.lag or 0 for row in found.rows}["notifications"] > 0
    await seen(network, "notifications", at_site("stepway_consumer_pending", 0, **lane))


async def test_all_is_well_at_a_site_where_all_is_done(network: Network, case: Case) -> None:
    async def well() -> status.Status | None:
        found = await status.look(place(network.platform.folder.path.name), site=SITE)
        return found if found.well and not any(row.lag for row in found.rows) else None

    found = await until(well)
    assert [row.service for row in found.rows] == list(SERVICES)
    assert {(row.cell, row.state) for row in found.rows} == {("shared", "active")}
    every = await status.look(place(network.platform.folder.path.name))
    assert {row.site for row in every.rows} >= {NORTHSIDE, "lakeside", SITE}


async def test_no_number_says_whom_it_is_about(network: Network, case: Case) -> None:
    ids = [value for name, value in vars(case).items() if name != "site"]
    for service in SERVICES:
        said = (await scraped(network, service)).text
        assert SITE in said
        assert [word for word in (*PRIVATE, *ids) if word in said] == []


async def test_what_two_relays_see_waiting_adds_up(ledger: Ledger) -> None:
    for table in ("outbox", "outbox_blocked"):
        ledger.sql(f"DELETE FROM {table}")
    database, readers = ledger.database(), [InMemoryMetricReader() for _ in range(2)]
    async with ledger.transaction(database) as tx:
        for _ in range(40):
            outbox.append(tx, noted(uuid4()), label="general")
    blocked = "SELECT site, aggregate_type, aggregate_id, event_id, 'TOO_LONG', now() FROM outbox LIMIT 3"
    ledger.sql(f"INSERT INTO outbox_blocked {blocked}")
    relaying = [asyncio.create_task(a_relay_without_stream(ledger, reader).run()) for reader in readers]
    try:

        async def shared() -> bool:
            found = [waiting(reader) for reader in readers]
            return all(found) and [sum(each) for each in zip(*found, strict=True)] == [40, 3]

        await until(shared)
    finally:
        for task in relaying:
            task.cancel()
        await asyncio.gather(*relaying, return_exceptions=True)
        for table in ("outbox", "outbox_blocked"):
            ledger.sql(f"DELETE FROM {table}")


def a_relay_without_stream(ledger: Ledger, reader: InMemoryMetricReader) -> Relay:
    measured = telemetry.start("ledger", ratio=0.0, readers=[reader])
    nowhere = Broker("nats://127.0.0.1:1", "nobody", "")
    return Relay(
        ledger.url("relay"), nowhere, measured, utc_now, service="ledger", poll_seconds=0.1, publish_seconds=0.1
    )


def waiting(reader: InMemoryMetricReader) -> tuple[float, ...]:
    """Unpublished events and blocked aggregates of the ledger's site; nothing while this relay sees none."""
    data = reader.get_metrics_data()
    found = {
        metric.name: point.value
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }
    return tuple(found[f"stepway.outbox.{name}"] for name in ("unpublished", "blocked")) if found else ()
