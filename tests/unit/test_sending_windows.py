"""When a site's window opens for a message: also on the days on which clocks are changed."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stepway_notifications.domain.policy import Window

NEW_YORK, CHICAGO, BERLIN = ZoneInfo("America/New_York"), ZoneInfo("America/Chicago"), ZoneInfo("Europe/Berlin")
SPRING, AUTUMN = datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)  # 02:00 is 03:00; 02:00 is 01:00
NOON = datetime(2026, 11, 21, 17, tzinfo=UTC)  # in New York
NIGHT = datetime(2026, 11, 22, 3, tzinfo=UTC)  # 22:00 there
NINE_TO_EIGHT = Window(9 * 60, 20 * 60)
MINUTE = timedelta(minutes=1)


def at(zone: ZoneInfo, day: int, hour: int, minute: int = 0, *, month: int = 11, fold: int = 0) -> datetime:
    """The moment at which clocks in `zone` show this, as UTC."""
    return datetime(2026, month, day, hour, minute, tzinfo=zone, fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("now", "released"),
    [
        (at(NEW_YORK, 21, 8, 59), at(NEW_YORK, 21, 9)),
        (at(NEW_YORK, 21, 9), at(NEW_YORK, 21, 9)),
        (at(NEW_YORK, 21, 19, 59), at(NEW_YORK, 21, 19, 59)),
        (at(NEW_YORK, 21, 20), at(NEW_YORK, 22, 9)),
        (at(NEW_YORK, 21, 23, 59), at(NEW_YORK, 22, 9)),
        (at(NEW_YORK, 22, 0), at(NEW_YORK, 22, 9)),
        (at(NEW_YORK, 30, 21), at(NEW_YORK, 1, 9, month=12)),
    ],
)
def test_a_message_goes_at_once_while_the_window_is_open_else_when_it_opens_next(
    now: datetime, released: datetime
) -> None:
    assert NINE_TO_EIGHT.release(now, NEW_YORK) == released


def test_the_window_is_that_of_the_clocks_at_the_site() -> None:
    half_past_eight_in_chicago = at(CHICAGO, 21, 8, 30)
    assert NINE_TO_EIGHT.release(half_past_eight_in_chicago, NEW_YORK) == half_past_eight_in_chicago
    assert NINE_TO_EIGHT.release(half_past_eight_in_chicago, CHICAGO) == at(CHICAGO, 21, 9)


def test_a_window_may_begin_at_midnight_or_last_until_the_next() -> None:
    assert Window(0, 60).release(at(NEW_YORK, 21, 23, 59), NEW_YORK) == at(NEW_YORK, 22, 0)
    assert Window(0, 60).release(at(NEW_YORK, 22, 0, 59), NEW_YORK) == at(NEW_YORK, 22, 0, 59)
    assert Window(60, 24 * 60).release(at(NEW_YORK, 21, 23, 59), NEW_YORK) == at(NEW_YORK, 21, 23, 59)
    assert Window(60, 24 * 60).release(at(NEW_YORK, 22, 0), NEW_YORK) == at(NEW_YORK, 22, 1)


def test_a_released_moment_keeps_the_zone_it_was_asked_in() -> None:
    assert NINE_TO_EIGHT.release(NIGHT, NEW_YORK).tzinfo is UTC


@pytest.mark.parametrize("zone", [NEW_YORK, CHICAGO])
def test_the_morning_after_clocks_jump_the_window_opens_at_nine_on_the_new_clock(zone: ZoneInfo) -> None:
    evening_before_spring, spring = at(zone, 7, 21, month=3), at(zone, 8, 9, month=3)
    assert NINE_TO_EIGHT.release(evening_before_spring, zone) == spring
    assert spring - evening_before_spring == timedelta(hours=11)
    evening_before_autumn, autumn = at(zone, 31, 21, month=10), at(zone, 1, 9)
    assert NINE_TO_EIGHT.release(evening_before_autumn, zone) == autumn
    assert autumn - evening_before_autumn == timedelta(hours=13)


@pytest.mark.parametrize("zone", [NEW_YORK, CHICAGO])
def test_a_window_that_opens_in_the_hour_that_spring_leaves_out_opens_when_clocks_go_on(zone: ZoneInfo) -> None:
    half_past_two = Window(2 * 60 + 30, 4 * 60)
    assert half_past_two.release(at(zone, 8, 1, 59, month=3), zone) == at(zone, 8, 3, month=3)
    assert half_past_two.release(at(zone, 9, 1, 59, month=3), zone) == at(zone, 9, 2, 30, month=3)


def test_a_window_that_lies_in_the_hour_that_spring_leaves_out_opens_the_next_day() -> None:
    assert Window(150, 170).release(at(NEW_YORK, 8, 1, month=3), NEW_YORK) == at(NEW_YORK, 9, 2, 30, month=3)


@pytest.mark.parametrize("zone", [NEW_YORK, CHICAGO])
def test_in_the_hour_that_autumn_shows_twice_a_message_is_never_released_in_the_past(zone: ZoneInfo) -> None:
    from_half_past_one = Window(90, 180)
    assert from_half_past_one.release(at(zone, 1, 1, 10), zone) == at(zone, 1, 1, 30)
    assert from_half_past_one.release(at(zone, 1, 1, 10, fold=1), zone) == at(zone, 1, 1, 30, fold=1)


windows = st.tuples(st.integers(0, 1439), st.integers(1, 1440)).filter(lambda pair: pair[0] < pair[1])
nights = st.sampled_from([SPRING, AUTUMN, NOON, datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)])


@given(
    windows,
    st.builds(lambda night, minutes: night + minutes, nights, st.timedeltas(timedelta(0), timedelta(hours=14))),
    st.sampled_from([NEW_YORK, CHICAGO, BERLIN]),
)
@example((150, 165), SPRING + timedelta(hours=6, minutes=59, seconds=59), NEW_YORK)
@example((90, 100), AUTUMN + timedelta(hours=6, minutes=5), NEW_YORK)
def test_the_released_moment_is_the_first_minute_from_now_on_that_lies_in_the_window(
    window: tuple[int, int], now: datetime, zone: ZoneInfo
) -> None:
    def is_open(moment: datetime) -> bool:
        clock = moment.astimezone(zone)
        return window[0] <= clock.hour * 60 + clock.minute < window[1]

    released = Window(*window).release(now, zone)
    assert released >= now
    assert is_open(released)
    assert released == now or released.second == released.microsecond == 0
    closed = (now + number * MINUTE for number in range(int((released - now) / MINUTE)))
    assert not any(map(is_open, closed))
