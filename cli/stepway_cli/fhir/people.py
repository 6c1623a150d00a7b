"""From a FHIR Patient or RelatedPerson to what intake keeps of them."""

import re
from datetime import date
from typing import TypeVar

import phonenumbers
import protovalidate
from google.protobuf.message import Message

from stepway.intake.v1 import referral_pb2
from stepway_cli.fhir.elements import Element, malformed
from stepway_cli.findings import Note, Unusable

AnyMessage = TypeVar("AnyMessage", bound=Message)

HOME_REGION = "US"
MOST_CONTACT_POINTS = 10
ROLE_CODE = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"
BCP_47 = "urn:ietf:bcp:47"

_LAST_RANK = 1_000
_OLDEST_BIRTH_YEAR = 1900  # intake takes no earlier one
_PAST_NAMES = frozenset({"old", "maiden"})
_NAME_ORDER = {"official": 0, "usual": 1, "": 2, "nickname": 3, "temp": 4, "anonymous": 5}
_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")
_LANGUAGE = re.compile(r"[a-zA-Z]{2,8}(-[a-zA-Z0-9]{1,8})*")
_ROLE = re.compile(r"[A-Z0-9]{1,20}")
_GENDERS = {
    "male": referral_pb2.ADMINISTRATIVE_GENDER_MALE,
    "female": referral_pb2.ADMINISTRATIVE_GENDER_FEMALE,
    "other": referral_pb2.ADMINISTRATIVE_GENDER_OTHER,
    "unknown": referral_pb2.ADMINISTRATIVE_GENDER_UNKNOWN,
}


def person(patient: Element, today: date, notes: list[Note]) -> referral_pb2.Person:
    """Somebody who can be taken in; refuses PATIENT_DECEASED, PATIENT_INACTIVE, NAME_MISSING and impossible dates."""
    if patient.flag("deceasedBoolean") or patient.text("deceasedDateTime"):
        raise Unusable("PATIENT_DECEASED", "the record says that this patient has died")
    if patient.flag("active") is False:
        raise Unusable("PATIENT_INACTIVE", "the record is no longer in use: send the one that replaced it")
    given, family = _name(patient, today, notes)
    return referral_pb2.Person(
        given_name=given,
        family_name=family,
        birth_date=_birth_date(patient, today),
        gender=_gender(patient, notes),
        contact_points=_contact_points(patient, today, notes),
        language=_language(patient, notes),
    )


def related_person(relative: Element, today: date, notes: list[Note]) -> referral_pb2.RelatedPerson:
    """Somebody whom the referral names; refuses who is no longer named so."""
    if relative.flag("active") is False or relative.ended(today):
        raise Unusable("RELATED_PERSON_INACTIVE", "the record says that this relationship is over")
    given, family = _name(relative, today, notes)
    return valid(
        referral_pb2.RelatedPerson(
            given_name=given,
            family_name=family,
            relationship=_relationship(relative, notes),
            contact_points=_contact_points(relative, today, notes),
        )
    )


def valid(message: AnyMessage) -> AnyMessage:
    """The message itself; refuses INVALID by field what the contract would not take."""
    violations = (violation.proto.field for violation in protovalidate.collect_violations(message))
    fields = {".".join(step.field_name for step in path.elements) for path in violations if path}
    if fields:
        raise Unusable("INVALID", f"longer or other than intake takes it: {', '.join(sorted(fields))}")
    return message


def _name(owner: Element, today: date, notes: list[Note]) -> tuple[str, str]:
    """Given and family name, the official one first; one that is only written out whole serves as family name."""
    current = [name for name in owner.many("name") if name.text("use") not in _PAST_NAMES and not name.ended(today)]
    current.sort(key=lambda name: _NAME_ORDER.get(name.text("use"), 2))
    for name in current:
        if family := _spaced(name.text("family")):
            return _spaced(" ".join(name.texts("given"))), family
    for name in current:
        if whole := _spaced(name.text("text")):
            notes.append(Note(name.where, "only a whole name is given: it is kept as the family name"))
            return "", whole
    raise Unusable("NAME_MISSING", "give a current name with a family name")


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _birth_date(patient: Element, today: date) -> str:
    born = patient.text("birthDate")
    if not born:
        return ""
    parts = _DATE.fullmatch(born)
    if not parts:
        raise malformed("birthDate", "YYYY, YYYY-MM or YYYY-MM-DD")
    try:
        date(int(parts[1]), int(parts[2] or 1), int(parts[3] or 1))
    except ValueError:
        raise Unusable("BIRTH_DATE_IMPOSSIBLE", "birthDate is not in the calendar") from None
    if int(parts[1]) < _OLDEST_BIRTH_YEAR or born > today.isoformat()[: len(born)]:
        raise Unusable("BIRTH_DATE_IMPOSSIBLE", f"birthDate is in the future or before {_OLDEST_BIRTH_YEAR}")
    return born


def _gender(patient: Element, notes: list[Note]) -> referral_pb2.AdministrativeGender:
    gender = patient.text("gender")
    if gender and gender not in _GENDERS:
        notes.append(Note(f"{patient.where} gender", "left out: it is not a FHIR administrative gender"))
    return _GENDERS.get(gender, referral_pb2.ADMINISTRATIVE_GENDER_UNSPECIFIED)


def _language(patient: Element, notes: list[Note]) -> str:
    spoken = sorted(patient.many("communication"), key=lambda communication: not communication.flag("preferred"))
    for communication in spoken:
        for coding in communication.one("language").many("coding"):
            code = coding.text("code")
            if coding.text("system") in (BCP_47, "") and len(code) <= 35 and _LANGUAGE.fullmatch(code):
                return code
        notes.append(Note(f"{communication.where}.language", "left out: it has no BCP 47 code"))
    return ""


def _relationship(relative: Element, notes: list[Note]) -> str:
    relationships = relative.many("relationship")
    for coding in (coding for concept in relationships for coding in concept.many("coding")):
        if coding.text("system") == ROLE_CODE and _ROLE.fullmatch(coding.text("code")):
            return coding.text("code")
    if relationships:
        notes.append(Note(f"{relative.where} relationship", "left out: it has no v3-RoleCode code"))
    return ""


def _contact_points(owner: Element, today: date, notes: list[Note]) -> list[referral_pb2.ContactPoint]:
    """The ways to reach somebody that still hold, the best ranked first, each once."""
    found: dict[str, referral_pb2.ContactPoint] = {}
    for point in sorted(owner.many("telecom"), key=lambda point: point.number("rank") or _LAST_RANK):
        contact = _contact_point(point)
        if why := _left_out(point, contact, today):
            notes.append(Note(point.where, f"left out: {why}"))
        else:
            found.setdefault(contact.phone or contact.email.casefold(), contact)
    for _ in range(len(found) - MOST_CONTACT_POINTS):
        found.popitem()
        notes.append(Note(f"{owner.where} telecom", f"one left out: {MOST_CONTACT_POINTS} are enough"))
    return list(found.values())


def _left_out(point: Element, contact: referral_pb2.ContactPoint, today: date) -> str:
    if point.text("system") not in ("phone", "sms", "email"):
        return "it is neither phone, sms nor email"
    if point.text("use") == "old":
        return "it is marked as old"
    if point.ended(today):
        return "its period is over"
    return "it is no whole phone number or email address" if protovalidate.collect_violations(contact) else ""


def _contact_point(point: Element) -> referral_pb2.ContactPoint:
    if point.text("system") == "email":
        return referral_pb2.ContactPoint(email=point.text("value"))
    return referral_pb2.ContactPoint(phone=_e164(point.text("value")))


def _e164(value: str) -> str:
    """Empty for what cannot be dialled from anywhere, such as a number without its area, or behind a switchboard."""
    try:
        number = phonenumbers.parse(value, HOME_REGION)
    except phonenumbers.NumberParseException:
        return ""
    whole = phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE
    if not whole or number.extension:
        return ""
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
