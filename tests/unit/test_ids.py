"""Identifiers: RFC 9562 version 7, in the order of time."""

from datetime import UTC, datetime, timedelta
from uuid import RFC_4122

from hypothesis import given
from hypothesis import strategies as st

from stepway_chassis.ids import id_of, uuid7

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
moments = st.datetimes(datetime(1970, 1, 2), datetime(9999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(moments)
def test_an_id_is_an_rfc_9562_version_7_uuid_that_begins_with_its_milliseconds(at: datetime) -> None:
    made = uuid7(at)
    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int >> 80 == int(at.timestamp() * 1000)


@given(moments, st.integers(1, 10**9))
def test_an_id_made_a_millisecond_later_sorts_after_it(at: datetime, milliseconds: int) -> None:
    later = at + timedelta(milliseconds=milliseconds + 1)
    assert uuid7(at) < uuid7(later)
    assert str(uuid7(at)) < str(uuid7(later))


def test_ids_of_one_moment_differ_in_every_random_bit() -> None:
    made = [uuid7(NOON).int for _ in range(200)]
    fixed = 0xFFFFFFFFFFFF << 80 | 0xF << 76 | 0b11 << 62
    seen_set = seen_clear = 0
    for each in made:
        seen_set, seen_clear = seen_set | each, seen_clear | ~each
    assert len(set(made)) == len(made)
    assert seen_set & seen_clear & ((1 << 128) - 1) == ((1 << 128) - 1) & ~fixed


def test_a_text_is_an_id_only_as_an_id_is_written() -> None:
    made = uuid7(NOON)
    assert id_of(str(made)) == made
    others = ("", "uncle-7", str(made).upper(), f"{{{made}}}", made.hex, made.urn)
    assert [text for text in others if id_of(text) is not None] == []
