"""Patients on their way between two sites, how far both sites are, and the one end that it comes to."""

from collections import Counter
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from google.protobuf.message import Message

from stepway.intake.v1 import consent_pb2
from stepway.intake.v1 import transfer_service_pb2 as messages
from stepway.intake.v1.consent_service_pb2 import RevokeConsentRequest
from stepway.scheduling.v1.track_pb2 import DAYPART_MORNING
from tests.cases import At, a_consent, a_decision, an_admission
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral, phq_9
from tests.waiting import until

WEST = "intake@west"
NAME = "Vexmoor-Transferred"
CROSSING = [
    consent_pb2.CONSENT_CATEGORY_PLAN,
    consent_pb2.CONSENT_CATEGORY_SCHEDULE,
    consent_pb2.CONSENT_CATEGORY_SUBSTANCE_USE,
]
COURSE = {
    "population": "COURSE_POPULATION_DUAL",
    "weekly_hours": 12,
    "modalities": [{"modality": "cbt", "minutes_a_week": 120}],
    "authorization": {"payer_reference": "A-77", "units": 20, "first_day": "2026-12-01", "last_day": "2026-12-31"},
}


@dataclass(frozen=True)
class Somebody:
    """A patient of northside who has consented to being handed over to lakeside."""

    patient: str
    admission: str
    consent: str


async def somebody(network: Network, *, comes: int = DAYPART_MORNING, **changes: Any) -> Somebody:
    at = At(network, NORTHSIDE)
    person = {"given_name": "Quillan", "family_name": NAME, "birth_date": "1990-04-01"}
    referral = (await at.call("intake", "ReferralService/ReceiveReferral", a_referral(person=person))).referral
    await at.call("intake", "AssessmentService/RecordAssessment", phq_9(referral.id, [0] * 9))
    await at.call("intake", "LevelOfCareService/DecideLevelOfCare", a_decision(referral.id))
    admission = an_admission(referral.id, course=COURSE, availability=[comes])
    admitted = (await at.call("intake", "AdmissionService/AdmitPatient", admission)).admission
    given = {
        "recipient_site": LAKESIDE,
        "categories": CROSSING,
        "expires_at": None,
        "expires_with": "CONSENT_EXPIRY_TRANSFER_CLOSED",
        **changes,
    }
    consent = (await at.call("intake", "ConsentService/GrantConsent", a_consent(referral.patient_id, **given))).consent
    return Somebody(referral.patient_id, admitted.id, consent.id)


async def asked(network: Network, method: str, request: Message, site: str) -> Any:
    return await At(network, site).call("intake", f"TransferService/{method}", request)


async def offer(network: Network, who: Somebody, request_id: str = "") -> str:
    request = messages.OfferTransferRequest(
        request_id=request_id or str(uuid4()), admission_id=who.admission, receiving_site=LAKESIDE
    )
    return str((await asked(network, "OfferTransfer", request, NORTHSIDE)).transfer.id)


async def decide(network: Network, verb: str, transfer: str, site: str, request_id: str = "") -> Any:
    request = getattr(messages, f"{verb}TransferRequest")(request_id=request_id or str(uuid4()), transfer_id=transfer)
    return await asked(network, f"{verb}Transfer", request, site)


def statuses(network: Network, transfer: str) -> dict[str, str]:
    rows = network.rows("intake", f"SELECT site, status FROM transfer WHERE id = '{transfer}'")
    return {row["site"]: row["status"] for row in rows}


async def stands(network: Network, transfer: str, northside: str, lakeside: str) -> None:
    async def look() -> bool:
        return statuses(network, transfer) == {NORTHSIDE: northside, LAKESIDE: lakeside}

    await until(look)


def announced(network: Network, noun: str, id: str) -> list[tuple[str, str]]:
    """Site and name of each event of one record, in their order at each site."""
    query = (
        "SELECT site, headers->>'ce-type' AS type FROM outbox"
        f" WHERE aggregate_type = '{noun}' AND aggregate_id = '{id}' ORDER BY site, aggregate_seq"
    )
    return [(row["site"], row["type"].rpartition(".")[2]) for row in network.rows("intake", query)]


CLOSED = [
    *((LAKESIDE, f"Transfer{each}") for each in ("Offered", "Accepted", "Imported", "Closed")),
    *((NORTHSIDE, f"Transfer{each}") for each in ("Offered", "Accepted", "Closed")),
]
ENDED = [(NORTHSIDE, "ConsentGranted"), (NORTHSIDE, "ConsentExpired")]


async def is_handed_over(network: Network, who: Somebody, transfer: str) -> str:
    """Once, and with exactly one outcome; the admission at the receiving site."""
    await stands(network, transfer, "closed", "closed")
    assert announced(network, "transfer", transfer) == CLOSED
    made = network.rows("intake", f"SELECT id, patient_id, status FROM admission WHERE transfer_id = '{transfer}'")
    assert len(made) == 1
    assert announced(network, "admission", made[0]["id"])[0] == (LAKESIDE, "PatientAdmitted")
    left = network.rows("intake", f"SELECT status, ending FROM admission WHERE id = '{who.admission}'")
    assert left == [{"status": "ended", "ending": "transferred"}]
    ends = Counter(each for _, each in announced(network, "admission", who.admission))
    assert (ends["PatientAdmitted"], ends["AdmissionEnded"]) == (1, 1)
    assert announced(network, "consent", who.consent) == ENDED
    return str(made[0]["id"])


def seat(network: Network, who: Somebody) -> str:
    rows = network.rows("scheduling", f"SELECT status FROM enrollment WHERE admission_id = '{who.admission}'")
    return rows[0]["status"] if rows else ""


async def sits(network: Network, who: Somebody, status: str) -> None:
    async def look() -> bool:
        return seat(network, who) == status

    await until(look)


async def revoke(network: Network, who: Somebody) -> None:
    revocation = RevokeConsentRequest(request_id=str(uuid4()), consent_id=who.consent)
    await At(network, NORTHSIDE).call("intake", "ConsentService/RevokeConsent", revocation)


async def status_of(network: Network, who: Somebody) -> str:
    rows = network.rows("intake", f"SELECT status FROM admission WHERE id = '{who.admission}'")
    return str(rows[0]["status"])
