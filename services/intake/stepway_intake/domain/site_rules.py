"""What one site has settled for itself about instruments and danger: read from its registered settings, and checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from stepway_chassis.errors import InvalidInput
from stepway_intake.domain.risk import WITHIN, Within
from stepway_intake.instruments.catalogue import ALL
from stepway_intake.instruments.definition import Risk

EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
LONGEST_MINUTES = 14 * 24 * 60
_VERSIONS = {(each.name, each.version) for each in ALL}
_LEVELS = {risk.value for risk in Risk} - {Risk.NONE}


@dataclass(frozen=True)
class SiteRules:
    """`versions` is by instrument; `emergency_email` is written to when no page can be sent, "" if there is none."""

    versions: Mapping[str, str]
    within: Mapping[Risk, Within]
    emergency_email: str


def rules_of(settings: Mapping[str, Any]) -> SiteRules:
    """Raises InvalidInput (SITE_SETTING_INVALID)."""
    return SiteRules(
        versions=_versions(settings.get("instrument_versions", {})),
        within={**WITHIN, **_within(settings.get("risk_minutes", {}))},
        emergency_email=_email(settings.get("emergency_email", "")),
    )


def _versions(given: Any) -> Mapping[str, str]:
    if not isinstance(given, dict) or not set(given.items()) <= _VERSIONS:
        raise _invalid("instrument_versions", "Write instruments of the catalogue, each with one of its versions.")
    return given


def _within(given: Any) -> Mapping[Risk, Within]:
    if not isinstance(given, dict) or not all(level in _LEVELS and _pair(pair) for level, pair in given.items()):
        levels = ", ".join(sorted(_LEVELS))
        raise _invalid(
            "risk_minutes", f"Write {levels}, each with two numbers: minutes to take it, minutes to dispose of it."
        )
    return {Risk(level): Within(*(timedelta(minutes=each) for each in pair)) for level, pair in given.items()}


def _pair(given: Any) -> bool:
    is_pair = isinstance(given, list) and len(given) == 2
    return is_pair and all(type(each) is int and 1 <= each <= LONGEST_MINUTES for each in given)


def _email(given: Any) -> str:
    if not isinstance(given, str) or (given and not EMAIL.fullmatch(given)):
        raise _invalid("emergency_email", "Write one email address.")
    return given


def _invalid(field: str, message: str) -> InvalidInput:
    return InvalidInput("SITE_SETTING_INVALID", message, field=field)
