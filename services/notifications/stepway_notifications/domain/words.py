"""What is said to people: words that tell nobody what they come for, short enough for one text."""

from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

TEXT_LENGTH = 160
LONGEST_TIME = "Wed Sep 30, 12:30 PM"
_OPT_OUT = "Call us to change this or to get no more messages."


class Template(StrEnum):
    REFERRAL_RECEIVED = "referral_received"
    ENROLLMENT_CONFIRMED = "enrollment_confirmed"
    ENROLLMENT_WAITLISTED = "enrollment_waitlisted"
    FAMILY_INVITATION = "family_invitation"
    ESCALATION_PAGE = "escalation_page"


_WORDS = {
    Template.REFERRAL_RECEIVED: f"we have your details and will call you to arrange a first visit. {_OPT_OUT}",
    Template.ENROLLMENT_CONFIRMED: f"your place is confirmed. We will call you with the times. {_OPT_OUT}",
    Template.ENROLLMENT_WAITLISTED: f"you are on our list. We will call you when there is a place. {_OPT_OUT}",
    Template.FAMILY_INVITATION: "you are invited to a meeting on {when}. Call us about it or to get no more messages.",
    Template.ESCALATION_PAGE: "a task waits for you now. Open your work queue and acknowledge it.",
}


def body(template: Template, short_name: str, phone: str, *, when: str = LONGEST_TIME) -> str:
    """The whole text; staff know their site's number."""
    sender = short_name if template is Template.ESCALATION_PAGE else f"{short_name} {phone}"
    return f"{sender}: {_WORDS[template].format(when=when)}"


def longest(short_name: str, phone: str) -> int:
    return max(len(body(template, short_name, phone)) for template in Template)


def told_time(at: datetime, zone: ZoneInfo) -> str:
    """As people there say it: Wed Nov 25, 5:30 PM."""
    local = at.astimezone(zone)
    return f"{local:%a %b} {local.day}, {local.hour % 12 or 12}:{local:%M %p}"
