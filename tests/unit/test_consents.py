"""What a consent allows: nothing but what it names, to whom it names, for as long as it stands."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepway_chassis.errors import Conflict, InvalidInput
from stepway_intake.domain.consents import (
    CLOCK_SKEW,
    Category,
    Consent,
    Finding,
    Question,
    check,
    grant,
    revoke,
)

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
CONSENT, PATIENT, MEMBER, SOMEBODY = (UUID(int=number) for number in range(1, 5))
SCHEDULE = Question(PATIENT, MEMBER, Category.SCHEDULE)


def a_consent(**changes: Any) -> Consent:
    consent = Consent(
        CONSENT, PATIENT, MEMBER, (Category.SCHEDULE,), "to come along", NOON, NOON, NOON + timedelta(days=1)
    )
    return replace(consent, **changes)


def found(*consents: Consent, question: Question = SCHEDULE) -> Finding:
    return check(question, consents, now=NOON)[0]


def test_without_a_consent_the_answer_is_no() -> None:
    assert check(SCHEDULE, [], now=NOON) == (Finding.NEVER_GRANTED, None)


def test_a_consent_that_stands_is_a_yes_and_is_named() -> None:
    assert check(SCHEDULE, [a_consent()], now=NOON) == (Finding.GRANTED, CONSENT)


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"categories": (Category.PLAN,)}, Finding.NOT_COVERED),
        ({"expires_at": NOON}, Finding.EXPIRED),
        ({"revoked_at": NOON}, Finding.REVOKED),
        ({"revoked_at": NOON, "expires_at": NOON}, Finding.REVOKED),
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
    revoked_at=st.sampled_from([None, NOON]),
    expires_at=st.sampled_from([NOON, NOON + timedelta(days=1)]),
)


@given(st.lists(consents, max_size=4), st.randoms())
def test_of_several_one_yes_is_enough_in_whichever_order_and_nothing_else_is(given: list[Consent], rng: Any) -> None:
    yes = any(
        each.revoked_at is None and each.expires_at > NOON and Category.SCHEDULE in each.categories for each in given
    )
    shuffled = sorted(given, key=lambda _: rng.random())
    assert (found(*given) is Finding.GRANTED) is yes
    assert found(*shuffled) is found(*given)


def test_it_was_signed_before_it_is_recorded_and_ends_after() -> None:
    assert grant(a_consent(signed_at=NOON + CLOCK_SKEW))
    for changes, reason, field in (
        ({"signed_at": NOON + CLOCK_SKEW + INSTANT}, "SIGNED_IN_FUTURE", "signed_at"),
        ({"expires_at": NOON}, "EXPIRES_IN_PAST", "expires_at"),
    ):
        with pytest.raises(InvalidInput) as refused:
            grant(a_consent(**changes))
        assert (refused.value.reason, refused.value.field) == (reason, field)


def test_it_is_revoked_once() -> None:
    revoked = revoke(a_consent(), at=NOON)
    assert revoked.revoked_at == NOON
    with pytest.raises(Conflict) as refused:
        revoke(revoked, at=NOON)
    assert refused.value.reason == "CONSENT_ALREADY_REVOKED"
