"""What a consent allows: nothing but what it names, to whom it names, for as long as it stands."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepway_chassis.errors import Conflict, InvalidInput
from stepway_intake.domain.authority import Ages, Signer
from stepway_intake.domain.consents import (
    CLOCK_SKEW,
    NOTICE_VERSION,
    Category,
    Consent,
    Ending,
    Expiry,
    Finding,
    LegalBasis,
    Party,
    Question,
    RecipientClass,
    Subject,
    check,
    check_each,
    expire,
    expire_with,
    grant,
    next_look,
    revoke,
    run_out,
    supersede,
)
from stepway_intake.domain.people import Label

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
CONSENT, PATIENT, MEMBER, SOMEBODY = (UUID(int=number) for number in range(1, 5))
SCHEDULE = Question(PATIENT, str(MEMBER), Category.SCHEDULE)
ADULT, MINOR, YOUNG = (
    Subject(born, Ages(), "America/New_York", Label.GENERAL) for born in ("1990-04-01", "2012-11-25", "")
)
BIRTHDAY = datetime(2030, 11, 25, 5, tzinfo=UTC)
"""The first moment in New York at which the minor is of age."""


def a_consent(**changes: Any) -> Consent:
    consent = Consent(
        CONSENT, PATIENT, MEMBER, (Category.SCHEDULE,), "to come along", NOON, NOON, NOON + timedelta(days=1)
    )
    return replace(consent, **changes)


def found(*consents: Consent, question: Question = SCHEDULE, about: Subject = ADULT, now: datetime = NOON) -> Finding:
    return check(question, [(each, about) for each in consents], now=now)[0]


def test_without_a_consent_the_answer_is_no() -> None:
    assert check(SCHEDULE, [], now=NOON) == (Finding.NEVER_GRANTED, None)


def test_a_consent_that_stands_is_a_yes_and_is_named() -> None:
    assert check(SCHEDULE, [(a_consent(), ADULT)], now=NOON) == (Finding.GRANTED, a_consent())


def test_many_are_answered_in_the_order_asked_each_by_what_is_about_it() -> None:
    known = [(a_consent(), ADULT), (a_consent(patient_id=SOMEBODY, categories=(Category.PLAN,)), ADULT)]
    others = replace(SCHEDULE, patient_id=SOMEBODY), replace(SCHEDULE, recipient="class/health_plans")
    asked = [others[1], SCHEDULE, others[0], SCHEDULE]
    answers = check_each(asked, known, now=NOON)
    assert answers == [check(each, known, now=NOON) for each in asked]
    assert [finding for finding, _ in answers] == [
        Finding.NEVER_GRANTED,
        Finding.GRANTED,
        Finding.NOT_COVERED,
        Finding.GRANTED,
    ]


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"categories": (Category.PLAN,)}, Finding.NOT_COVERED),
        ({"expires_at": NOON}, Finding.EXPIRED),
        ({"ended_at": NOON}, Finding.REVOKED),  # as an earlier version writes it
        ({"ended_at": NOON, "ending": Ending.REVOKED, "expires_at": NOON}, Finding.REVOKED),
        ({"ended_at": NOON, "ending": Ending.EXPIRED}, Finding.EXPIRED),
        ({"ended_at": NOON, "ending": Ending.SUPERSEDED}, Finding.SUPERSEDED),
        ({"ended_at": NOON, "ending": Ending.AUTHORITY_ENDED}, Finding.AUTHORITY_ENDED),
        ({"signer": Signer.GUARDIAN}, Finding.AUTHORITY_ENDED),
        ({"family_member_id": None, "recipient_class": RecipientClass.HEALTH_PLANS}, Finding.NEVER_GRANTED),
        ({"family_member_id": None, "recipient_site": "lakeside"}, Finding.NEVER_GRANTED),
        ({"patient_id": SOMEBODY}, Finding.NEVER_GRANTED),
        ({"family_member_id": SOMEBODY}, Finding.NEVER_GRANTED),
    ],
)
def test_any_other_is_a_no_and_says_why(changes: dict[str, Any], finding: Finding) -> None:
    assert found(a_consent(**changes)) is finding


def test_it_expires_at_its_very_moment() -> None:
    assert found(a_consent(expires_at=NOON + INSTANT)) is Finding.GRANTED
    assert found(a_consent(expires_at=NOON)) is Finding.EXPIRED


consents = st.builds(
    a_consent,
    categories=st.sampled_from([(Category.SCHEDULE,), (Category.PLAN,), (Category.PLAN, Category.SCHEDULE)]),
    ended_at=st.sampled_from([None, NOON]),
    expires_at=st.sampled_from([NOON, NOON + timedelta(days=1)]),
)


@given(st.lists(consents, max_size=4), st.randoms())
def test_of_several_one_yes_is_enough_in_whichever_order_and_nothing_else_is(given: list[Consent], rng: Any) -> None:
    yes = any(
        each.ended_at is None and each.expires_at > NOON and Category.SCHEDULE in each.categories for each in given
    )
    shuffled = sorted(given, key=lambda _: rng.random())
    assert (found(*given) is Finding.GRANTED) is yes
    assert found(*shuffled) is found(*given)


def part2(about: Subject = ADULT) -> Subject:
    """The same person, whose record is Part 2 by now."""
    return replace(about, label=Label.PART2)


def granted(about: Subject = ADULT, label: Label = Label.GENERAL, **changes: Any) -> Consent:
    return grant(a_consent(**changes), replace(about, label=label))


def test_it_was_signed_before_it_is_recorded() -> None:
    assert granted(signed_at=NOON + CLOCK_SKEW)


ENDLESS = {"expires_at": None, "expires_with": Expiry.NONE}
A_CLASS = {"family_member_id": None, "recipient_class": RecipientClass.TREATING_PROVIDERS}
SIGNED_BY = {"signer_name": "Wren Vexmoor"}
NOTES = (Category.COUNSELING_NOTES, Category.PLAN)


@pytest.mark.parametrize(
    ("changes", "label", "reason", "field"),
    [
        ({"signed_at": NOON + CLOCK_SKEW + INSTANT}, Label.GENERAL, "SIGNED_IN_FUTURE", "signed_at"),
        ({"expires_at": NOON}, Label.GENERAL, "EXPIRES_IN_PAST", "expires_at"),
        ({"expires_at": None}, Label.GENERAL, "EXPIRY_MISSING", "expires_at"),
        (ENDLESS, Label.GENERAL, "EXPIRY_MISSING", "expires_with"),
        (ENDLESS, Label.PART2, "EXPIRY_MISSING", "expires_with"),
        ({"legal_basis": LegalBasis.HIPAA}, Label.PART2, "LEGAL_BASIS_INSUFFICIENT", "legal_basis"),
        ({"legal_basis": LegalBasis.PART2_TPO}, Label.PART2, "RECIPIENT_NOT_COVERED", "legal_basis"),
        ({**A_CLASS, "legal_basis": LegalBasis.PART2_NAMED}, Label.PART2, "RECIPIENT_NOT_COVERED", "legal_basis"),
        ({**A_CLASS, "legal_basis": LegalBasis.STATE_MINOR}, Label.PART2, "LEGAL_BASIS_INSUFFICIENT", "legal_basis"),
        ({"categories": NOTES}, Label.PART2, "CATEGORIES_NOT_COMBINABLE", "categories"),
        ({"signer": Signer.REPRESENTATIVE}, Label.GENERAL, "SIGNER_NAMELESS", "signer_name"),
        ({"signer": Signer.GUARDIAN, **SIGNED_BY}, Label.GENERAL, "GUARDIAN_WITHOUT_AUTHORITY", "signer"),
    ],
)
def test_one_that_the_law_does_not_allow_is_refused_by_field(
    changes: dict[str, Any], label: Label, reason: str, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        granted(label=label, **changes)
    assert (refused.value.reason, refused.value.field) == (reason, field)


@pytest.mark.parametrize("kind", ["HEALTH_PROVIDER", "HEALTH_PLAN", "COURT", "SCHOOL", "EMPLOYER", "OTHER"])
def test_of_parties_only_providers_and_plans_are_covered_by_treatment_payment_and_operations(kind: str) -> None:
    party = Party(SOMEBODY, PATIENT, "Harborview", f"PARTY_KIND_{kind}")
    asked = a_consent(family_member_id=None, party_id=party.id, legal_basis=LegalBasis.PART2_TPO)
    about = replace(ADULT, label=Label.PART2)
    if kind.startswith("HEALTH"):
        assert grant(asked, about, party=party).legal_basis is LegalBasis.PART2_TPO
        return
    with pytest.raises(InvalidInput, match="RECIPIENT_NOT_COVERED"):
        grant(asked, about, party=party)
    assert grant(replace(asked, legal_basis=LegalBasis.PART2_NAMED), about, party=party).version == 1


@pytest.mark.parametrize(
    ("changes", "about", "label", "basis", "notice"),
    [
        ({}, ADULT, Label.GENERAL, LegalBasis.HIPAA, ""),
        ({}, ADULT, Label.PART2, LegalBasis.PART2_NAMED, NOTICE_VERSION),
        (A_CLASS, ADULT, Label.PART2, LegalBasis.PART2_TPO, NOTICE_VERSION),
        ({**A_CLASS, **ENDLESS}, ADULT, Label.PART2, LegalBasis.PART2_TPO, NOTICE_VERSION),
        ({"notice_version": "long-2026"}, ADULT, Label.PART2, LegalBasis.PART2_NAMED, "long-2026"),
        ({}, replace(MINOR, ages=Ages(minor_alone=13)), Label.PART2, LegalBasis.STATE_MINOR, NOTICE_VERSION),
    ],
)
def test_what_is_left_open_is_what_the_record_asks_for(
    changes: dict[str, Any], about: Subject, label: Label, basis: LegalBasis, notice: str
) -> None:
    consent = granted(about, label, **changes)
    assert (consent.legal_basis, consent.notice_version, consent.version) == (basis, notice, 1)


def test_what_a_guardian_has_signed_ends_when_the_patient_comes_of_age_by_the_sites_clocks() -> None:
    consent = granted(MINOR, signer=Signer.GUARDIAN, **SIGNED_BY, expires_at=BIRTHDAY + timedelta(days=300))
    assert consent.due_at == next_look(consent, MINOR) == BIRTHDAY
    assert found(consent, about=MINOR, now=BIRTHDAY - INSTANT) is Finding.GRANTED
    assert found(consent, about=MINOR, now=BIRTHDAY) is Finding.AUTHORITY_ENDED
    assert found(consent, about=YOUNG) is Finding.AUTHORITY_ENDED
    assert expire(consent, MINOR, now=BIRTHDAY).ending is Ending.AUTHORITY_ENDED


def test_what_minor_and_guardian_have_signed_for_a_relative_ends_then_too_and_for_others_it_does_not() -> None:
    both = {"signer": Signer.PATIENT_AND_GUARDIAN, **SIGNED_BY, "expires_at": BIRTHDAY + timedelta(days=300)}
    relative = granted(MINOR, Label.PART2, **both)
    assert relative.due_at == BIRTHDAY
    assert found(relative, about=part2(MINOR), now=BIRTHDAY - INSTANT) is Finding.GRANTED
    assert found(relative, about=part2(MINOR), now=BIRTHDAY) is Finding.AUTHORITY_ENDED
    insurer = granted(MINOR, Label.PART2, **{**both, **A_CLASS})
    assert insurer.due_at == both["expires_at"]
    assert run_out(insurer, part2(MINOR), now=BIRTHDAY) is Ending.STANDING


@pytest.mark.parametrize("signer", [Signer.UNSTATED, Signer.PATIENT, Signer.REPRESENTATIVE])
def test_what_turns_out_to_be_signed_for_a_minor_by_whom_it_could_not_be_binds_nobody_even_later(
    signer: Signer,
) -> None:
    consent = granted(YOUNG, signer=signer, **SIGNED_BY, expires_at=BIRTHDAY + timedelta(days=300))
    assert found(consent, about=YOUNG) is Finding.GRANTED
    assert found(consent, about=MINOR) is Finding.AUTHORITY_ENDED
    assert found(consent, about=MINOR, now=BIRTHDAY) is Finding.AUTHORITY_ENDED
    assert revoke(consent, MINOR, at=NOON).ending is Ending.REVOKED  # the birth date may be another one again


def test_a_general_release_and_a_guardians_word_alone_are_no_more_once_the_record_is_part_2() -> None:
    release = granted(legal_basis=LegalBasis.HIPAA)
    assert found(release) is Finding.GRANTED
    assert found(release, about=part2()) is Finding.BASIS_INSUFFICIENT
    assert found(replace(release, ended_at=NOON), about=part2()) is Finding.REVOKED
    guardians = granted(MINOR, signer=Signer.GUARDIAN, **SIGNED_BY, legal_basis=LegalBasis.PART2_NAMED)
    assert found(guardians, about=MINOR) is Finding.GRANTED
    assert found(guardians, about=part2(MINOR)) is Finding.AUTHORITY_ENDED


@pytest.mark.parametrize(("own", "told"), [("", NOTICE_VERSION), ("long-2026", "long-2026")])
def test_the_notice_goes_along_from_when_the_record_is_part_2(own: str, told: str) -> None:
    consent = granted(legal_basis=LegalBasis.PART2_NAMED, notice_version=own)
    for about, notice in ((ADULT, own), (part2(), told)):
        finding, answer = check(SCHEDULE, [(consent, about)], now=NOON)
        assert finding is Finding.GRANTED
        assert answer
        assert answer.notice_version == notice


def test_only_a_minor_who_signs_alone_consents_by_the_law_for_minors() -> None:
    alone = replace(MINOR, ages=Ages(minor_alone=13))
    assert granted(alone, Label.PART2, legal_basis=LegalBasis.STATE_MINOR).legal_basis is LegalBasis.STATE_MINOR
    with pytest.raises(InvalidInput) as refused:
        granted(MINOR, signer=Signer.PATIENT_AND_GUARDIAN, **SIGNED_BY, legal_basis=LegalBasis.STATE_MINOR)
    assert refused.value.reason == "LEGAL_BASIS_INSUFFICIENT"


def test_a_birth_date_that_is_corrected_counts_from_then_on() -> None:
    consent = granted(MINOR, signer=Signer.GUARDIAN, **SIGNED_BY, expires_at=BIRTHDAY + timedelta(days=800))
    younger = replace(MINOR, birth_date="2013-11-25")
    assert found(consent, about=replace(MINOR, birth_date="2008-01-01")) is Finding.AUTHORITY_ENDED
    looked_at = expire(consent, younger, now=BIRTHDAY)
    assert (looked_at.ending, looked_at.due_at) == (Ending.STANDING, BIRTHDAY + timedelta(days=365))


def test_one_that_takes_anothers_place_is_the_next_version_and_ends_it() -> None:
    old = granted()
    new = grant(a_consent(id=SOMEBODY, supersedes_id=CONSENT), ADULT, supersedes=old)
    assert new.version == 2
    ended = supersede(old, ADULT, new)
    assert (ended.ending, ended.ended_at, ended.due_at) == (Ending.SUPERSEDED, NOON, None)


@pytest.mark.parametrize("event", [Expiry.END_OF_TREATMENT, Expiry.TRANSFER_CLOSED])
def test_one_that_ends_with_an_event_ends_with_that_and_not_before_it_was_given(event: Expiry) -> None:
    consent = granted(expires_at=None, expires_with=event)
    assert consent.due_at is None
    other = next(each for each in Expiry if each is not event)
    assert expire_with(consent, other, happened_at=NOON, now=NOON) == consent
    assert expire_with(consent, event, happened_at=NOON - INSTANT, now=NOON) == consent
    assert expire_with(consent, event, happened_at=NOON, now=NOON).ending is Ending.EXPIRED


def test_whose_end_has_come_is_no_more_though_no_loop_has_come_by() -> None:
    later = NOON + timedelta(days=1)
    assert run_out(granted(), ADULT, now=later - INSTANT) is Ending.STANDING
    assert run_out(granted(), ADULT, now=later) is Ending.EXPIRED


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (Ending.REVOKED, "CONSENT_ALREADY_REVOKED"),
        (Ending.EXPIRED, "CONSENT_ALREADY_EXPIRED"),
        (Ending.AUTHORITY_ENDED, "CONSENT_ALREADY_EXPIRED"),
        (Ending.SUPERSEDED, "CONSENT_ALREADY_SUPERSEDED"),
    ],
)
def test_it_ends_once(ending: Ending, reason: str) -> None:
    ended = granted(ending=ending, ended_at=NOON)
    for end in (lambda: revoke(ended, ADULT, at=NOON), lambda: supersede(ended, ADULT, a_consent())):
        with pytest.raises(Conflict) as refused:
            end()
        assert refused.value.reason == reason
    assert expire(ended, ADULT, now=NOON + timedelta(days=9)) == ended
