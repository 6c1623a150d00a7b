"""Texts and emails: when one may be sent, and what becomes of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from stepway_notifications.domain import words
from stepway_notifications.domain.policy import OnCall, SitePolicy
from stepway_notifications.domain.words import LONGEST_TIME, Template

NEWS_USEFUL = timedelta(days=3)
PAGE_USEFUL = timedelta(days=7)
USE_WITHIN = timedelta(milliseconds=500)
"""That somebody wants messages, and where, counts this long from before it was looked up; a stop waits as long."""
SHORTEST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=15)


class Channel(StrEnum):
    SMS = "sms"
    EMAIL = "email"


class Status(StrEnum):
    QUEUED = "queued"
    DELIVERED = "delivered"
    FAILED = "failed"
    WITHHELD = "withheld"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Contact:
    channel: Channel
    address: str


@dataclass(frozen=True)
class Message:
    """One text or email to one address, about a patient.

    It goes to the patient, to a clinician (a page of the escalation named), or to the family member named.
    """

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
    family_member_id: UUID | None = None
    escalation_id: UUID | None = None

    @property
    def urgent(self) -> bool:
        """A page: sent at any hour, whoever has stopped messages, and never behind other messages."""
        return self.template is Template.ESCALATION_PAGE


def compose(
    policy: SitePolicy,
    template: Template,
    contacts: Iterable[Contact],
    *,
    patient_id: UUID,
    expires_at: datetime,
    new_id: Callable[[], UUID],
    now: datetime,
    family_member_id: UUID | None = None,
    when: str = LONGEST_TIME,
) -> list[Message]:
    """The same words to each address, once; held outside the hours in which the site writes to people."""
    release_at = policy.window.release(now, policy.zone)
    return [
        Message(
            id=new_id(),
            patient_id=patient_id,
            channel=contact.channel,
            address=contact.address,
            template=template,
            body=words.body(template, policy.short_name, policy.phone, when=when),
            status=Status.QUEUED,
            release_at=release_at,
            expires_at=expires_at,
            next_attempt_at=release_at,
            created_at=now,
            family_member_id=family_member_id,
        )
        for contact in dict.fromkeys(contacts)
    ]


def page(policy: SitePolicy, to: OnCall, *, escalation_id: UUID, patient_id: UUID, id: UUID, now: datetime) -> Message:
    """To a clinician, at any hour."""
    return Message(
        id=id,
        patient_id=patient_id,
        channel=Channel.EMAIL,
        address=to.email,
        template=Template.ESCALATION_PAGE,
        body=words.body(Template.ESCALATION_PAGE, policy.short_name, policy.phone),
        status=Status.QUEUED,
        release_at=now,
        expires_at=now + PAGE_USEFUL,
        next_attempt_at=now,
        created_at=now,
        escalation_id=escalation_id,
    )


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


def withheld(message: Message) -> Message:
    """Its person wants none, is reached elsewhere by now, or no consent covers it any more."""
    return replace(message, status=Status.WITHHELD)


def delivered(message: Message, *, at: datetime) -> Message:
    return replace(message, status=Status.DELIVERED, delivered_at=at)


def refused(message: Message, *, at: datetime) -> Message:
    """The address refuses it for good: somebody has to call. A page is tried again all the same, until it expires."""
    return postponed(message, at=at) if message.urgent else replace(message, status=Status.FAILED)


def postponed(message: Message, *, at: datetime) -> Message:
    """Try again: after 5 s, then twice as long each time, at most 15 minutes."""
    pause = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2 ** min(message.attempts - 1, 10))
    return replace(message, next_attempt_at=at + pause)
