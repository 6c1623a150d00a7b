"""What callers ask: one request of each kind, from call to call with another request_id and about somebody else."""

from collections.abc import Callable
from uuid import uuid4

from stepway.intake.v1.consent_pb2 import CONSENT_CATEGORY_SCHEDULE, RECIPIENT_CLASS_HEALTH_PLANS
from stepway.intake.v1.consent_service_pb2 import CheckConsentsRequest, ConsentQuestion
from stepway.intake.v1.referral_service_pb2 import ListWorkRequest
from tests.network import a_referral, phq_9

REFERRAL, RECORDING, CONSENTS, WORK = "referral", "recording", "consents", "work"
VALUES: list[int | None] = [2, 2, 2, 2, 1, 1, 2, 0, 0]

Ask = Callable[..., bytes]


def _referral() -> Ask:
    request = a_referral()

    def ask() -> bytes:
        request.request_id = str(uuid4())
        return request.SerializeToString()

    return ask


def _recording() -> Ask:
    request = phq_9("", VALUES)

    def ask(referral_id: str) -> bytes:
        request.request_id, request.referral_id = str(uuid4()), referral_id
        return request.SerializeToString()

    return ask


def _consents() -> Ask:
    def ask(*patient_ids: str) -> bytes:
        questions = [
            ConsentQuestion(
                patient_id=id, recipient_class=RECIPIENT_CLASS_HEALTH_PLANS, category=CONSENT_CATEGORY_SCHEDULE
            )
            for id in patient_ids
        ]
        return CheckConsentsRequest(questions=questions).SerializeToString()

    return ask


def _work() -> Ask:
    request = ListWorkRequest().SerializeToString()
    return lambda: request


ASKED: dict[str, Callable[[], Ask]] = {
    REFERRAL: _referral,
    RECORDING: _recording,
    CONSENTS: _consents,
    WORK: _work,
}
