"""Consents over gRPC: who may grant and end them, and that a revocation holds from its acknowledgement on."""

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.message import Message

from stepway.family.v1.invitation_service_pb2 import GetInvitationRequest, ListInvitationsRequest
from stepway.intake.v1 import consent_pb2
from stepway.intake.v1.consent_service_pb2 import (
    CheckConsentsRequest,
    GetConsentRequest,
    GetFamilyMemberContactRequest,
    ListConsentsRequest,
    RevokeConsentRequest,
)
from stepway.intake.v1.referral_service_pb2 import CloseReferralRequest, ReferAgainRequest
from stepway.scheduling.v1.enrollment_service_pb2 import EndEnrollmentRequest
from stepway_chassis.errors import Conflict, InvalidInput, NotFound, Refusal, Unavailable
from stepway_chassis.rpc.client import Peers
from stepway_chassis.times import to_proto
from tests.calls import service_token
from tests.cases import At, Case, a_case, a_consent
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral, confirmed
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
    patient, waited = await a_patient(network), []
    for _ in range(3):
        consent, request_id = await granted(network, patient), str(uuid4())
        for _ in range(2):  # the repeat waits as well: its caller may not have heard the first answer
            began = time.monotonic()
            ended = await revoke(network, consent.id, request_id=request_id)
            waited.append(time.monotonic() - began)
            assert ended.HasField("revoked_at")
    assert min(waited) >= USE_WITHIN
    assert min(waited[::2]) <= 1.0  # each would be on a machine that has time for it
    assert min(waited[1::2]) <= 1.0


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
    assert [began for began in answered if began > acknowledged] == []
    for reader in (member, network.staff("site_lead")):
        with pytest.raises(NotFound):
            await read(reader, "GetInvitation", GetInvitationRequest(invitation_id=case.invitation))
    assert not (await read(member, "ListInvitations", ListInvitationsRequest())).invitations


async def read(reader: Peers, method: str, request: Message) -> Any:
    return await confirmed(lambda: reader.call(f"{INVITATIONS}/{method}", request, site=NORTHSIDE))


async def _many(times: list[float]) -> bool:
    return len(times) >= 20


async def _keep_reading(member: Peers, case: Case, answered: list[float], refused: list[float]) -> None:
    """When each read was begun that was answered: on its way an answer may be overtaken by the acknowledgement."""
    request = GetInvitationRequest(invitation_id=case.invitation)
    while True:
        began = time.monotonic()
        try:
            await member.call(f"{INVITATIONS}/GetInvitation", request, site=case.site)
        except Refusal:
            refused.append(time.monotonic())
        else:
            answered.append(began)


async def test_the_audit_of_a_read_says_what_was_shown_and_what_was_refused(network: Network) -> None:
    case = await a_case(network)
    member = network.holding(network.token(case.family_member, "family", northside=["family_member"]))
    get = "GetInvitation", GetInvitationRequest(invitation_id=case.invitation)
    list_ = "ListInvitations", ListInvitationsRequest()
    await read(member, *get)
    await read(member, *list_)
    shown = reads(network, case)  # one more where intake was late to say that a consent covers it
    assert shown == [("DONE", [case.patient])] * max(2, len(shown))
    await revoke(network, case.consent)
    with pytest.raises(NotFound):
        await read(member, *get)
    await read(member, *list_)
    after = [outcome for outcome, _ in groupby(reads(network, case)[len(shown) :])]
    assert after == [("REFUSED", [case.patient]), ("DONE", [])]


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
    assert waited < 5  # it does not wait for as long as its caller would
    assert reads(network, case) == []


async def test_another_family_member_finds_no_invitation(network: Network) -> None:
    case = await a_case(network)
    other = network.holding(network.token(str(uuid4()), "family", northside=["family_member"]))
    with pytest.raises(NotFound):
        await read(other, "GetInvitation", GetInvitationRequest(invitation_id=case.invitation))


def announced(network: Network, consent: str) -> list[str]:
    query = f"SELECT headers->>'ce-type' AS type FROM outbox WHERE aggregate_id = '{consent}' ORDER BY aggregate_seq"
    return [row["type"].rpartition(".")[2] for row in network.rows("intake", query)]


async def ends(network: Network, consent: str) -> list[str]:
    async def look() -> list[str] | None:
        found = announced(network, consent)
        return found if len(found) > 1 else None

    return await until(look)


async def test_a_consent_that_has_run_out_is_announced_once_and_cannot_be_revoked(network: Network) -> None:
    consent = await granted(
        network, await a_patient(network), expires_at=to_proto(datetime.now(UTC) + timedelta(seconds=1))
    )
    assert await ends(network, consent.id) == ["ConsentGranted", "ConsentExpired"]
    assert await finding(network, consent) == "EXPIRED"
    with pytest.raises(Conflict) as refused:
        await revoke(network, consent.id)
    assert refused.value.reason == "CONSENT_ALREADY_EXPIRED"


RECIPIENTS: list[tuple[dict[str, Any], str, str]] = [
    ({"party": {"name": "Dr Tamsin Orrell", "kind": "PARTY_KIND_HEALTH_PROVIDER"}}, "party_id", "PART2_NAMED"),
    ({"recipient_class": "RECIPIENT_CLASS_HEALTH_PLANS"}, "recipient_class", "PART2_TPO"),
    ({"recipient_site": LAKESIDE}, "recipient_site", "PART2_NAMED"),
]


@pytest.mark.parametrize(("recipient", "by", "basis"), RECIPIENTS, ids=[by for _, by, _ in RECIPIENTS])
async def test_a_consent_may_be_for_somebody_outside_the_family_who_is_then_invited_to_nothing(
    network: Network, recipient: dict[str, Any], by: str, basis: str
) -> None:
    patient = await a_patient(network)
    consent = await granted(network, patient, **recipient)
    assert consent_pb2.ConsentLegalBasis.Name(consent.legal_basis) == f"CONSENT_LEGAL_BASIS_{basis}"
    question = {"patient_id": patient, by: getattr(consent, by), "category": SCHEDULE}
    request = CheckConsentsRequest(questions=[question])
    (answer,) = (await family(network).call(f"{CONSENTS}/CheckConsents", request, site=NORTHSIDE)).answers
    assert (answer.finding, answer.consent_id) == (consent_pb2.CONSENT_FINDING_GRANTED, consent.id)
    assert (answer.consent_version, answer.redisclosure_notice_version) == (1, "42cfr2.32-short-2024")
    uncle = await granted(network, patient)

    async def heard() -> list[dict[str, Any]]:
        return network.rows("family", f"SELECT id FROM consent_link WHERE patient_id = '{patient}'")

    assert await until(heard) == [{"id": uncle.id}]


@pytest.mark.parametrize("asked", [{}, {"recipient_site": LAKESIDE, "family_member_id": str(uuid4())}])
async def test_a_question_is_about_exactly_one_recipient(network: Network, asked: dict[str, str]) -> None:
    request = CheckConsentsRequest(questions=[{"patient_id": str(uuid4()), "category": SCHEDULE, **asked}])
    with pytest.raises(InvalidInput):
        await family(network).call(f"{CONSENTS}/CheckConsents", request, site=NORTHSIDE)


async def test_a_consent_that_takes_anothers_place_is_answered_like_a_revocation(network: Network) -> None:
    patient = await a_patient(network)
    old = await granted(network, patient)
    began = time.monotonic()
    new = await granted(
        network, patient, family_member_id=old.family_member_id, supersedes_consent_id=old.id, categories=[3]
    )
    assert time.monotonic() - began >= USE_WITHIN
    assert (new.version, new.supersedes_consent_id) == (2, old.id)
    assert announced(network, old.id) == ["ConsentGranted", "ConsentSuperseded"]
    assert await finding(network, old) == "SUPERSEDED"
    assert await finding(network, old, consent_pb2.CONSENT_CATEGORY_PLAN) == "GRANTED"


async def test_a_consent_for_another_recipient_takes_nobodys_place(network: Network) -> None:
    patient = await a_patient(network)
    old = await granted(network, patient)
    with pytest.raises(NotFound) as refused:
        await granted(network, patient, recipient_site=LAKESIDE, supersedes_consent_id=old.id)
    assert refused.value.reason == "CONSENT_NOT_FOUND"


async def test_of_a_revocation_and_a_consent_in_its_place_at_once_one_happens(network: Network) -> None:
    patient = await a_patient(network)
    old = await granted(network, patient)
    place = {"family_member_id": old.family_member_id, "supersedes_consent_id": old.id}
    calls = [revoke(network, old.id), granted(network, patient, **place), granted(network, patient, **place)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(each, Refusal) for each in answers) == 2
    assert len(announced(network, old.id)) == 2


@pytest.mark.parametrize(("comes_again", "stands"), [(False, "EXPIRED"), (True, "GRANTED")])
async def test_a_consent_until_the_end_of_treatment_ends_with_the_last_referral_that_comes_to_nothing(
    network: Network, comes_again: bool, stands: str
) -> None:
    at = At(network, NORTHSIDE)
    referral = (await at.call("intake", "ReferralService/ReceiveReferral", a_referral())).referral
    until_then = {"expires_at": None, "expires_with": "CONSENT_EXPIRY_END_OF_TREATMENT"}
    consent = await granted(network, referral.patient_id, **until_then)
    if comes_again:
        again = ReferAgainRequest(request_id=str(uuid4()), patient_id=referral.patient_id)
        await at.call("intake", "ReferralService/ReferAgain", again)
    declined = {"referral_id": referral.id, "outcome": "REFERRAL_STATUS_DECLINED"}
    closing = CloseReferralRequest(request_id=str(uuid4()), **declined)
    await at.call("intake", "ReferralService/CloseReferral", closing)
    assert await finding(network, consent) == stands


async def test_a_consent_until_the_end_of_treatment_ends_with_the_seat(network: Network) -> None:
    case = await a_case(network)
    until_then = {"expires_at": None, "expires_with": "CONSENT_EXPIRY_END_OF_TREATMENT"}
    consent = await granted(network, case.patient, family_member_id=case.family_member, **until_then)
    left = EndEnrollmentRequest(request_id=str(uuid4()), enrollment_id=case.enrollment)
    await At(network, NORTHSIDE).call("scheduling", "EnrollmentService/EndEnrollment", left)
    assert await ends(network, consent.id) == ["ConsentGranted", "ConsentExpired"]
    assert await finding(network, consent) == "GRANTED"  # by the other consent for the same person
    assert announced(network, case.consent) == ["ConsentGranted"]
