"""Who may sign for whom: by birth date, as far as it is known, and by the law of the site."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepway_chassis.errors import InvalidInput
from stepway_intake.domain.authority import (
    Ages,
    Signer,
    ages_of,
    check_signer,
    closes_on,
    comes_of_age,
    reached,
    refusal,
)
from stepway_intake.domain.people import Label

DAY = date(2026, 11, 25)
NAMED = "Wren Vexmoor"


@pytest.mark.parametrize(
    ("born", "first_day"),
    [
        ("2008-11-25", date(2026, 11, 25)),
        ("2008-11", date(2026, 11, 1)),
        ("2008", date(2026, 1, 1)),
        ("2008-02-29", date(2026, 3, 1)),
        ("2010-02-28", date(2028, 2, 28)),
    ],
)
def test_somebody_is_of_age_on_the_first_day_on_which_it_could_be(born: str, first_day: date) -> None:
    assert comes_of_age(born, Ages()) == first_day


def test_nobody_knows_when_somebody_without_a_birth_date_is_of_age() -> None:
    assert comes_of_age("", Ages()) is None
    assert not reached("", 0, DAY)


@given(st.dates(date(1990, 1, 1), date(2020, 1, 1)), st.dates(date(2026, 1, 1), date(2040, 1, 1)))
def test_the_less_is_known_of_a_birth_date_the_less_authority_there_is(born: date, day: date) -> None:
    texts = [born.isoformat()[:length] for length in (10, 7, 4, 0)]
    guardians = [refusal(Signer.GUARDIAN, text, Ages(), Label.GENERAL, day) is None for text in texts]
    alone = [Ages(minor_alone=14).signs_alone(text, day) for text in texts]
    assert guardians == sorted(guardians, reverse=True)
    assert alone == sorted(alone, reverse=True)


ALONE_FROM_16 = Ages(minor_alone=16)


@pytest.mark.parametrize(
    ("signer", "born", "ages", "label", "reason"),
    [
        (Signer.PATIENT, "2012-01-01", Ages(), Label.GENERAL, "MINOR_CANNOT_SIGN_ALONE"),
        (Signer.UNSTATED, "2012-01-01", Ages(), Label.GENERAL, "MINOR_CANNOT_SIGN_ALONE"),
        (Signer.PATIENT, "2012-01-01", ALONE_FROM_16, Label.PART2, "MINOR_CANNOT_SIGN_ALONE"),
        (Signer.PATIENT, "2010", ALONE_FROM_16, Label.PART2, "MINOR_CANNOT_SIGN_ALONE"),
        (Signer.GUARDIAN, "1990-01-01", Ages(), Label.GENERAL, "GUARDIAN_WITHOUT_AUTHORITY"),
        (Signer.GUARDIAN, "2008", Ages(), Label.GENERAL, "GUARDIAN_WITHOUT_AUTHORITY"),
        (Signer.GUARDIAN, "", Ages(), Label.GENERAL, "GUARDIAN_WITHOUT_AUTHORITY"),
        (Signer.GUARDIAN, "2010-01-01", ALONE_FROM_16, Label.GENERAL, "GUARDIAN_WITHOUT_AUTHORITY"),
        (Signer.GUARDIAN, "2012-01-01", Ages(), Label.PART2, "PATIENT_HAS_TO_SIGN"),
        (Signer.REPRESENTATIVE, "2012-01-01", Ages(), Label.GENERAL, "REPRESENTATIVE_WITHOUT_AUTHORITY"),
        (Signer.REPRESENTATIVE, "2010-01-01", ALONE_FROM_16, Label.PART2, "REPRESENTATIVE_WITHOUT_AUTHORITY"),
    ],
)
def test_whoever_has_no_authority_is_refused(signer: Signer, born: str, ages: Ages, label: Label, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_signer(signer, NAMED, born, ages, label, day=DAY)
    assert (refused.value.reason, refused.value.field) == (reason, "signer")


@pytest.mark.parametrize(
    ("signer", "born", "ages", "label"),
    [
        (Signer.PATIENT, "1990-01-01", Ages(), Label.PART2),
        (Signer.UNSTATED, "", Ages(), Label.PART2),
        (Signer.PATIENT, "2008-11-25", Ages(), Label.PART2),
        (Signer.PATIENT, "2010-01-01", ALONE_FROM_16, Label.PART2),
        (Signer.GUARDIAN, "2008-11-26", Ages(), Label.GENERAL),
        (Signer.PATIENT_AND_GUARDIAN, "2012-01-01", Ages(), Label.PART2),
        (Signer.REPRESENTATIVE, "1990-01-01", Ages(), Label.PART2),
    ],
)
def test_whoever_has_authority_may_sign(signer: Signer, born: str, ages: Ages, label: Label) -> None:
    check_signer(signer, NAMED, born, ages, label, day=DAY)


@pytest.mark.parametrize(
    ("signer", "born", "relative", "closes"),
    [
        (Signer.GUARDIAN, "2012-11-25", False, date(2030, 11, 25)),
        (Signer.PATIENT_AND_GUARDIAN, "2012-11-25", True, date(2030, 11, 25)),
        (Signer.PATIENT_AND_GUARDIAN, "2012-11-25", False, None),
        (Signer.PATIENT_AND_GUARDIAN, "1990-04-01", True, None),
        (Signer.PATIENT_AND_GUARDIAN, "", True, None),
        (Signer.PATIENT, "2012-11-25", True, None),
    ],
)
def test_a_guardians_access_closes_when_the_patient_is_of_age(
    signer: Signer, born: str, relative: bool, closes: date | None
) -> None:
    assert closes_on(signer, born, Ages(), signed=DAY, relative=relative) == closes


def test_the_ages_are_the_sites() -> None:
    assert ages_of({}) == Ages(18, None)
    assert ages_of({"age_of_majority": 19, "minor_consents_from": 16}) == Ages(19, 16)


@pytest.mark.parametrize("settings", [{"age_of_majority": "18"}, {"minor_consents_from": 9}, {"age_of_majority": True}])
def test_ages_that_are_none_are_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        ages_of(settings)
    assert (refused.value.reason, refused.value.field) == ("SITE_SETTING_INVALID", *settings)
