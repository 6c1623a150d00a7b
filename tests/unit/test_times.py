"""What a coarse time of answers means: the last instant that it can, so that danger never looks older than it is."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepway_cli.times import Times

NOW = datetime(2026, 11, 25, 1, tzinfo=UTC)
NEW_YORK, AUCKLAND = ZoneInfo("America/New_York"), ZoneInfo("Pacific/Auckland")


@pytest.mark.parametrize(
    ("written", "zone", "read"),
    [
        ("2026-11-20T10:00:00-05:00", None, "2026-11-20T15:00Z"),
        ("2026-11-20T10:00", NEW_YORK, "2026-11-20T15:00Z"),
        ("2026-11-20T10:00", None, "2026-11-20T22:00Z"),
        ("2026-11-01T01:30", NEW_YORK, "2026-11-01T06:30Z"),
        ("2026-11-20", NEW_YORK, "2026-11-21T04:59:59Z"),
        ("2026-11-20", None, "2026-11-21T11:59:59Z"),
        ("20261120", NEW_YORK, "2026-11-21T04:59:59Z"),
        ("2026-10", NEW_YORK, "2026-11-01T03:59:59Z"),
        ("2024-02", UTC, "2024-02-29T23:59:59Z"),
        ("2023-12", UTC, "2023-12-31T23:59:59Z"),
        ("2024", UTC, "2024-12-31T23:59:59Z"),
        ("2025", UTC, "2025-12-31T23:59:59Z"),
        ("2026-11-24", NEW_YORK, "2026-11-25T01:00Z"),
        ("2026-11-25", AUCKLAND, "2026-11-25T01:00Z"),
        ("2026-11-25", None, "2026-11-25T01:00Z"),
        ("2026", None, "2026-11-25T01:00Z"),
        ("2026-11-26", NEW_YORK, "2026-11-26T05:00Z"),
        ("2026-11-25T02:00Z", None, "2026-11-25T02:00Z"),
    ],
)
def test_a_time_is_the_last_instant_that_it_can_mean_and_what_is_to_come_stays_so(
    written: str, zone: ZoneInfo | None, read: str
) -> None:
    assert Times(NOW, zone).read(written) == datetime.fromisoformat(read)


ZONES = ("America/New_York", "Pacific/Auckland", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kolkata", "UTC")


@given(st.integers(0, 3 * 366 * 24 * 60), st.sampled_from(ZONES), st.sampled_from([4, 7, 10, 16]), st.booleans())
def test_whenever_and_wherever_somebody_answered_it_is_never_read_as_longer_ago(
    minutes: int, zone: str, written: int, told: bool
) -> None:
    at = NOW - timedelta(minutes=minutes)
    there = ZoneInfo(zone)
    read = Times(NOW, there if told else None).read(at.astimezone(there).isoformat(timespec="minutes")[:written])
    assert at <= read <= NOW


@pytest.mark.parametrize("written", ["", "2026-02-30", "2026-13", "0000", "9999-12-31T23:59:59-14:00", "yesterday"])
def test_what_is_no_time_is_none(written: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        Times(NOW).read(written)
