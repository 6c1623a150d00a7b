"""Somebody who rings again and is taken for somebody new: two records that become one, in every service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stepway.intake.v1.person_pb2 import DuplicateReason
from stepway.intake.v1.person_service_pb2 import (
    FindDuplicatesRequest,
    GetPersonRequest,
    MergePeopleRequest,
)
from stepway.intake.v1.referral_pb2 import Referral
from stepway.intake.v1.referral_service_pb2 import ReceiveReferralRequest
from stepway_cli.demo.network import Network
from stepway_cli.demo.programme import RANG_AGAIN, Programme, id_of
from stepway_cli.demo.promises import UNTRIED, Promise
from stepway_cli.referrals import RECEIVE, Sent

FIND = "stepway.intake.v1.PersonService/FindDuplicates"
MERGE = "stepway.intake.v1.PersonService/MergePeople"
GET = "stepway.intake.v1.PersonService/GetPerson"
EDGES = "SELECT person, same_as FROM person_alias"
LOOKS = """
    SELECT format('SELECT 1 FROM %I WHERE patient_id = %L', c.table_name, former.person) AS look
      FROM person_alias AS former, information_schema.columns AS c JOIN information_schema.tables AS t
        USING (table_schema, table_name)
     WHERE c.column_name = 'patient_id' AND c.table_schema = 'public' AND t.table_type = 'BASE TABLE'"""
"""What finds the rows that were left behind: one query for each table that is about patients."""


@dataclass(frozen=True)
class Doubled:
    """A record, and the one that was merged into it: by what that was found, and who is found by its id now."""

    site: str
    patient_id: str
    merged_id: str
    found_by: tuple[str, ...]
    known_as: str


def somebody(programme: Programme, sent: Sequence[Sent]) -> tuple[str, Referral] | None:
    """Who was admitted, so that every service knows them."""
    admitted = {admission.referral_id for _, admission in programme.admissions}
    return next(((each.site, each.referral) for each in sent if each.referral and each.referral.id in admitted), None)


async def ring_again(network: Network, site: str, known: Referral) -> Doubled:
    """The front desk takes down a second record, and asks who it may be; a clinician looks, and merges the two."""
    desk = network.caller(site, "front_desk")
    again = ReceiveReferralRequest(request_id=id_of("again", known.id), person=known.person, reason=RANG_AGAIN)
    merged = (await desk.call(RECEIVE, again, site=site)).referral.patient_id
    answer = await desk.call(FIND, FindDuplicatesRequest(patient_id=merged), site=site)
    reasons = [each.reasons for each in answer.candidates if each.person.patient_id == known.patient_id]
    found_by = tuple(_name(reason) for found in reasons for reason in found)
    merge = MergePeopleRequest(request_id=id_of("merge", merged), patient_id=known.patient_id, merged_patient_id=merged)
    await network.caller(site, "clinician").call(MERGE, merge, site=site)
    person = (await desk.call(GET, GetPersonRequest(patient_id=merged), site=site)).person
    return Doubled(site, known.patient_id, merged, found_by, person.patient_id)


def _name(reason: DuplicateReason) -> str:
    return DuplicateReason.Name(reason).removeprefix("DUPLICATE_REASON_").lower().replace("_", " ")


async def check(network: Network, doubled: Doubled | None) -> Promise:
    """Once every service has heard of it."""
    services = network.platform.services
    edges = {service: await network.rows(service, EDGES) for service in services}
    return merged(doubled, edges, sum([await _left(network, service) for service in services]))


def merged(doubled: Doubled | None, edges: Mapping[str, Sequence[Mapping[str, str]]], left: int) -> Promise:
    """`edges` say of each service who is whom to it; `left` are the rows that any has kept under a former id."""
    text = "two records of one person become one, in every service"
    if doubled is None:
        return Promise(text, None, UNTRIED)
    edge = {"person": doubled.merged_id, "same_as": doubled.patient_id}
    follow = [service for service, known in edges.items() if edge in known]
    kept = bool(doubled.found_by) and doubled.known_as == doubled.patient_id and len(follow) == len(edges) and not left
    evidence = (
        f"found by {', '.join(doubled.found_by) or 'NOTHING'}; {len(follow)} services follow,"
        f" {left} rows are left under the former id"
    )
    return Promise(text, kept, evidence)


async def _left(network: Network, service: str) -> int:
    looks = [row["look"] for row in await network.rows(service, LOOKS)]
    return len(await network.rows(service, " UNION ALL ".join(looks))) if looks else 0
