"""What the law asks of a consent over gRPC: who may sign, and what holds once more is known of the patient."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from stepway.intake.v1 import consent_pb2
from stepway.intake.v1.consent_service_pb2 import (
    CheckConsentsRequest,
    GetConsentRequest,
    ListEndingConsentsRequest,
)
from stepway.intake.v1.person_service_pb2 import MergePeopleRequest
from stepway_chassis.errors import InvalidInput
from tests.calls import service_token
from tests.cases import At, a_consent, a_decision, an_admission
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral, phq_9
from tests.people import corrected, person
from tests.waiting import until

CONSENTS = "stepway.intake.v1.ConsentService"
MINOR = {"family_name": "Vexmoor", "birth_date": "2015-04-01"}


async def a_patient(at: At, **person: str) -> Any:
    given = {"family_name": "Vexmoor", "birth_date": "1990-04-01", **person}
    return (await at.call("intake", "ReferralService/ReceiveReferral", a_referral(person=given))).referral


async def granted(at: At, patient: str, **changes: Any) -> Any:
    return (await at.call("intake", "ConsentService/GrantConsent", a_consent(patient, **changes))).consent


async def answered(at: At, consent: Any) -> tuple[str, str]:
    """What family hears of it, and the notice that goes along."""
    question = {"patient_id": consent.patient_id, "family_member_id": consent.family_member_id, "category": 2}
    family = at.network.holding(service_token(at.network, "family"))
    asked = CheckConsentsRequest(questions=[question])
    (answer,) = (await family.call(f"{CONSENTS}/CheckConsents", asked, site=at.site)).answers
    finding = consent_pb2.ConsentFinding.Name(answer.finding).removeprefix("CONSENT_FINDING_")
    return finding, answer.redisclosure_notice_version


async def test_a_minor_does_not_sign_alone_and_nobody_alone_for_a_minors_part_2_record(network: Network) -> None:
    at = At(network, NORTHSIDE)
    patient = (await a_patient(at, **MINOR)).patient_id
    for signer, reason in (
        ("PATIENT", "MINOR_CANNOT_SIGN_ALONE"),
        ("GUARDIAN", "PATIENT_HAS_TO_SIGN"),
        ("REPRESENTATIVE", "REPRESENTATIVE_WITHOUT_AUTHORITY"),
    ):
        with pytest.raises(InvalidInput) as refused:
            await granted(at, patient, signer=f"CONSENT_SIGNER_{signer}", signer_name="Wren Vexmoor")
        assert (refused.value.reason, refused.value.field) == (reason, "signer")
        assert "Wren" not in refused.value.message
    both = await granted(at, patient, signer="CONSENT_SIGNER_PATIENT_AND_GUARDIAN", signer_name="Wren Vexmoor")
    assert (await answered(at, both))[0] == "GRANTED"


@pytest.mark.parametrize("signer", ["GUARDIAN", "PATIENT_AND_GUARDIAN", "REPRESENTATIVE"])
async def test_a_patients_own_call_brings_nobody_elses_signature(network: Network, signer: str) -> None:
    at = At(network, NORTHSIDE)
    patient = (await a_patient(at, **MINOR)).patient_id
    own = network.holding(network.token(patient, "patient", northside=["patient"]))
    request = a_consent(patient, signer=f"CONSENT_SIGNER_{signer}", signer_name="Mum")
    with pytest.raises(InvalidInput) as refused:
        await own.call(f"{CONSENTS}/GrantConsent", request, site=NORTHSIDE)
    assert (refused.value.reason, refused.value.field) == ("SIGNER_NOT_CALLER", "signer")


async def test_what_ends_since_the_patient_comes_of_age_is_listed_before_it_does(network: Network) -> None:
    at, soon = At(network, NORTHSIDE), (datetime.now(UTC) + timedelta(days=7)).date()
    born = f"{soon.year - 18}-{soon.month:02}-{min(soon.day, 28):02}"
    patient = (await a_patient(at, birth_date=born)).patient_id
    both = {"signer": "CONSENT_SIGNER_PATIENT_AND_GUARDIAN", "signer_name": "Wren Vexmoor"}
    guardian = await granted(at, patient, **both)
    school = {"party": {"name": "Sable Ridge School", "kind": "PARTY_KIND_SCHOOL"}}
    await granted(at, patient, **both, **school)  # for half a year, whoever signed with the patient
    request = ListEndingConsentsRequest(page_size=100)
    listed = (await at.call("intake", "ConsentService/ListEndingConsents", request, role="front_desk")).consents
    assert [each.id for each in listed if each.patient_id == patient] == [guardian.id]
    assert guardian.due_at.ToDatetime() < guardian.expires_at.ToDatetime()
    assert guardian.family_member == next(each.family_member for each in listed if each.id == guardian.id)


async def test_a_general_release_is_a_no_and_a_notice_goes_along_once_the_record_is_part_2(network: Network) -> None:
    at = At(network, LAKESIDE)  # no Part 2 programme
    referral = await a_patient(at)
    release = await granted(at, referral.patient_id)
    named = await granted(at, referral.patient_id, legal_basis="CONSENT_LEGAL_BASIS_PART2_NAMED")
    assert [await answered(at, each) for each in (release, named)] == [("GRANTED", "")] * 2
    await at.call("intake", "AssessmentService/RecordAssessment", phq_9(referral.id, [0] * 9))
    await at.call("intake", "LevelOfCareService/DecideLevelOfCare", a_decision(referral.id))
    course = {"population": "COURSE_POPULATION_DUAL"}
    await at.call("intake", "AdmissionService/AdmitPatient", an_admission(referral.id, course=course))
    assert (await answered(at, release))[0] == "BASIS_INSUFFICIENT"
    assert await answered(at, named) == ("GRANTED", "42cfr2.32-short-2024")


async def test_what_somebody_has_signed_alone_is_no_more_once_they_are_known_to_be_a_minor(network: Network) -> None:
    at = At(network, NORTHSIDE)
    patient, same = [(await a_patient(at, birth_date=born)).patient_id for born in ("", MINOR["birth_date"])]
    consent = await granted(at, patient)
    assert (await answered(at, consent))[0] == "GRANTED"
    merge = MergePeopleRequest(request_id=str(uuid4()), patient_id=patient, merged_patient_id=same)
    await at.call("intake", "PersonService/MergePeople", merge)
    assert (await answered(at, consent))[0] == "AUTHORITY_ENDED"


async def test_a_consent_that_crosses_a_correction_is_granted_by_the_birth_date_that_is_right(network: Network) -> None:
    at = At(network, LAKESIDE)  # where a guardian may sign alone
    patient = (await a_patient(at, **MINOR)).patient_id
    async with network.superuser("intake") as connection, connection.transaction():
        one = f"WHERE id = '{patient}'"
        await connection.execute(f"SELECT 1 FROM patient {one} FOR NO KEY UPDATE")
        signed = {"signer": "CONSENT_SIGNER_GUARDIAN", "signer_name": "Wren Vexmoor", "expires_at": None}
        lasting = {**signed, "expires_with": "CONSENT_EXPIRY_END_OF_TREATMENT"}
        granting = asyncio.create_task(granted(at, patient, **lasting))
        await asyncio.wait({granting}, timeout=0.5)
        right = """jsonb_set(person, '{birth_date}', '"2014-07-05"')"""
        await connection.execute(f"UPDATE patient SET person = {right} {one}")
    assert (await granting).due_at.ToDatetime().date().isoformat() == "2032-07-05"


async def test_a_birth_date_that_a_merge_completes_says_when_a_guardians_signature_ends(network: Network) -> None:
    at = At(network, LAKESIDE)  # where a guardian may sign alone
    patient, same = [
        (await a_patient(at, **{**MINOR, "birth_date": born})).patient_id for born in ("2015", "2015-11-03")
    ]
    lasting = {"expires_at": None, "expires_with": "CONSENT_EXPIRY_END_OF_TREATMENT"}
    signed = {"signer": "CONSENT_SIGNER_GUARDIAN", "signer_name": "Wren Vexmoor", **lasting}
    guardian = await granted(at, patient, **signed)
    merge = MergePeopleRequest(request_id=str(uuid4()), patient_id=patient, merged_patient_id=same)
    await at.call("intake", "PersonService/MergePeople", merge)
    request = GetConsentRequest(consent_id=guardian.id)
    now = (await at.call("intake", "ConsentService/GetConsent", request)).consent
    assert guardian.due_at != now.due_at
    assert now.due_at.ToDatetime().date().isoformat() == "2033-11-03"


async def test_what_was_signed_is_judged_anew_by_a_birth_date_that_is_put_right(network: Network) -> None:
    at = At(network, LAKESIDE)  # where a guardian may sign alone
    patient = (await a_patient(at, **MINOR)).patient_id
    guardian = await granted(at, patient, signer="CONSENT_SIGNER_GUARDIAN", signer_name="Wren Vexmoor")

    async def born(birth_date: str) -> None:
        read = await person(network, patient, LAKESIDE)
        await corrected(network, read, "BIRTH_DATE", site=LAKESIDE, birth_date=birth_date)

    async def has_ended() -> bool:
        request = GetConsentRequest(consent_id=guardian.id)
        return (await at.call("intake", "ConsentService/GetConsent", request)).consent.HasField("ended_at")

    assert (await answered(at, guardian))[0] == "GRANTED"
    await born("1990-04-01")
    assert (await answered(at, guardian))[0] == "AUTHORITY_ENDED"
    await until(has_ended)
    alone = await granted(at, patient)
    findings = [(await answered(at, alone))[0]]
    for birth_date in (MINOR["birth_date"], "1990-04-01"):
        await born(birth_date)
        findings.append((await answered(at, alone))[0])
    assert findings == ["GRANTED", "AUTHORITY_ENDED", "GRANTED"]
