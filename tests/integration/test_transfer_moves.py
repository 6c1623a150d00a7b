"""Transfers as the staff of two sites move them, in any order, and what has to be done before: each step said once."""

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from stepway.intake.v1 import consent_pb2
from stepway.intake.v1 import transfer_service_pb2 as transfers
from stepway.intake.v1.risk_service_pb2 import AcknowledgeRiskFlagRequest, RecordDispositionRequest
from stepway_chassis.errors import Conflict
from tests.calls import every_rpc, send
from tests.cases import IN_DANGER, At, a_consent, a_decision, an_admission
from tests.conftest import SOAK
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral, phq_9
from tests.transfers import Somebody, decide, is_handed_over, offer, somebody, stands, statuses
from tests.waiting import until

SERVICE = "stepway.intake.v1.TransferService"
COVERED = [
    consent_pb2.CONSENT_CATEGORY_PLAN,
    consent_pb2.CONSENT_CATEGORY_SCHEDULE,
    consent_pb2.CONSENT_CATEGORY_SUBSTANCE_USE,
]


class Moved(RuleBasedStateMachine):
    """Whatever the staff of either site decide about one patient, each once the two have heard of the last."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.who = str(uuid4())
        self.token = network.token(self.who, northside=["clinician"], lakeside=["clinician"])

    @initialize()
    def somebody_is_in_the_programme(self) -> None:
        referral = self._answer("ReferralService/ReceiveReferral", a_referral()).referral
        self._answer("AssessmentService/RecordAssessment", phq_9(referral.id, [0] * 9))
        self._answer("LevelOfCareService/DecideLevelOfCare", a_decision(referral.id))
        self.admission = self._answer("AdmissionService/AdmitPatient", an_admission(referral.id)).admission.id
        consent = a_consent(referral.patient_id, recipient_site=LAKESIDE, categories=COVERED)
        self._answer("ConsentService/GrantConsent", consent)
        self.patient, self.newest, self.stands = referral.patient_id, "", ""
        self.announced: list[tuple[str, str, str]] = []
        self.audited: list[tuple[str, str]] = []
        self.asked = Counter[str]()

    def _answer(self, rpc: str, request: Message) -> Any:
        answer = send(self.network, f"stepway.intake.v1.{rpc}", request, token=self.token)
        assert answer.code == "OK", answer
        return every_rpc()[f"stepway.intake.v1.{rpc}"].response.FromString(answer.body)

    def _done(self, verb: str, site: str, request: Message, *, allowed: bool, otherwise: str) -> Any:
        method = f"{verb}Transfer"
        answer = send(self.network, f"{SERVICE}/{method}", request, token=self.token, site=site)
        assert answer.refusal == (("OK", "") if allowed else ("FAILED_PRECONDITION", otherwise))
        self.audited.append((method, "DONE" if allowed else "REFUSED"))
        return every_rpc()[f"{SERVICE}/{method}"].response.FromString(answer.body) if allowed else None

    @rule()
    def offer(self) -> None:
        ids = {"request_id": str(uuid4()), "admission_id": self.admission}
        request = transfers.OfferTransferRequest(**ids, receiving_site=LAKESIDE)
        allowed = self.stands not in ("offered", "closed")
        otherwise = "ADMISSION_ENDED" if self.stands == "closed" else "TRANSFER_UNDER_WAY"
        if done := self._done("Offer", NORTHSIDE, request, allowed=allowed, otherwise=otherwise):
            self.newest = done.transfer.id
            self._heard("offered", "TransferOffered")

    @precondition(lambda self: self.newest)
    @rule()
    def withdraw(self) -> None:
        if self._decided("Withdraw", NORTHSIDE):
            self._heard("withdrawn", "TransferWithdrawn")

    @precondition(lambda self: self.newest)
    @rule()
    def decline(self) -> None:
        if self._decided("Decline", LAKESIDE):
            self.asked["EndTransfer"] += 1
            self._heard("declined", "TransferDeclined")

    @precondition(lambda self: self.newest)
    @rule()
    def accept(self) -> None:
        if self._decided("Accept", LAKESIDE):
            self.asked.update(["ReleaseTransfer", "CloseTransfer"])
            self.announced.append((LAKESIDE, self.newest, "TransferImported"))
            self._heard("closed", "TransferAccepted", "TransferClosed")

    def _decided(self, verb: str, site: str) -> bool:
        request = getattr(transfers, f"{verb}TransferRequest")(request_id=str(uuid4()), transfer_id=self.newest)
        allowed = self.stands == "offered"
        return self._done(verb, site, request, allowed=allowed, otherwise="TRANSFER_NOT_OPEN") is not None

    def _heard(self, stands: str, *events: str) -> None:
        """Both sites come to know it."""
        self.stands = stands
        self.announced += [(site, self.newest, event) for site in (LAKESIDE, NORTHSIDE) for event in events]
        query = f"SELECT site FROM transfer WHERE id = '{self.newest}' AND status = '{stands}' AND told"

        async def look() -> bool:
            return len(self.network.rows("intake", query)) == 2

        asyncio.run(until(look))

    def teardown(self) -> None:
        ids = ", ".join(f"'{id}'" for id in {"", *(id for _, id, _ in self.announced)})
        said = self.network.rows(
            "intake",
            "SELECT site, aggregate_id, split_part(headers->>'ce-type', '.', 4) AS event FROM outbox"
            f" WHERE aggregate_type = 'transfer' AND aggregate_id::text IN ({ids})",
        )
        assert Counter((row["site"], row["aggregate_id"], row["event"]) for row in said) == Counter(self.announced)
        done = f"SELECT split_part(action, '/', 2) AS method, outcome FROM audit WHERE action LIKE '{SERVICE}/%'"
        staff = self.network.rows("intake", f"{done} AND actor = '{self.who}' ORDER BY id")
        assert [(row["method"], row["outcome"]) for row in staff] == self.audited
        theirs = f"actor <> '{self.who}' AND site = '{NORTHSIDE}' AND '{self.patient}' = ANY (people)"
        sites = self.network.rows("intake", f"{done} AND {theirs}")
        assert Counter(row["method"] for row in sites if row["outcome"] == "DONE") == self.asked


def test_whatever_two_sites_decide_in_whatever_order_is_done_or_refused_as_it_has_to_be_and_said_once(
    network: Network,
) -> None:
    run_state_machine_as_test(
        lambda: Moved(network),
        settings=settings(
            max_examples=100 if SOAK else 4, stateful_step_count=8, suppress_health_check=list(HealthCheck)
        ),
    )


async def test_nobody_is_handed_over_before_it_is_on_record_what_was_done_about_each_sign_of_danger(
    network: Network,
) -> None:
    who = await somebody(network)
    flag = await in_danger(network, who)
    with pytest.raises(Conflict) as refused:
        await offer(network, who)
    assert refused.value.reason == "RISK_FLAG_UNDISPOSED"
    await disposed(network, flag)
    transfer = await offer(network, who)
    await stands(network, transfer, "offered", "offered")
    flag = await in_danger(network, who)
    await decide(network, "Accept", transfer, LAKESIDE)

    async def asked_in_vain() -> bool:
        query = f"SELECT reason FROM audit WHERE '{who.patient}' = ANY (people) AND action LIKE '%/ReleaseTransfer'"
        return {"reason": "RISK_FLAG_UNDISPOSED"} in network.rows("intake", query)

    await until(asked_in_vain)
    assert statuses(network, transfer) == {NORTHSIDE: "offered", LAKESIDE: "accepted"}
    await disposed(network, flag)
    await is_handed_over(network, who, transfer)


async def in_danger(network: Network, who: Somebody) -> str:
    (row,) = network.rows("intake", f"SELECT referral_id FROM admission WHERE id = '{who.admission}'")
    answers = phq_9(row["referral_id"], IN_DANGER)
    recorded = await At(network, NORTHSIDE).call("intake", "AssessmentService/RecordAssessment", answers)
    return str(recorded.risk_flag_id)


async def disposed(network: Network, flag: str) -> None:
    at, named = At(network, NORTHSIDE), {"request_id": str(uuid4()), "risk_flag_id": flag}
    await at.call("intake", "RiskService/AcknowledgeRiskFlag", AcknowledgeRiskFlagRequest(**named))
    done = RecordDispositionRequest(**named, disposition="RISK_DISPOSITION_SAFETY_PLAN", note="made a plan together")
    await at.call("intake", "RiskService/RecordDisposition", done)
