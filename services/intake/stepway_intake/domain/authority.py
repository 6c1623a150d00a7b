"""Authority: who may sign for a patient, by the patient's birth date and the site's law."""

from calendar import isleap
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from stepway_chassis.errors import InvalidInput
from stepway_intake.domain.people import Label, born


class Signer(StrEnum):
    """`UNSTATED` is taken for the patient."""

    UNSTATED = "unstated"
    PATIENT = "patient"
    GUARDIAN = "guardian"
    PATIENT_AND_GUARDIAN = "patient_and_guardian"
    REPRESENTATIVE = "representative"

    @property
    def alone(self) -> bool:
        """Whether only the patient has signed."""
        return self in (Signer.UNSTATED, Signer.PATIENT)


@dataclass(frozen=True)
class Ages:
    """By the law of the site: when somebody is of age, and from when a minor consents alone, if ever (42 CFR 2.14)."""

    majority: int = 18
    minor_alone: int | None = None

    def signs_alone(self, birth_date: str, day: date) -> bool:
        """A minor who may, and then nobody else may; whose birth date is not known for certain may not."""
        return self.minor_alone is not None and reached(birth_date, self.minor_alone, day)


def ages_of(settings: Mapping[str, Any]) -> Ages:
    """Raises InvalidInput (SITE_SETTING_INVALID)."""
    majority, alone = settings.get("age_of_majority", Ages.majority), settings.get("minor_consents_from")
    for name, age in (("age_of_majority", majority), ("minor_consents_from", alone)):
        if age is not None and (type(age) is not int or not 10 <= age <= 21):
            raise InvalidInput("SITE_SETTING_INVALID", "Write an age in years, from 10 to 21.", field=name)
    return Ages(majority, alone)


def check_signer(signer: Signer, name: str, birth_date: str, ages: Ages, label: Label, *, day: date) -> None:
    """Raises InvalidInput (SIGNER_NAMELESS, and what `refusal` names)."""
    if not signer.alone and not name:
        raise InvalidInput("SIGNER_NAMELESS", "Give the name of whoever signs for the patient.", field="signer_name")
    if refused := refusal(signer, birth_date, ages, label, day):
        raise refused


def refusal(signer: Signer, birth_date: str, ages: Ages, label: Label, day: date) -> InvalidInput | None:
    """Why what was signed like this on this day does not bind, by what is known of the patient by now.

    MINOR_CANNOT_SIGN_ALONE, GUARDIAN_WITHOUT_AUTHORITY, PATIENT_HAS_TO_SIGN, REPRESENTATIVE_WITHOUT_AUTHORITY.
    """
    minor, alone = is_minor(birth_date, ages, day), ages.signs_alone(birth_date, day)
    if signer.alone and minor and not alone:
        message = "The patient is a minor who may not consent alone; have the guardian sign, too."
        return InvalidInput("MINOR_CANNOT_SIGN_ALONE", message, field="signer")
    if signer is Signer.GUARDIAN and (alone or not minor):
        message = "A guardian consents only for a minor who may not do so alone; have the patient sign."
        return InvalidInput("GUARDIAN_WITHOUT_AUTHORITY", message, field="signer")
    if signer is Signer.GUARDIAN and label is Label.PART2:
        message = "For a Part 2 record minor and guardian both have to sign (42 CFR 2.14)."
        return InvalidInput("PATIENT_HAS_TO_SIGN", message, field="signer")
    if signer is Signer.REPRESENTATIVE and minor:
        message = "For a minor only a guardian signs, or the minor (42 CFR 2.14)."
        return InvalidInput("REPRESENTATIVE_WITHOUT_AUTHORITY", message, field="signer")
    return None


def closes_on(signer: Signer, birth_date: str, ages: Ages, *, signed: date, relative: bool) -> date | None:
    """The day from which it binds no more, since the patient is of age.

    So ends what a guardian alone has signed, and what minor and guardian have signed for a `relative`: which of them is
    the guardian is not known, and a guardian's access closes on that birthday.
    """
    joint = signer is Signer.PATIENT_AND_GUARDIAN and relative and is_minor(birth_date, ages, signed)
    return comes_of_age(birth_date, ages) if joint or signer is Signer.GUARDIAN else None


def is_minor(birth_date: str, ages: Ages, day: date) -> bool:
    """For certain: not when the birth date is unknown, nor from the first day on which they could be of age."""
    of_age = comes_of_age(birth_date, ages)
    return of_age is not None and day < of_age


def comes_of_age(birth_date: str, ages: Ages) -> date | None:
    """The first day on which it could be, with as much of the birth date as is known; None without any."""
    return _birthday(born(birth_date)[0], ages.majority) if birth_date else None


def reached(birth_date: str, age: int, day: date) -> bool:
    """Whether they are so old for certain, with as much of the birth date as is known."""
    return bool(birth_date) and _birthday(born(birth_date)[1], age) <= day


def _birthday(born: date, age: int) -> date:
    """Whoever was born on 29 February has it on 1 March in other years."""
    leaps = (born.month, born.day) == (2, 29) and not isleap(born.year + age)
    return date(born.year + age, 3, 1) if leaps else born.replace(year=born.year + age)
