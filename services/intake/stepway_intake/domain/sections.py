"""Sections: the interviews of a workup and the medical evaluation, as forms that hold together."""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from enum import StrEnum
from typing import Any

from stepway_chassis.errors import InvalidInput

Form = Mapping[str, Any]
"""Names to texts, numbers, lists and forms; their shape and bounds are the contract's."""

_DATE = re.compile(r"\w+_on")
_YEAR = re.compile(r"(\w+_)?year")
_IN_ORDER = {"started_on": "stopped_on"}


class Kind(StrEnum):
    PSYCHOSOCIAL = "psychosocial"
    SUBSTANCE_USE = "substance_use"
    MEDICAL = "medical"
    MEDICATIONS = "medications"
    SUPPORTS = "supports"
    RESPONSIBILITIES = "responsibilities"
    STRENGTHS = "strengths"
    GOALS = "goals"
    MEDICAL_EVALUATION = "medical_evaluation"


_SAYS_NONE = {
    Kind.SUBSTANCE_USE: (("none", "substances"),),
    Kind.MEDICATIONS: (("none", "medications"),),
    Kind.MEDICAL: (("no_conditions", "conditions"), ("no_allergies", "allergies")),
}
"""Where a form asks for a plain none, so that an empty list is never taken for one."""
MAY_TELL_OF_SUBSTANCE_USE = frozenset({Kind.SUBSTANCE_USE, Kind.MEDICAL_EVALUATION})


def check(kind: Kind, form: Form, *, today: date) -> Form:
    """What the contract cannot say: dates that exist and are past, in order; a none that was said and is true.

    Raises InvalidInput DATE_IMPOSSIBLE, DATE_IN_FUTURE, DATES_REVERSED, WINDOW_REVERSED, NONE_AND_SOME or
    NEITHER_NONE_NOR_SOME, and names the field.
    """
    at = f"section.{kind}"
    for path, each in _forms(at, form):
        _check_dates(path, each, today)
        _check_window(path, each)
    for none, some in _SAYS_NONE.get(kind, ()):
        _check_none(f"{at}.{some}", said=bool(form.get(none)), some=bool(form.get(some)))
    return form


def tell_of_substance_use(sections: Mapping[str, Form]) -> bool:
    """Whether an interview tells of it, beside a plain none too, or an examiner expects any withdrawal."""
    interview, evaluation = sections.get(Kind.SUBSTANCE_USE, {}), sections.get(Kind.MEDICAL_EVALUATION, {})
    told = any(interview.get(each) for each in ("substances", "overdoses", "narrative"))
    return told or evaluation.get("withdrawal_risk", "CLINICAL_RISK_NONE") != "CLINICAL_RISK_NONE"


def _forms(path: str, form: Form) -> Iterator[tuple[str, Form]]:
    yield path, form
    for name, value in form.items():
        inner = value if isinstance(value, list) else [value]
        for index, each in enumerate(inner):
            if isinstance(each, Mapping):
                yield from _forms(f"{path}.{name}[{index}]" if isinstance(value, list) else f"{path}.{name}", each)


def _check_dates(path: str, form: Form, today: date) -> None:
    dates = {name: _date(f"{path}.{name}", value) for name, value in form.items() if _DATE.fullmatch(name) and value}
    for name, day in dates.items():
        if day > today:
            raise InvalidInput("DATE_IN_FUTURE", "Give a date that is not still to come.", field=f"{path}.{name}")
    years = (name for name, value in form.items() if _YEAR.fullmatch(name) and value > today.year)
    for name in years:
        raise InvalidInput("DATE_IN_FUTURE", "Give a year that is not still to come.", field=f"{path}.{name}")
    for first, last in _IN_ORDER.items():
        if first in dates and last in dates and dates[first] > dates[last]:
            raise InvalidInput("DATES_REVERSED", "It has to end after it begins.", field=f"{path}.{last}")


def _date(path: str, value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise InvalidInput("DATE_IMPOSSIBLE", "Give a date that exists, as YYYY-MM-DD.", field=path) from None


def _check_window(path: str, form: Form) -> None:
    if "from_time" in form and form["from_time"] >= form["until_time"]:
        raise InvalidInput("WINDOW_REVERSED", "It has to end later on the same day.", field=f"{path}.until_time")


def _check_none(path: str, *, said: bool, some: bool) -> None:
    if said and some:
        raise InvalidInput("NONE_AND_SOME", "Say that there are none, or name them.", field=path)
    if not said and not some:
        raise InvalidInput("NEITHER_NONE_NOR_SOME", "Name them, or say that there are none.", field=path)
