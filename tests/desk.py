"""A desk that does one thing after the other, and what was announced and audited of it."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message
from hypothesis import Phase, settings

from stepway.intake.v1.referral_service_pb2 import ReceiveReferralResponse
from tests.calls import Answer, send
from tests.cases import a_decision
from tests.conftest import SOAK
from tests.network import NORTHSIDE, Network, a_referral, phq_9
from tests.waiting import LONGEST

FEW = settings(
    max_examples=60 if SOAK else 3, stateful_step_count=20 if SOAK else 12, phases=(Phase.explicit, Phase.generate)
)
"""Each step is a real call: what fails is told as it was found, and is not tried again in a hundred smaller ways."""
EVENTS = (
    "SELECT headers->>'ce-type' AS type FROM outbox WHERE aggregate_type = '{noun}' AND aggregate_id = '{id}'"
    " ORDER BY aggregate_seq"
)
AUDITED = "SELECT action, outcome FROM audit WHERE '{patient}' = ANY (people)"


@dataclass
class Desk:
    """A site lead who is a clinician as well, and does one thing after the other."""

    network: Network
    site: str = NORTHSIDE

    def ask(self, rpc: str, request: Message, service: str = "intake") -> Answer:
        token = self.network.token("lead-of-states", **{self.site: ["clinician", "site_lead"]})
        return send(self.network, f"stepway.{service}.v1.{rpc}", request, token=token, site=self.site)

    def refer(self) -> tuple[str, str]:
        """Somebody new, for whom the level of care was decided: the patient and the referral."""
        answer = self.ask("ReferralService/ReceiveReferral", a_referral())
        referral = ReceiveReferralResponse.FromString(answer.body).referral
        self.decide(referral.id)
        return referral.patient_id, referral.id

    def decide(self, referral: str) -> None:
        self.ask("AssessmentService/RecordAssessment", phq_9(referral, [0] * 9))
        self.ask("LevelOfCareService/DecideLevelOfCare", a_decision(referral))

    def events(self, noun: str, id: str) -> list[str]:
        rows = self.network.rows("intake", EVENTS.format(noun=noun, id=id))
        return [row["type"].rpartition(".")[2] for row in rows]

    def audited(self, patient: str) -> Counter[tuple[str, str]]:
        rows = self.network.rows("intake", AUDITED.format(patient=patient))
        return Counter((row["action"].rpartition("/")[2], row["outcome"]) for row in rows)


def soon(look: Callable[[], Any], *, within: float = LONGEST) -> Any:
    """As `until`, for those who wait without a loop."""
    deadline = time.monotonic() + within
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not seen within {within} s"
        time.sleep(0.05)
    return seen
