"""One trace from a referral to the text that it caused, across both services, and nobody's name in it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

from stepway_chassis import telemetry
from stepway_chassis.app import utc_now
from stepway_chassis.identity import Bearer
from stepway_chassis.rpc.client import Peers
from stepway_cli import trace
from stepway_cli.sites import SiteRecord, apply
from stepway_cli.trace import Span
from tests.network import Network, a_referral
from tests.scraping import scraped
from tests.waiting import until

RECEIVE = "stepway.intake.v1.ReferralService/ReceiveReferral"
CONTACT = "stepway.intake.v1.ReferralService/GetPatientContact"
SITE = "always-awake"
CONTACTS = [{"phone": "+12125550199"}, {"email": "quexalot@example.org"}]
PRIVATE = ("2125550199", "quexalot", "Zebediah", "Quexley", "wants quiet help")


@asynccontextmanager
async def traced(network: Network) -> AsyncIterator[Peers]:
    """Somebody whose calls are sampled."""
    spans = telemetry.start("test", ratio=1.0)
    token = network.token("front-desk", **{SITE: ["front_desk"]})
    peers = Peers({"intake": network.platform.address("intake")}, Bearer(token), spans, utc_now)
    try:
        yield peers
    finally:
        await peers.close()
        spans.close()


async def register_site(network: Network) -> None:
    settings = {
        "short_name": "Brookside",
        "phone": "503-555-0100",
        "email": "office@brookside.example.org",
        "sending_window": ["00:00", "24:00"],
        "on_call": [{"clinician": "staff-2041", "email": "reyes@brookside.example.org"}],
    }
    for service in network.platform.services:
        record = SiteRecord(SITE, "UTC", 1, settings)
        await apply(network.platform.database_url(service, "registrar"), [record])


def one(spans: list[Span], service: str, kind: str, name: str) -> Span:
    (found,) = [each for each in spans if (each.service, each.kind, each.name) == (service, kind, name)]
    return found


def statements_under(spans: list[Span], parent: Span) -> list[Span]:
    return [each for each in spans if each.parent_id == parent.span_id and each.is_query]


async def test_the_journey_of_a_referral_is_one_trace_with_the_expected_edges(network: Network) -> None:
    await register_site(network)
    person = {"given_name": "Zebediah", "family_name": "Quexley", "contact_points": CONTACTS}
    request = a_referral(request_id=str(uuid4()), person=person, reason="wants quiet help")
    async with traced(network) as caller:
        referral = (await caller.call(RECEIVE, request, site=SITE)).referral
    journey = await until(lambda: whole_journey(network, referral.patient_id))

    received = one(journey, "intake", "SERVER", RECEIVE)
    assert received.attributes["rpc.response.status_code"] == "OK"
    assert received.attributes["stepway.site"] == SITE
    statements = statements_under(journey, received)
    assert {"INSERT referral", "INSERT audit"} <= {each.name for each in statements}
    assert stores_events(statements)
    assert {each.kind for each in statements} == {"CLIENT"}

    sent = one(journey, "intake", "PRODUCER", "publish evt.v1.{site}.part2.intake.referral_received")
    processed = one(journey, "notifications", "CONSUMER", "process evt.v1.{site}.*.intake.referral_received")
    for hop in (sent, processed):
        assert hop.parent_id == received.span_id
        assert [link.span_id for link in hop.links] == [received.span_id]
    assert processed.attributes["messaging.consumer.group.name"] == "welcome_patient"
    assert processed.attributes["messaging.message.id"] == sent.attributes["messaging.message.id"]
    assert {"SELECT entered", "INSERT message"} <= {each.name for each in statements_under(journey, processed)}

    asks = [each for each in journey if (each.service, each.kind, each.name) == ("notifications", "CLIENT", CONTACT)]
    (asking,) = [each for each in asks if each.parent_id == processed.span_id]
    (asked,) = [each for each in journey if (each.kind, each.parent_id) == ("SERVER", asking.span_id)]
    assert (asked.service, asked.name) == ("intake", CONTACT)
    assert "SELECT patient" in {each.name for each in statements_under(journey, asked)}

    for channel in ("sms", "email"):
        attempts = {each.span_id: each for each in journey if each.name == f"hand over {channel}"}
        (announcement,) = [each for each in journey if each.parent_id in attempts and each.kind == "PRODUCER"]
        assert announcement.name == "publish evt.v1.{site}.part2.notifications.message_delivered"
        handed_over = attempts[announcement.parent_id]  # a slow one before it may have come to nothing
        assert handed_over.parent_id == received.span_id
        assert [link.span_id for link in handed_over.links] == [received.span_id]
        assert stores_events(statements_under(journey, handed_over))
        assert handed_over.span_id in {each.parent_id for each in asks}  # once more, before it goes
    assert not [each.name for each in journey if each.failed]


def stores_events(statements: Sequence[Span]) -> bool:
    """Whichever statement was the last of its transaction."""
    return any("INTO outbox" in each.attributes["db.query.text"] for each in statements)


async def whole_journey(network: Network, patient_id: str) -> list[Span] | None:
    """The spans of the newest trace with both announcements, once they and all their parents are on file."""
    spans = trace.load(network.platform.folder.path)
    roots = {each.trace_id for each in spans if each.name == RECEIVE and each.attributes.get("stepway.site") == SITE}
    for trace_id in roots:
        found = [each for each in spans if each.trace_id == trace_id]
        ids = {each.span_id for each in found}
        orphans = [each for each in found if each.parent_id not in ids and each.name != RECEIVE]
        asked = any(each.name == CONTACT and each.kind == "SERVER" for each in found)
        if asked and sum(each.name.endswith("message_delivered") for each in found) == 2 and not orphans:
            return found
    return None


async def test_no_span_and_no_metric_says_who_it_was_about(network: Network) -> None:
    files = list(network.platform.folder.subfolder("traces").glob("*.jsonl"))
    written = "".join(file.read_text() for file in files)
    assert "GetPatientContact" in written
    for service in network.platform.services:
        written += (await scraped(network, service)).text
    assert "rpc_server_call_duration_seconds" in written
    assert [word for word in PRIVATE if word in written] == []
