"""One person's whole way through both services: a record of every kind to ask for."""

from dataclasses import dataclass

from stepway.notifications.v1.escalation_service_pb2 import ListEscalationsRequest
from stepway.notifications.v1.message_service_pb2 import ListMessagesRequest
from tests.network import NORTHSIDE, Network, a_referral, phq_9
from tests.waiting import until

IN_DANGER: list[int | None] = [0, 0, 0, 0, 0, 0, 0, 0, 1]
ON_CALL = {"northside": "staff-2041", "lakeside": "staff-3077"}


@dataclass(frozen=True)
class Case:
    """The ids of one person's records at one site."""

    site: str
    patient: str
    referral: str
    assessment: str
    risk_flag: str
    escalation: str
    message: str


async def a_case(network: Network, site: str = NORTHSIDE) -> Case:
    """Somebody who was referred, written to, found in danger, and paged about; nobody has taken the page."""
    received = await network.call(
        "stepway.intake.v1.ReferralService/ReceiveReferral", a_referral(), role="front_desk", site=site
    )
    recorded = await network.call(
        "stepway.intake.v1.AssessmentService/RecordAssessment",
        phq_9(received.referral.id, IN_DANGER),
        role="clinician",
        site=site,
    )
    patient, flag = received.referral.patient_id, recorded.risk_flag_id
    return Case(
        site=site,
        patient=patient,
        referral=received.referral.id,
        assessment=recorded.assessment.id,
        risk_flag=flag,
        escalation=await _page_about(network, site, flag),
        message=await _message_to(network, site, patient),
    )


async def _page_about(network: Network, site: str, flag: str) -> str:
    async def paged() -> str | None:
        answer = await network.call(
            "stepway.notifications.v1.EscalationService/ListEscalations",
            ListEscalationsRequest(),
            role="site_lead",
            site=site,
        )
        return next((each.id for each in answer.escalations if each.risk_flag_id == flag), None)

    return await until(paged)


async def _message_to(network: Network, site: str, patient: str) -> str:
    async def written() -> str | None:
        answer = await network.call(
            "stepway.notifications.v1.MessageService/ListMessages", ListMessagesRequest(), role="site_lead", site=site
        )
        return next((each.id for each in answer.messages if each.patient_id == patient), None)

    return await until(written)
