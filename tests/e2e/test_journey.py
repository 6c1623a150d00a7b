"""From a referral to an acknowledged page, over the real services."""

from uuid import uuid4

from stepway.intake.v1.risk_service_pb2 import ListRiskFlagsRequest
from stepway.notifications.v1.escalation_service_pb2 import AcknowledgeEscalationRequest, ListEscalationsRequest
from tests.network import Network, a_referral, phq_9
from tests.waiting import until

REFERRALS = "stepway.intake.v1.ReferralService"
ASSESSMENTS = "stepway.intake.v1.AssessmentService"
RISK = "stepway.intake.v1.RiskService"
ESCALATIONS = "stepway.notifications.v1.EscalationService"


async def test_a_sign_of_danger_is_paged_and_acknowledged_and_the_flag_knows(network: Network) -> None:
    referral = (await network.call(f"{REFERRALS}/ReceiveReferral", a_referral(), role="front_desk")).referral
    answered = phq_9(referral.id, [0, 0, 0, 0, 0, 0, 0, 0, 1])
    recorded = await network.call(f"{ASSESSMENTS}/RecordAssessment", answered, role="clinician")
    assert recorded.assessment.score.total == 1
    assert recorded.risk_flag_id

    async def paged() -> str | None:
        pages = await network.call(
            f"{ESCALATIONS}/ListEscalations", ListEscalationsRequest(), role="clinician", subject="staff-2041"
        )
        return next((each.id for each in pages.escalations if each.risk_flag_id == recorded.risk_flag_id), None)

    taken = AcknowledgeEscalationRequest(request_id=str(uuid4()), escalation_id=await until(paged))
    await network.call(f"{ESCALATIONS}/AcknowledgeEscalation", taken, role="clinician", subject="staff-2041")

    async def known() -> str:
        flags = await network.call(f"{RISK}/ListRiskFlags", ListRiskFlagsRequest(), role="clinician")
        return next(flag.acknowledged_by for flag in flags.risk_flags if flag.id == recorded.risk_flag_id)

    assert await until(known) == "staff-2041"
