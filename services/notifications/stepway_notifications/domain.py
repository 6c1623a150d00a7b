"""Messages and pages: what is said, when it may be sent, and who has taken it."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from stepway_chassis.errors import Conflict, InvalidInput

T = TypeVar("T")
TEXT_LENGTH = 160
MINUTE = timedelta(minutes=1)
DAY = 24 * 60
DEFAULT_WINDOW = ("09:00", "20:00")
REFERRAL_USEFUL = timedelta(days=3)
PAGE_USEFUL = timedelta(days=7)
SHORTEST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=15)

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
    "sending_window": 'Write ["09:00", "20:00"], with the quotation marks.',
    "on_call": "Write a list of clinician (the subject of their token) and email.",
}
SHORT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .&'-]{0,39}")  # letters that a single text of 160 can hold


class Channel(StrEnum):
    SMS = "sms"
    EMAIL = "email"


class Template(StrEnum):
    REFERRAL_RECEIVED = "referral_received"
    ESCALATION_PAGE = "escalation_page"


class Status(StrEnum):
    QUEUED = "queued"
    DELIVERED = "delivered"
    FAILED = "failed"
    WITHHELD = "withheld"
    EXPIRED = "expired"


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
    """How one site writes to people; read from its registered settings."""

    short_name: str
    phone: str
    email: str
    zone: ZoneInfo
    window: Window
    on_call: tuple[OnCall, ...]


@dataclass(frozen=True)
class Contact:
    channel: Channel
    address: str


@dataclass(frozen=True)
class Message:
    """One text or email to one address; staff pages are about a patient and go to a clinician."""

    id: UUID
    patient_id: UUID
    channel: Channel
    address: str
    template: Template
    body: str
    status: Status
    release_at: datetime
    expires_at: datetime
    next_attempt_at: datetime
    created_at: datetime
    attempts: int = 0
    delivered_at: datetime | None = None

    @property
    def urgent(self) -> bool:
        """A page: sent at any hour, whoever has stopped messages, and never behind other messages."""
        return self.template is Template.ESCALATION_PAGE


@dataclass(frozen=True)
class Escalation:
    id: UUID
    risk_flag_id: UUID
    patient_id: UUID
    clinician: str
    raised_at: datetime
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None


def policy_of(settings: Mapping[str, Any], zone: str) -> SitePolicy:
    """Raises InvalidInput SITE_SETTING_MISSING, SITE_SETTING_INVALID or SENDER_NAME_DISCLOSES, naming the setting."""
    known = {"sending_window": DEFAULT_WINDOW, **settings, "zone": zone}
    return _checked(
        SitePolicy(
            short_name=_setting(known, "short_name", str),
            phone=_setting(known, "phone", partial(_shaped, TELEPHONE)),
            email=_setting(known, "email", partial(_shaped, EMAIL)),
            zone=_setting(known, "zone", ZoneInfo),
            window=_setting(known, "sending_window", _window),
            on_call=_setting(known, "on_call", _on_call),
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
    if len(_referral_received(policy)) > TEXT_LENGTH:
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


def _shaped(shape: re.Pattern[str], text: str) -> str:
    if not shape.fullmatch(text):
        raise ValueError
    return text


def _minutes(clock: str) -> int:
    hours, _, minutes = clock.partition(":")
    if not 0 <= int(minutes) < 60:
        raise ValueError
    return int(hours) * 60 + int(minutes)


def welcome(
    policy: SitePolicy,
    contacts: Iterable[Contact],
    *,
    patient_id: UUID,
    referred_at: datetime,
    new_id: Callable[[], UUID],
    now: datetime,
) -> list[Message]:
    """Tell somebody who was referred, on each address they gave, that the site will call; held outside the window."""
    release_at = policy.window.release(now, policy.zone)
    return [
        Message(
            id=new_id(),
            patient_id=patient_id,
            channel=contact.channel,
            address=contact.address,
            template=Template.REFERRAL_RECEIVED,
            body=_referral_received(policy),
            status=Status.QUEUED,
            release_at=release_at,
            expires_at=referred_at + REFERRAL_USEFUL,
            next_attempt_at=release_at,
            created_at=now,
        )
        for contact in dict.fromkeys(contacts)
    ]


def _referral_received(policy: SitePolicy) -> str:
    return (
        f"{policy.short_name} {policy.phone}: we have your details and will call you to arrange a first visit."
        " Call us to change this or to get no more messages."
    )


def escalate(
    policy: SitePolicy, *, risk_flag_id: UUID, patient_id: UUID, new_id: Callable[[], UUID], now: datetime
) -> tuple[Escalation, Message]:
    """Page the first clinician on call, at any hour."""
    first = policy.on_call[0]
    escalation = Escalation(new_id(), risk_flag_id, patient_id, first.clinician, raised_at=now)
    page = Message(
        id=new_id(),
        patient_id=patient_id,
        channel=Channel.EMAIL,
        address=first.email,
        template=Template.ESCALATION_PAGE,
        body=f"{policy.short_name}: a task waits for you now. Open your work queue and acknowledge it.",
        status=Status.QUEUED,
        release_at=now,
        expires_at=now + PAGE_USEFUL,
        next_attempt_at=now,
        created_at=now,
    )
    return escalation, page


def acknowledge(escalation: Escalation, *, by: str, at: datetime) -> Escalation:
    """Raises Conflict (ESCALATION_ALREADY_ACKNOWLEDGED)."""
    if escalation.acknowledged_at is not None:
        raise Conflict("ESCALATION_ALREADY_ACKNOWLEDGED", "Somebody has taken this page; list it to see who.")
    return replace(escalation, acknowledged_at=at, acknowledged_by=by)


def before_hand_over(message: Message, policy: SitePolicy, *, stopped: bool, now: datetime) -> Message:
    """What becomes of a message whose time has come, decided at the moment of use.

    It stays QUEUED with a later `release_at` when the window has closed meanwhile.
    """
    if message.urgent:
        return message if now < message.expires_at else replace(message, status=Status.EXPIRED)
    if stopped:
        return replace(message, status=Status.WITHHELD)
    if now >= message.expires_at:
        return replace(message, status=Status.EXPIRED)
    release_at = policy.window.release(now, policy.zone)
    return message if release_at <= now else replace(message, release_at=release_at, next_attempt_at=release_at)


def delivered(message: Message, *, at: datetime) -> Message:
    return replace(message, status=Status.DELIVERED, delivered_at=at)


def refused(message: Message, *, at: datetime) -> Message:
    """The address refuses it for good: somebody has to call. A page is tried again all the same, until it expires."""
    return postponed(message, at=at) if message.urgent else replace(message, status=Status.FAILED)


def postponed(message: Message, *, at: datetime) -> Message:
    """Try again: after 5 s, then twice as long each time, at most 15 minutes."""
    pause = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2 ** min(message.attempts - 1, 10))
    return replace(message, next_attempt_at=at + pause)
