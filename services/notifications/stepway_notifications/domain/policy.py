"""How one site writes to people and whom it pages: read from its registered settings, and checked."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from stepway_chassis.errors import InvalidInput
from stepway_notifications.domain import words

T = TypeVar("T")
MINUTE = timedelta(minutes=1)
DAY = 24 * 60
DEFAULT_WINDOW = ("09:00", "20:00")
DEFAULT_PAGE_AGAIN = 300
"""Seconds: whoever is on duty takes a page within five minutes, or the backup is paged; a site may set its own."""
LONGEST_PAGE_AGAIN = 3600

DISCLOSING_WORDS = frozenset({"clinic", "drug", "drugs", "health", "iop"})
DISCLOSING_STEMS = (
    *("addict", "alcohol", "anxi", "behavio", "counsel", "depress", "detox", "mental", "psych"),
    *("recover", "rehab", "sober", "sobriety", "substance", "therap", "treatment"),
)
"""A sender's name with one of these tells whoever holds the telephone what the person is treated for."""
TELEPHONE = re.compile(r"[0-9+][0-9+() .-]{5,19}")
EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
SUBJECT = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # of a token
HOW_TO_WRITE = {
    "phone": "Write a telephone number as people dial it.",
    "email": "Write one email address.",
    "zone": "Write an IANA time zone, for example America/New_York.",
    "sending_window": 'Write ["09:00", "20:00"], with the quotation marks, and the end after the beginning.',
    "on_call": "Write a list of clinician (the subject of their token) and email.",
    "page_again_seconds": f"Write a whole number of seconds from 1 to {LONGEST_PAGE_AGAIN}.",
}
SHORT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .&'-]{0,39}")  # letters that a single text of 160 can hold


@dataclass(frozen=True)
class OnCall:
    """`clinician` is the subject of their token."""

    clinician: str
    email: str


@dataclass(frozen=True)
class Window:
    """When people may be written to: minutes after local midnight, the end not included."""

    opens: int
    closes: int

    def release(self, now: datetime, zone: ZoneInfo) -> datetime:
        """`now` while the window is open, else the first minute at which a clock there shows a time inside it.

        Found minute by minute, because on two nights of the year clocks leave out an hour or show one twice.
        """
        moment = now.astimezone(UTC)
        while not self._shows(moment.astimezone(zone)):
            moment = moment.replace(second=0, microsecond=0) + MINUTE
        return moment.astimezone(now.tzinfo)

    def _shows(self, clock: datetime) -> bool:
        return self.opens <= clock.hour * 60 + clock.minute < self.closes


@dataclass(frozen=True)
class SitePolicy:
    """How one site writes to people; `on_call` is the ladder, the first is paged first."""

    short_name: str
    phone: str
    email: str
    zone: ZoneInfo
    window: Window
    on_call: tuple[OnCall, ...]
    page_again: timedelta


def policy_of(settings: Mapping[str, Any], zone: str) -> SitePolicy:
    """Raises InvalidInput SITE_SETTING_MISSING, SITE_SETTING_INVALID or SENDER_NAME_DISCLOSES, naming the setting."""
    known = {"sending_window": DEFAULT_WINDOW, "page_again_seconds": DEFAULT_PAGE_AGAIN, **settings, "zone": zone}
    return _checked(
        SitePolicy(
            short_name=_setting(known, "short_name", str),
            phone=_setting(known, "phone", partial(_shaped, TELEPHONE)),
            email=_setting(known, "email", partial(_shaped, EMAIL)),
            zone=_setting(known, "zone", ZoneInfo),
            window=_setting(known, "sending_window", _window),
            on_call=_setting(known, "on_call", _on_call),
            page_again=_setting(known, "page_again_seconds", _page_again),
        )
    )


def _setting(settings: Mapping[str, Any], name: str, read: Callable[[Any], T]) -> T:
    if name not in settings:
        raise InvalidInput("SITE_SETTING_MISSING", "The site's record lacks this setting.", field=name)
    try:
        return read(settings[name])
    except (KeyError, TypeError, ValueError, AttributeError, OSError):
        message = HOW_TO_WRITE.get(name, "Write it as in the example.")
        raise InvalidInput("SITE_SETTING_INVALID", message, field=name) from None


def _checked(policy: SitePolicy) -> SitePolicy:
    for field in ("short_name", "email"):
        if _discloses(getattr(policy, field).lower()):
            message = "Choose one that tells nobody what people come for; it stands in every message."
            raise InvalidInput("SENDER_NAME_DISCLOSES", message, field=field)
    if not SHORT_NAME.fullmatch(policy.short_name):
        message = "Use at most 40 plain letters, digits, spaces, hyphens, full stops and apostrophes."
        raise InvalidInput("SITE_SETTING_INVALID", message, field="short_name")
    if not policy.on_call:
        raise InvalidInput("SITE_SETTING_MISSING", "Name at least one clinician on call.", field="on_call")
    if words.longest(policy.short_name, policy.phone) > words.TEXT_LENGTH:
        message = "Choose a shorter name: the texts would not fit into one message."
        raise InvalidInput("SITE_SETTING_INVALID", message, field="short_name")
    return policy


def _discloses(name: str) -> bool:
    return bool(DISCLOSING_WORDS & set(re.findall("[a-z]+", name))) or any(stem in name for stem in DISCLOSING_STEMS)


def _window(clocks: tuple[str, str]) -> Window:
    opens, closes = clocks
    window = Window(_minutes(opens), _minutes(closes))
    if not 0 <= window.opens < window.closes <= DAY:
        raise ValueError
    return window


def _on_call(people: Iterable[Mapping[str, str]]) -> tuple[OnCall, ...]:
    return tuple(OnCall(_shaped(SUBJECT, each["clinician"]), _shaped(EMAIL, each["email"])) for each in people)


def _page_again(seconds: int) -> timedelta:
    if type(seconds) is not int or not 1 <= seconds <= LONGEST_PAGE_AGAIN:
        raise ValueError
    return timedelta(seconds=seconds)


def _shaped(shape: re.Pattern[str], text: str) -> str:
    if not shape.fullmatch(text):
        raise ValueError
    return text


def _minutes(clock: str) -> int:
    hours, _, minutes = clock.partition(":")
    if not 0 <= int(minutes) < 60:
        raise ValueError
    return int(hours) * 60 + int(minutes)
