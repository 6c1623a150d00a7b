"""Who is invited to which group: each by themselves, and to the next one when theirs has passed."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from stepway_cli.sites import apply, read_sites
from stepway_family.inviting import BATCH
from tests.cases import At, a_consent, a_decision, a_family_group, an_admission
from tests.data import REPOSITORY
from tests.network import Network, a_referral, phq_9
from tests.waiting import until


async def a_site(network: Network, name: str) -> At:
    northside = read_sites([REPOSITORY / "deploy" / "sites" / "1-northside.yaml"])[0]
    for service in network.platform.services:
        await apply(network.platform.database_url(service, "registrar"), [replace(northside, site=name)])
    return At(network, name)


async def an_uncle(at: At) -> str:
    """The id of somebody whom family knows of, and who is in no group."""
    referral = (await at.call("intake", "ReferralService/ReceiveReferral", a_referral())).referral
    await at.call("intake", "AssessmentService/RecordAssessment", phq_9(referral.id, [1] * 8 + [0]))
    await at.call("intake", "LevelOfCareService/DecideLevelOfCare", a_decision(referral.id))
    consent = (await at.call("intake", "ConsentService/GrantConsent", a_consent(referral.patient_id))).consent
    await at.call("intake", "AdmissionService/AdmitPatient", an_admission(referral.id))
    known = (
        f"SELECT 1 AS one FROM consent_link JOIN patient ON patient.id = patient_id"
        f" WHERE family_member_id = '{consent.family_member_id}'"
    )
    await until(partial(_seen, at, known, bool))
    return str(consent.family_member_id)


async def plan_group(at: At, **changes: Any) -> str:
    return str(
        (await at.call("family", "FamilyGroupService/PlanFamilyGroup", a_family_group(**changes))).family_group.id
    )


def groups_of(at: At, member: str) -> str:
    return f"SELECT family_group_id AS id FROM invitation WHERE family_member_id = '{member}' ORDER BY starts_at"


async def _seen(at: At, query: str, wanted: Callable[[list[dict[str, Any]]], bool]) -> bool:
    return wanted(at.network.rows("family", query))


async def test_those_who_cannot_be_asked_about_keep_nobody_else_from_their_invitation(network: Network) -> None:
    at = await a_site(network, "kinside")
    troubled, good = await an_uncle(at), await an_uncle(at)
    theirs, columns = (
        f"family_member_id = '{troubled}'",
        "patient_id, family_member_id, granted, at, correlation, causation",
    )
    network.platform.postgres.run_sql(
        f"INSERT INTO consent_link (site, id, {columns}) SELECT site,"
        f" overlay(id::text PLACING lpad(n::text, 12, '0') FROM 25)::uuid, {columns}"
        f" FROM consent_link, generate_series(1, {BATCH}) AS n WHERE {theirs};"
        f"UPDATE consent_link SET trace_context = '\"nonsense\"' WHERE {theirs};"
        "UPDATE patient SET trace_context = '\"nonsense\"'"
        f" WHERE id = (SELECT patient_id FROM consent_link WHERE {theirs} LIMIT 1);",
        database="stepway_family",
    )
    group = await plan_group(at)
    await until(partial(_seen, at, groups_of(at, good), lambda rows: [row["id"] for row in rows] == [group]))
    assert network.rows("family", groups_of(at, troubled)) == []
    network.platform.postgres.run_sql(
        f"UPDATE consent_link SET refused = now() WHERE family_member_id = '{troubled}'", database="stepway_family"
    )


async def test_whose_group_has_passed_is_invited_to_the_next_one(network: Network) -> None:
    at = await a_site(network, "nextside")
    member = await an_uncle(at)
    first = await plan_group(at)
    await until(partial(_seen, at, groups_of(at, member), bool))
    soon = f"SET starts_at = now() + interval '1 s' WHERE site = '{at.site}'"
    network.platform.postgres.run_sql(
        f"UPDATE family_group {soon}; UPDATE invitation {soon};", database="stepway_family"
    )
    second = await plan_group(at)
    both = [first, second]
    await until(partial(_seen, at, groups_of(at, member), lambda rows: [row["id"] for row in rows] == both))
