"""An event as a consumer reads it: what is good, what no version could read, and what only a newer one can."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from stepway.intake.v1.events_pb2 import ReferralReceived
from stepway.notifications.v1.events_pb2 import EscalationAcknowledged
from stepway_chassis.events import Event, Malformed, NewerSchema, read
from stepway_chassis.outbox import PLAIN

SUBJECT = "evt.v1.northside.part2.intake.referral_received"
EVENT, REFERRAL, PATIENT = (UUID(int=number) for number in range(1, 4))
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"


def headers(**changes: str | None) -> dict[str, str]:
    """The headers of a delivery; a change to None takes one away. The hyphen is written as an underscore."""
    given: dict[str, str | None] = {
        "ce-specversion": "1.0",
        "ce-id": str(EVENT),
        "ce-type": "stepway.intake.v1.ReferralReceived",
        "ce-source": f"/sites/northside/intake/referral/{REFERRAL}",
        "ce-subject": str(REFERRAL),
        "ce-time": "2026-11-21T12:00:00Z",
        "ce-sequence": f"{7:020d}",
        "ce-correlationid": str(REFERRAL),
        "traceparent": TRACEPARENT,
    }
    given |= {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in given.items() if value is not None}


def payload(**changes: Any) -> bytes:
    content = {"referralId": str(REFERRAL), "patientId": str(PATIENT), "receivedAt": "2026-11-21T12:00:00Z"}
    return json.dumps({**content, **changes}).encode()


def received(said: Mapping[str, str] | None = None, content: bytes | None = None, subject: str = SUBJECT) -> Event:
    return read(subject, said or headers(), content or payload(), ReferralReceived)


@cache
def moods() -> type[Message]:
    """An event with enums, since none of ours has one yet: one mood, and a list of them."""
    file = descriptor_pb2.FileDescriptorProto(name="tests/moods.proto", package="tests.moods", syntax="proto3")
    mood = file.enum_type.add(name="Mood")
    for number, name in enumerate(("MOOD_UNSPECIFIED", "MOOD_CALM")):
        mood.value.add(name=name, number=number)
    event, kind = file.message_type.add(name="MoodNoted"), descriptor_pb2.FieldDescriptorProto.TYPE_ENUM
    shape = {"type": kind, "type_name": ".tests.moods.Mood"}
    event.field.add(name="mood_now", number=1, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL, **shape)
    event.field.add(name="earlier", number=2, label=descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED, **shape)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tests.moods.MoodNoted"))


def mood(content: Any) -> Any:
    return read(SUBJECT, headers(), json.dumps(content).encode(), moods()).message


def test_a_good_delivery_is_read_whole() -> None:
    assert received() == Event(
        id=EVENT,
        type="stepway.intake.v1.ReferralReceived",
        site="northside",
        label="part2",
        aggregate=REFERRAL,
        sequence=7,
        time=NOON,
        correlation=str(REFERRAL),
        context={"traceparent": TRACEPARENT},
        message=ReferralReceived(referral_id=str(REFERRAL), patient_id=str(PATIENT), received_at=NOON),
    )


def test_header_names_are_read_in_any_case() -> None:
    assert received({name.title(): value for name, value in headers().items()}) == received()


def test_what_came_before_correlation_and_tracing_is_still_read() -> None:
    event = received(headers(ce_correlationid=None, traceparent=None))
    assert (event.correlation, event.context) == ("", {})


def test_a_time_of_another_zone_is_the_same_moment() -> None:
    event = received(headers(ce_time="2026-11-21T07:00:00.5-05:00"))
    assert event.time == NOON + timedelta(seconds=0.5)
    assert event.time.tzinfo == timezone(timedelta(hours=-5))


@pytest.mark.parametrize("missing", ["ce_id", "ce_type", "ce_subject", "ce_sequence", "ce_time"])
def test_a_delivery_without_a_header_that_every_event_has_is_malformed(missing: str) -> None:
    with pytest.raises(Malformed):
        received(headers(**{missing: None}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ce_id", "7"),
        ("ce_id", ""),
        ("ce_id", "%00"),
        ("ce_subject", "referral"),
        ("ce_sequence", "seven"),
        ("ce_sequence", ""),
        ("ce_sequence", "9" * 5000),
        ("ce_time", "yesterday"),
        ("ce_time", ""),
        ("ce_time", "2026-11-21"),
        ("ce_time", "2026-11-21T12:00:00"),  # a clock of nowhere cannot be compared with now
        ("ce_time", "2026-13-21T12:00:00Z"),
    ],
)
def test_a_header_that_cannot_be_read_is_malformed(name: str, value: str) -> None:
    with pytest.raises(Malformed):
        received(headers(**{name: value}))


@pytest.mark.parametrize("subject", ["", "evt.v1.northside", SUBJECT + ".more", "evt"])
def test_a_subject_of_another_shape_is_malformed(subject: str) -> None:
    with pytest.raises(Malformed):
        received(subject=subject)


@pytest.mark.parametrize(
    "content",
    [
        *(b"{", b"null", b"[]", b'"text"', b"7", b"\xff\xfe", b'{"referralId"}', b"[" * 100_000),
        payload(referralId=7),
        payload(receivedAt="noon"),
        payload(referralId="not a uuid"),
        payload(patientId=""),
    ],
)
def test_a_payload_that_is_no_such_event_is_malformed(content: bytes) -> None:
    with pytest.raises(Malformed):
        received(content=content)


def test_a_payload_that_breaks_the_contracts_own_rules_is_malformed() -> None:
    taken = {"escalationId": str(EVENT), "riskFlagId": str(EVENT), "acknowledgedBy": "staff-2041; DROP TABLE"}
    with pytest.raises(Malformed):
        read(SUBJECT, headers(), json.dumps(taken).encode(), EscalationAcknowledged)


def test_fields_that_a_newer_version_added_are_ignored() -> None:
    assert received(content=payload(triageLevel="soon", nested={"a": [1]})) == received()


def test_fields_are_read_by_either_of_their_names() -> None:
    content = {"referral_id": str(REFERRAL), "patient_id": str(PATIENT), "received_at": "2026-11-21T12:00:00Z"}
    assert received(content=json.dumps(content).encode()) == received()


@pytest.mark.parametrize("value", ["MOOD_CALM", 1, None])
@pytest.mark.parametrize("name", ["moodNow", "mood_now"])
def test_an_enum_value_that_is_known_is_read(name: str, value: Any) -> None:
    assert mood({name: value}).mood_now == (0 if value is None else 1)


@pytest.mark.parametrize(
    "content",
    [
        *({"moodNow": "MOOD_ELATED"}, {"mood_now": "MOOD_ELATED"}, {"moodNow": 2}),
        *({"earlier": ["MOOD_CALM", "MOOD_ELATED"]}, {"earlier": [1, 2]}),
    ],
)
def test_an_enum_value_that_is_unknown_was_written_by_a_newer_version(content: Any) -> None:
    with pytest.raises(NewerSchema):
        mood(content)


def test_a_list_of_known_enum_values_is_read() -> None:
    assert list(mood({"earlier": ["MOOD_CALM", 0]}).earlier) == [1, 0]


@pytest.mark.parametrize("content", [{"moodNow": {"a": 1}}, {"moodNow": ["MOOD_CALM"]}, {"earlier": "MOOD_CALM"}])
def test_an_enum_of_another_shape_is_malformed(content: Any) -> None:
    with pytest.raises(Malformed):
        mood(content)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_what_the_outbox_percent_encodes_is_read_back(text: str) -> None:
    said = headers(ce_correlationid=quote(text, safe=PLAIN))
    assert said["ce-correlationid"].isascii()
    assert received(said).correlation == text
