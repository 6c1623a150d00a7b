"""What is said to whom, whether it may still be sent, and who has taken a page."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from stepway_chassis.errors import Conflict, InvalidInput
from stepway_notifications.domain import words
from stepway_notifications.domain.escalations import Escalation, acknowledge, begin, climb
from stepway_notifications.domain.messages import (
    LONGEST_PAUSE,
    NEWS_USEFUL,
    PAGE_USEFUL,
    SHORTEST_PAUSE,
    Channel,
    Contact,
    Message,
    Status,
    before_hand_over,
    compose,
    delivered,
    postponed,
    refused,
    withheld,
)
from stepway_notifications.domain.policy import DISCLOSING_WORDS, OnCall, SitePolicy, Window, policy_of
from stepway_notifications.domain.words import TEXT_LENGTH, Template, told_time

NEW_YORK = ZoneInfo("America/New_York")
NOON = datetime(2026, 11, 21, 17, tzinfo=UTC)  # at Northside
NIGHT = datetime(2026, 11, 22, 3, tzinfo=UTC)  # 22:00 there
MORNING = datetime(2026, 11, 22, 14, tzinfo=UTC)  # 09:00 there
MINUTE, INSTANT = timedelta(minutes=1), timedelta(microseconds=1)
PATIENT, FLAG = UUID(int=1), UUID(int=2)
PHONE = Contact(Channel.SMS, "+12125550142")
EMAIL = Contact(Channel.EMAIL, "vexmoor@example.org")
NORTHSIDE = {
    "short_name": "Northside",
    "phone": "212-555-0100",
    "email": "office@northside.example.org",
    "on_call": [
        {"clinician": "staff-2041", "email": "reyes@northside.example.org"},
        {"clinician": "staff-3077", "email": "okafor@northside.example.org"},
    ],
}


def ids() -> Callable[[], UUID]:
    numbers: Iterator[int] = count(100)
    return lambda: UUID(int=next(numbers))


def a_policy(**changes: Any) -> SitePolicy:
    return policy_of({**NORTHSIDE, **changes}, "America/New_York")


def a_message(**changes: Any) -> Message:
    return replace(welcomed(PHONE)[0], **changes)


def a_page(**changes: Any) -> Message:
    return replace(escalated(NOON)[1], **changes)


def welcomed(*contacts: Contact, now: datetime = NOON, policy: SitePolicy | None = None) -> list[Message]:
    return compose(
        policy or a_policy(),
        Template.REFERRAL_RECEIVED,
        contacts,
        patient_id=PATIENT,
        expires_at=now + NEWS_USEFUL,
        new_id=ids(),
        now=now,
    )


def escalated(now: datetime, policy: SitePolicy | None = None) -> tuple[Escalation, Message]:
    return begin(policy or a_policy(), risk_flag_id=FLAG, patient_id=PATIENT, new_id=ids(), now=now)


def refusal(**changes: Any) -> tuple[str, str]:
    with pytest.raises(InvalidInput) as refused:
        a_policy(**changes)
    return refused.value.reason, refused.value.field


# A site's policy


def test_a_policy_is_what_the_sites_record_says() -> None:
    policy = a_policy(sending_window=["08:30", "24:00"])
    assert (policy.short_name, policy.phone, policy.email) == ("Northside", "212-555-0100", NORTHSIDE["email"])
    assert (policy.zone, policy.window) == (NEW_YORK, Window(510, 1440))
    assert [each.clinician for each in policy.on_call] == ["staff-2041", "staff-3077"]


def test_people_are_written_to_from_nine_to_eight_unless_the_site_says_otherwise() -> None:
    assert a_policy().window == Window(9 * 60, 20 * 60)


@pytest.mark.parametrize("name", sorted(NORTHSIDE))
def test_a_missing_setting_is_named(name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        policy_of({known: value for known, value in NORTHSIDE.items() if known != name}, "America/New_York")
    assert (refused.value.reason, refused.value.field) == ("SITE_SETTING_MISSING", name)


@pytest.mark.parametrize(
    "window",
    [
        *(["20:00", "09:00"], ["09:00", "09:00"], ["09:00", "24:01"], ["-1:00", "09:00"], ["09:60", "20:00"]),
        *(["9", "20"], ["nine", "eight"], ["09:00"], ["09:00", "20:00", "21:00"], "09:00-20:00", "", [], None, 9),
        *([540, 1200], [None, None], {"opens": "09:00", "closes": "20:00"}),  # YAML reads 9:00 without quotes as 540
    ],
)
def test_a_window_that_is_none_is_refused_and_the_setting_is_named(window: Any) -> None:
    assert refusal(sending_window=window) == ("SITE_SETTING_INVALID", "sending_window")


@pytest.mark.parametrize("people", ["bert", None, 5, ["bert"], [{"clinician": "bert"}], [{"email": "r@x.org"}]])
def test_a_list_of_clinicians_that_is_none_is_refused_and_the_setting_is_named(people: Any) -> None:
    assert refusal(on_call=people) == ("SITE_SETTING_INVALID", "on_call")


def test_a_site_needs_somebody_on_call() -> None:
    assert refusal(on_call=[]) == ("SITE_SETTING_MISSING", "on_call")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "America", None])
def test_a_zone_that_is_none_is_refused_and_not_repeated(zone: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        policy_of(NORTHSIDE, zone)
    assert (refused.value.reason, refused.value.field) == ("SITE_SETTING_INVALID", "zone")
    assert not zone or zone not in str(refused.value) or zone == "America"


@pytest.mark.parametrize("word", sorted(DISCLOSING_WORDS))
def test_a_senders_name_that_tells_what_people_come_for_is_refused_however_it_is_written(word: str) -> None:
    for name in (word, f"Northside {word.title()}", f"{word.upper()}-Center", f"Northside, {word}.", f"N/{word}'s"):
        assert refusal(short_name=name) == ("SENDER_NAME_DISCLOSES", "short_name")


def test_a_senders_name_that_is_too_long_for_one_text_is_refused() -> None:
    assert refusal(short_name="N" * 60) == ("SITE_SETTING_INVALID", "short_name")


# What is said


def test_somebody_who_was_referred_hears_that_the_site_will_call() -> None:
    (text,) = welcomed(PHONE)
    assert (text.channel, text.address, text.template) == (PHONE.channel, PHONE.address, Template.REFERRAL_RECEIVED)
    assert (text.status, text.release_at, text.next_attempt_at) == (Status.QUEUED, NOON, NOON)
    assert (text.created_at, text.expires_at, text.attempts) == (NOON, NOON + NEWS_USEFUL, 0)


def test_each_address_gets_one_message_however_often_it_was_given() -> None:
    messages = welcomed(PHONE, EMAIL, PHONE, EMAIL)
    assert [(each.channel, each.address) for each in messages] == [
        (PHONE.channel, PHONE.address),
        (EMAIL.channel, EMAIL.address),
    ]
    assert len({each.id for each in messages}) == 2
    assert welcomed() == []


def test_at_night_the_message_waits_and_is_useful_for_some_days_from_the_referral() -> None:
    (text,) = welcomed(PHONE, now=NIGHT)
    assert (text.release_at, text.next_attempt_at, text.created_at) == (MORNING, MORNING, NIGHT)
    assert text.expires_at == NIGHT + NEWS_USEFUL


def test_no_message_holds_a_clinical_word_or_anybodys_name_and_a_text_fits_into_one() -> None:
    room = TEXT_LENGTH - words.longest("", "212-555-0100")
    assert words.longest("N" * room, "212-555-0100") == TEXT_LENGTH
    assert a_policy(short_name="N" * room)
    assert refusal(short_name="N" * (room + 1)) == ("SITE_SETTING_INVALID", "short_name")


@pytest.mark.parametrize("template", Template)
def test_no_text_says_what_people_come_for(template: Template) -> None:
    body = words.body(template, "Northside", "212-555-0100")
    said = set(re.findall("[a-z]+", body.lower()))
    assert not said & (DISCLOSING_WORDS | {"risk", "suicide", "phq", "referral", "program", "family", "patient"})
    assert body.startswith("Northside")
    to_people = template is not Template.ESCALATION_PAGE
    assert ("212-555-0100" in body) is to_people
    assert ("no more messages" in body) is to_people


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (datetime(2026, 11, 25, 17, 30, tzinfo=NEW_YORK), "Wed Nov 25, 5:30 PM"),
        (datetime(2026, 11, 30, 12, 0, tzinfo=NEW_YORK), "Mon Nov 30, 12:00 PM"),
        (datetime(2026, 12, 1, 0, 5, tzinfo=NEW_YORK), "Tue Dec 1, 12:05 AM"),
    ],
)
def test_a_time_is_told_as_people_at_the_site_say_it(moment: datetime, said: str) -> None:
    assert told_time(moment, NEW_YORK) == said
    assert len(said) <= len(words.LONGEST_TIME)


# Pages


@pytest.mark.parametrize("now", [NOON, NIGHT, datetime(2026, 11, 22, 3, 33, tzinfo=NEW_YORK)])
def test_a_sign_of_danger_pages_the_first_clinician_on_call_at_any_hour(now: datetime) -> None:
    escalation, page = escalated(now)
    assert (escalation.clinicians, escalation.pages) == (("staff-2041",), 1)
    assert (escalation.risk_flag_id, escalation.raised_at) == (FLAG, now)
    assert escalation.next_page_at == now + timedelta(minutes=5)
    assert page.escalation_id == escalation.id
    assert (page.channel, page.address) == (Channel.EMAIL, "reyes@northside.example.org")
    assert (page.release_at, page.next_attempt_at, page.expires_at) == (now, now, now + PAGE_USEFUL)
    assert page.patient_id == escalation.patient_id == PATIENT


def test_a_page_that_nobody_takes_goes_to_the_next_and_round_again() -> None:
    escalation, _ = escalated(NOON)
    for pages, (clinician, address) in enumerate([("staff-3077", "okafor"), ("staff-2041", "reyes")], start=2):
        escalation, page = climb(a_policy(page_again_seconds=60), escalation, id=UUID(int=pages), now=NIGHT)
        assert page.address == f"{address}@northside.example.org"
        assert clinician in escalation.clinicians
        assert (escalation.pages, escalation.next_page_at) == (pages, NIGHT + MINUTE)
    assert escalation.clinicians == ("staff-2041", "staff-3077")


def test_nobody_is_paged_again_once_a_page_would_be_of_no_use() -> None:
    escalation, _ = escalated(NOON)
    climbed, _ = climb(a_policy(), escalation, id=UUID(int=9), now=NOON + PAGE_USEFUL)
    assert climbed.next_page_at is None


def test_whoever_takes_a_page_ends_the_climb() -> None:
    assert acknowledge(escalated(NOON)[0], by="staff-2041", at=NIGHT).next_page_at is None


@pytest.mark.parametrize("seconds", [0, -1, 3601, 1.5, "60", True, None])
def test_a_pause_between_pages_that_is_none_is_refused_and_named(seconds: Any) -> None:
    assert refusal(page_again_seconds=seconds) == ("SITE_SETTING_INVALID", "page_again_seconds")


def test_a_page_is_taken_once_and_says_by_whom() -> None:
    taken = acknowledge(escalated(NOON)[0], by="staff-3077", at=NIGHT)
    assert (taken.acknowledged_by, taken.acknowledged_at) == ("staff-3077", NIGHT)
    with pytest.raises(Conflict) as refused:
        acknowledge(taken, by="staff-3077", at=NIGHT)
    assert refused.value.reason == "ESCALATION_ALREADY_ACKNOWLEDGED"


# At the moment of use


def test_a_message_whose_time_has_come_goes_unchanged() -> None:
    message = a_message()
    assert before_hand_over(message, a_policy(), stopped=False, now=NOON) is message


@pytest.mark.parametrize("now", [NOON, NIGHT, NOON + NEWS_USEFUL])
def test_a_message_to_somebody_who_wants_none_is_withheld(now: datetime) -> None:
    assert before_hand_over(a_message(), a_policy(), stopped=True, now=now) == a_message(status=Status.WITHHELD)


def test_a_message_that_comes_too_late_to_be_of_use_expires() -> None:
    last = NOON + NEWS_USEFUL
    assert before_hand_over(a_message(), a_policy(), stopped=False, now=last - INSTANT) == a_message()
    assert before_hand_over(a_message(), a_policy(), stopped=False, now=last) == a_message(status=Status.EXPIRED)


def test_a_message_whose_window_has_closed_meanwhile_waits_for_the_next_one() -> None:
    held = before_hand_over(a_message(), a_policy(), stopped=False, now=NIGHT)
    assert held == a_message(release_at=MORNING, next_attempt_at=MORNING)
    assert held.expires_at == NOON + NEWS_USEFUL


@pytest.mark.parametrize("stopped", [True, False])
def test_a_page_ignores_the_window_and_the_stop_but_not_its_own_expiry(stopped: bool) -> None:
    page = a_page()
    assert before_hand_over(page, a_policy(), stopped=stopped, now=NIGHT) is page
    late = NOON + PAGE_USEFUL
    assert before_hand_over(page, a_policy(), stopped=stopped, now=late) == a_page(status=Status.EXPIRED)


def test_what_no_consent_covers_is_withheld() -> None:
    assert withheld(a_message()) == a_message(status=Status.WITHHELD)


def test_what_a_channel_said_is_written_down() -> None:
    assert delivered(a_message(), at=NIGHT) == a_message(status=Status.DELIVERED, delivered_at=NIGHT)
    assert refused(a_message(), at=MORNING) == a_message(status=Status.FAILED)


def test_a_page_that_an_address_refuses_is_tried_again() -> None:
    page = a_page(attempts=1)
    assert refused(page, at=NIGHT) == a_page(attempts=1, next_attempt_at=NIGHT + SHORTEST_PAUSE)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("phone", None),
        ("phone", "a desk"),
        ("email", ""),
        ("on_call", [{"clinician": "Dr. R", "email": "r@x.org"}]),
    ],
)
def test_a_setting_of_another_shape_is_refused_and_named(setting: str, value: Any) -> None:
    assert refusal(**{setting: value}) == ("SITE_SETTING_INVALID", setting)


def test_an_email_address_that_tells_what_people_come_for_is_refused() -> None:
    assert refusal(email="office@northside-rehab.example.org") == ("SENDER_NAME_DISCLOSES", "email")


@pytest.mark.parametrize(
    ("attempts", "pause"),
    [(1, SHORTEST_PAUSE), (2, SHORTEST_PAUSE * 2), (5, SHORTEST_PAUSE * 16), (9, LONGEST_PAUSE), (500, LONGEST_PAUSE)],
)
def test_an_attempt_is_put_off_for_five_seconds_then_twice_as_long_and_at_most_15_minutes(
    attempts: int, pause: timedelta
) -> None:
    message = a_message(attempts=attempts)
    assert postponed(message, at=NIGHT) == replace(message, next_attempt_at=NIGHT + pause)
    assert (timedelta(seconds=5), timedelta(minutes=15)) == (SHORTEST_PAUSE, LONGEST_PAUSE)


def test_the_first_on_call_is_named_by_the_subject_of_their_token() -> None:
    assert a_policy().on_call[0] == OnCall("staff-2041", "reyes@northside.example.org")
