"""A private word is told to nobody: not announced, audited, logged, traced or sent."""

import asyncio
from typing import Any

import pytest

from stepway.intake.v1.referral_service_pb2 import ReceiveReferralRequest, ReceiveReferralResponse
from tests.calls import Answer, send
from tests.network import Network, a_referral, phq_9
from tests.roles import every_database
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("both_sites_have_records")

CANARIES = {
    "given_name": "Zephyrine",
    "family_name": "Ogilthwaite",
    "phone": "+12125550177",
    "email": "ogilthwaite@example.org",
    "reason": "lost her brother at Marrowgate",
    "relative": "Bartholomeus",
}


def private_referral(**changes: Any) -> ReceiveReferralRequest:
    """Somebody whose every private word is found nowhere else."""
    words = {**CANARIES, **changes}
    points = [{"phone": words["phone"]}, {"email": words["email"]}]
    person = {name: words[name] for name in ("given_name", "family_name")} | {"contact_points": points}
    relative = {"given_name": words["relative"], "family_name": words["family_name"], "contact_points": points}
    return a_referral(person=person, related_people=[relative], reason=words["reason"])


@pytest.fixture(scope="module")
async def private_case(network: Network) -> str:
    """The trace of a private referral that went all the way, after some that were refused."""
    for broken in (
        {"phone": "2125550177"},
        {"given_name": "Zephyrine\0"},
        {"family_name": ""},
        {"email": "Ogilthwaite"},
    ):
        answer = await asyncio.to_thread(_sent, network, private_referral(**broken))
        assert answer.code == "INVALID_ARGUMENT"
        assert told(answer.said.decode(errors="replace")) == set()
    answer = await asyncio.to_thread(_sent, network, private_referral())
    received = ReceiveReferralResponse.FromString(answer.body)
    patient = received.referral.patient_id
    stored = network.rows("intake", "SELECT person, related_people, reason FROM patient, referral")
    assert told(str(stored)) == {*CANARIES, "digits"}
    answers = phq_9(received.referral.id, [1] * 9)
    await network.call("stepway.intake.v1.AssessmentService/RecordAssessment", answers, role="clinician")

    async def written() -> bool:
        """Told to the patient, paged to the clinician, and announced."""
        rows = network.rows("notifications", f"SELECT 1 FROM message WHERE patient_id = '{patient}'")
        unpublished = network.rows("intake", "SELECT 1 FROM outbox WHERE published_at IS NULL")
        return len(rows) >= 3 and not unpublished

    await until(written)
    query = f"SELECT trace_id FROM audit WHERE '{patient}' = ANY (people) AND action LIKE '%/ReceiveReferral'"
    return str(network.rows("intake", query)[0]["trace_id"])


def _sent(network: Network, request: ReceiveReferralRequest) -> Answer:
    """Without a trace of the caller's own, so that the service begins one and records it."""
    token = network.token("desk-1", northside=["front_desk"])
    return send(network, "stepway.intake.v1.ReferralService/ReceiveReferral", request, token=token)


def told(text: str) -> set[str]:
    """Which of the private words stand in a text."""
    words = {**CANARIES, "digits": CANARIES["phone"].removeprefix("+"), "reason": "Marrowgate"}
    return {name for name, word in words.items() if word in text}


@every_database
@pytest.mark.usefixtures("private_case")
def test_what_is_announced_or_audited_or_put_aside_names_nobody(network: Network, service: str) -> None:
    kept = {
        "outbox": "subject, headers, convert_from(payload, 'UTF8') AS payload, last_error",
        "dead_letter": "subject, headers, convert_from(payload, 'UTF8') AS payload, reason, error_type",
        "delivery_failure": "*",
        "outbox_blocked": "*",
        "event_head": "*",
        "inbox": "*",
        "audit": "*",
    }
    assert {table: told(str(network.rows(service, f"SELECT {what} FROM {table}"))) for table, what in kept.items()} == {
        table: set() for table in kept
    }


@pytest.mark.usefixtures("private_case")
async def test_the_stream_names_nobody(network: Network) -> None:
    stream = await network.published()
    assert len(stream) >= 3
    assert told(str(stream)) == set()


@pytest.mark.usefixtures("private_case")
def test_the_logs_name_nobody(network: Network) -> None:
    logs = {path.name: path.read_text(errors="replace") for path in (network.platform.folder.path / "logs").iterdir()}
    assert {"intake.log", "notifications.log", "postgres.log", "nats.log"} <= set(logs)
    assert "rpc.refused" in logs["intake.log"]
    assert {name: told(text) for name, text in logs.items()} == {name: set() for name in logs}


async def test_the_traces_name_nobody(network: Network, private_case: str) -> None:
    folder = network.platform.folder.path / "traces"

    async def exported() -> str:
        text = "".join(path.read_text(errors="replace") for path in folder.iterdir())
        return text if private_case in text else ""

    assert told(await until(exported)) == set()


@pytest.mark.usefixtures("private_case")
def test_what_is_sent_says_nothing_but_whom_to_call(network: Network) -> None:
    bodies = network.rows("notifications", "SELECT DISTINCT body FROM message")
    assert bodies
    assert told(str(bodies)) == set()
