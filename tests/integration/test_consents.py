"""Consents over gRPC: who may grant and end them, and that a revocation holds from its acknowledgement on."""

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from stepway.family.v1.invitation_service_pb2 import GetInvitationRequest, ListInvitationsRequest
from stepway.intake.v1 import consent_pb2
from stepway.intake.v1.consent_service_pb2 import (
    CheckConsentsRequest,
    GetConsentRequest,
    GetFamilyMemberContactRequest,
    ListConsentsRequest,
    RevokeConsentRequest,
)
from stepway_chassis.errors import InvalidInput, NotFound, Refusal, Unavailable
from stepway_chassis.rpc.client import Peers
from stepway_chassis.times import to_proto
from tests.calls import service_token
from tests.cases import At, Case, a_case, a_consent
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral
from tests.waiting import until

CONSENTS = "stepway.intake.v1.ConsentService"
INVITATIONS = "stepway.family.v1.InvitationService"
SCHEDULE = consent_pb2.CONSENT_CATEGORY_SCHEDULE
USE_WITHIN = 0.5


async def a_patient(network: Network, site: str = NORTHSIDE) -> str:
    received = await At(network, site).call("intake", "ReferralService/ReceiveReferral", a_referral())
    return str(received.referral.patient_id)


async def granted(network: Network, patient: str, site: str = NORTHSIDE, **changes: Any) -> Any:
    answer = await At(network, site).call("intake", "ConsentService/GrantConsent", a_consent(patient, **changes))
    return answer.consent


async def revoke(network: Network, consent: str, **changes: Any) -> Any:
    request = RevokeConsentRequest(**{"request_id": str(uuid4()), "consent_id": consent, **changes})
    return (await At(network, NORTHSIDE).call("intake", "ConsentService/RevokeConsent", request)).consent


def family(network: Network) -> Peers:
    """Whoever asks as the service family."""
    return network.holding(service_token(network, "family"))


async def finding(network: Network, consent: Any, category: Any = SCHEDULE, site: str = NORTHSIDE) -> str:
    question = {
        "patient_id": consent.patient_id,
        "family_member_id": consent.family_member_id,
        "category": category,
    }
    request = CheckConsentsRequest(questions=[question])
    answer = await family(network).call(f"{CONSENTS}/CheckConsents", request, site=site)
    assert answer.use_within.ToTimedelta().total_seconds() == USE_WITHIN
    return consent_pb2.ConsentFinding.Name(answer.answers[0].finding).removeprefix("CONSENT_FINDING_")


async def test_a_consent_covers_what_it_names_at_its_site_and_nothing_else(network: Network) -> None:
    consent = await granted(network, await a_patient(network))
    assert await finding(network, consent) == "GRANTED"
    assert await finding(network, consent, consent_pb2.CONSENT_CATEGORY_PLAN) == "NOT_COVERED"
    assert await finding(network, consent, site=LAKESIDE) == "NEVER_GRANTED"
    await revoke(network, consent.id)
    assert await finding(network, consent) == "REVOKED"


async def test_many_questions_are_answered_in_the_order_asked(network: Network) -> None:
    patient = await a_patient(network)
    one = await granted(network, patient)
    other = await granted(network, patient, family_member_id=one.family_member_id, categories=[3])
    questions = [
        {"patient_id": patient, "family_member_id": one.family_member_id, "category": category}
        for category in (SCHEDULE, consent_pb2.CONSENT_CATEGORY_PLAN, consent_pb2.CONSENT_CATEGORY_RISK)
    ] * 33
    request = CheckConsentsRequest(questions=questions)
    answer = await family(network).call(f"{CONSENTS}/CheckConsents", request, site=NORTHSIDE)
    assert [each.consent_id for each in answer.answers[:2]] == [one.id, other.id]
    assert [each.finding for each in answer.answers] == [
        consent_pb2.CONSENT_FINDING_GRANTED,
        consent_pb2.CONSENT_FINDING_GRANTED,
        consent_pb2.CONSENT_FINDING_NOT_COVERED,
    ] * 33


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"signed_at": to_proto(datetime.now(UTC) + timedelta(hours=1))}, "signed_at", "SIGNED_IN_FUTURE"),
        ({"expires_at": to_proto(datetime.now(UTC) - timedelta(hours=1))}, "expires_at", "EXPIRES_IN_PAST"),
        ({"categories": []}, "categories", "FIELD_INVALID"),
        ({"categories": [2, 2]}, "categories", "FIELD_INVALID"),
        ({"purpose": ""}, "purpose", "FIELD_INVALID"),
        ({"family_member_id": str(uuid4())}, "family_member_id", "FAMILY_MEMBER_NOT_FOUND"),
    ],
)
async def test_a_consent_that_is_none_is_refused_by_name(
    network: Network, changes: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises((InvalidInput, NotFound)) as refused:
        await granted(network, await a_patient(network), **changes)
    assert refused.value.reason == reason
    assert isinstance(refused.value, NotFound) or refused.value.field == field


async def test_somebody_whom_another_patient_has_named_is_not_found(network: Network) -> None:
    theirs = await granted(network, await a_patient(network))
    with pytest.raises(NotFound) as refused:
        await granted(network, await a_patient(network), family_member_id=theirs.family_member_id)
    assert refused.value.reason == "FAMILY_MEMBER_NOT_FOUND"


async def test_a_patient_reads_and_ends_their_own_consents_and_nobody_elses(network: Network) -> None:
    patient = await a_patient(network)
    consent = await granted(network, patient)
    own = network.holding(network.token(patient, "patient", northside=["patient"]))
    other = network.holding(network.token(str(uuid4()), "patient", northside=["patient"]))
    listed = await own.call(f"{CONSENTS}/ListConsents", ListConsentsRequest(patient_id=patient), site=NORTHSIDE)
    assert [each.id for each in listed.consents] == [consent.id]
    for rpc, request, reason in (
        ("ListConsents", ListConsentsRequest(patient_id=patient), "PATIENT_NOT_FOUND"),
        ("GetConsent", GetConsentRequest(consent_id=consent.id), "CONSENT_NOT_FOUND"),
        (
            "RevokeConsent",
            RevokeConsentRequest(request_id=str(uuid4()), consent_id=consent.id),
            "CONSENT_NOT_FOUND",
        ),
    ):
        with pytest.raises(NotFound) as refused:
            await other.call(f"{CONSENTS}/{rpc}", request, site=NORTHSIDE)
        assert refused.value.reason == reason
    ended = RevokeConsentRequest(request_id=str(uuid4()), consent_id=consent.id)
    await own.call(f"{CONSENTS}/RevokeConsent", ended, site=NORTHSIDE)
    assert await finding(network, consent) == "REVOKED"


async def test_a_revocation_is_answered_when_no_earlier_yes_may_be_used_and_within_a_second(network: Network) -> None:
    consent = await granted(network, await a_patient(network))
    request_id = str(uuid4())
    for _ in range(2):  # the repeat waits as well: its caller may not have heard the first answer
        began = time.monotonic()
        ended = await revoke(network, consent.id, request_id=request_id)
        assert USE_WITHIN <= time.monotonic() - began <= 1.0
        assert ended.HasField("revoked_at")


async def test_whoever_hears_that_a_consent_has_ended_already_hears_it_no_earlier_either(network: Network) -> None:
    consent = await granted(network, await a_patient(network))
    began = time.monotonic()
    calls = [heard_of(revoke(network, consent.id)) for _ in range(4)]
    reasons, times = zip(*await asyncio.gather(*calls), strict=True)
    assert sorted(reasons) == ["", *["CONSENT_ALREADY_REVOKED"] * 3]
    assert min(times) - began >= USE_WITHIN
    query = f"SELECT reason FROM audit WHERE '{consent.patient_id}' = ANY (people) AND outcome = 'REFUSED'"
    assert network.rows("intake", query) == [{"reason": "CONSENT_ALREADY_REVOKED"}] * 3


async def heard_of(call: Coroutine[Any, Any, Any]) -> tuple[str, float]:
    """The reason of the refusal, or "", and when it came."""
    try:
        await call
    except Refusal as refusal:
        return refusal.reason, time.monotonic()
    return "", time.monotonic()


async def test_an_address_is_told_only_while_a_consent_covers_it(network: Network) -> None:
    consent = await granted(network, await a_patient(network))
    notifications = network.holding(service_token(network, "notifications"))

    async def points(category: Any = SCHEDULE, member: str = consent.family_member_id) -> int:
        asked = GetFamilyMemberContactRequest(family_member_id=member, category=category)
        answer = await notifications.call(f"{CONSENTS}/GetFamilyMemberContact", asked, site=NORTHSIDE)
        return len(answer.contact_points)

    assert await points() == 1
    assert await points(consent_pb2.CONSENT_CATEGORY_PLAN) == 0
    assert await points(member=str(uuid4())) == 0
    await revoke(network, consent.id)
    assert await points() == 0


async def test_from_the_acknowledgement_of_a_revocation_no_invitation_is_read(network: Network) -> None:
    case = await a_case(network)
    member = network.holding(network.token(case.family_member, "family", northside=["family_member"]))
    answered: list[float] = []
    refused: list[float] = []
    reading = asyncio.gather(*(_keep_reading(member, case, answered, refused) for _ in range(4)))
    await until(partial(_many, answered))
    await revoke(network, case.consent)
    acknowledged = time.monotonic()
    refused.clear()
    await until(partial(_many, refused))
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert [late for late in answered if late > acknowledged] == []
    for reader in (member, network.staff("site_lead")):
        with pytest.raises(NotFound):
            await reader.call(
                f"{INVITATIONS}/GetInvitation", GetInvitationRequest(invitation_id=case.invitation), site=NORTHSIDE
            )
    left = await member.call(f"{INVITATIONS}/ListInvitations", ListInvitationsRequest(), site=NORTHSIDE)
    assert not left.invitations


async def _many(times: list[float]) -> bool:
    return len(times) >= 20


async def _keep_reading(member: Peers, case: Case, answered: list[float], refused: list[float]) -> None:
    request = GetInvitationRequest(invitation_id=case.invitation)
    while True:
        try:
            await member.call(f"{INVITATIONS}/GetInvitation", request, site=case.site)
        except Refusal:
            refused.append(time.monotonic())
        else:
            answered.append(time.monotonic())


async def test_the_audit_of_a_read_says_what_was_shown_and_what_was_refused(network: Network) -> None:
    case = await a_case(network)
    member = network.holding(network.token(case.family_member, "family", northside=["family_member"]))
    get = f"{INVITATIONS}/GetInvitation", GetInvitationRequest(invitation_id=case.invitation)
    list_ = f"{INVITATIONS}/ListInvitations", ListInvitationsRequest()
    await member.call(*get, site=NORTHSIDE)
    await member.call(*list_, site=NORTHSIDE)
    assert reads(network, case) == [("DONE", [case.patient]), ("DONE", [case.patient])]
    await revoke(network, case.consent)
    with pytest.raises(NotFound):
        await member.call(*get, site=NORTHSIDE)
    await member.call(*list_, site=NORTHSIDE)
    assert reads(network, case)[2:] == [("REFUSED", [case.patient]), ("DONE", [])]


def reads(network: Network, case: Case) -> list[tuple[str, list[str]]]:
    """What the audit says of the family member's reads."""
    query = f"SELECT outcome, people FROM audit WHERE actor = '{case.family_member}' ORDER BY id"
    return [(row["outcome"], row["people"]) for row in network.rows("family", query)]


async def test_without_an_answer_about_the_consent_nothing_is_read(network: Network) -> None:
    case = await a_case(network)
    member = network.holding(network.token(case.family_member, "family", northside=["family_member"]))
    intake = network.platform.process("intake")
    intake.pause()
    try:
        began = time.monotonic()
        with pytest.raises(Unavailable) as refused:
            await member.call(
                f"{INVITATIONS}/GetInvitation", GetInvitationRequest(invitation_id=case.invitation), site=NORTHSIDE
            )
        waited = time.monotonic() - began
    finally:
        intake.resume()
    assert refused.value.reason == "CONSENT_UNCONFIRMED"
    assert waited < 2 * USE_WITHIN  # an answer after that would be worth nothing
    assert reads(network, case) == []


async def test_another_family_member_finds_no_invitation(network: Network) -> None:
    case = await a_case(network)
    other = network.holding(network.token(str(uuid4()), "family", northside=["family_member"]))
    with pytest.raises(NotFound):
        await other.call(
            f"{INVITATIONS}/GetInvitation", GetInvitationRequest(invitation_id=case.invitation), site=NORTHSIDE
        )
