"""People as a front desk receives them and as the register tells of them."""

from typing import Any

from stepway.intake.v1.person_service_pb2 import GetPersonRequest
from tests.network import NORTHSIDE, Network, a_referral

PEOPLE = "stepway.intake.v1.PersonService"
RECEIVE = "stepway.intake.v1.ReferralService/ReceiveReferral"
REFER_AGAIN = "stepway.intake.v1.ReferralService/ReferAgain"


async def received(network: Network, site: str = NORTHSIDE, **person: Any) -> Any:
    given = {"given_name": "Ana", "family_name": "Vexmoor", "birth_date": "1990-04-01", **person}
    return (await network.call(RECEIVE, a_referral(person=given), role="front_desk", site=site)).referral


async def person(network: Network, patient: str, site: str = NORTHSIDE) -> Any:
    request = GetPersonRequest(patient_id=patient)
    return (await network.call(f"{PEOPLE}/GetPerson", request, role="front_desk", site=site)).person
