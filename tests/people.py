"""People as a front desk receives them and as the register tells of them."""

from typing import Any
from uuid import uuid4

from stepway.intake.v1.person_service_pb2 import GetPersonRequest, UpdatePersonRequest
from stepway.intake.v1.referral_pb2 import Person
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


async def corrected(network: Network, read: Any, *facts: str, site: str = NORTHSIDE, **right: Any) -> Any:
    """Somebody who was read before, with these of their facts put right."""
    request = UpdatePersonRequest(
        request_id=str(uuid4()),
        patient_id=read.patient_id,
        person=read.person,
        facts=[f"PERSON_FACT_{fact}" for fact in facts],
        etag=read.etag,
    )
    for name, value in right.items():
        request.person.ClearField(name)  # type: ignore[arg-type]
        request.person.MergeFrom(Person(**{name: value}))
    return (await network.call(f"{PEOPLE}/UpdatePerson", request, role="front_desk", site=site)).person
