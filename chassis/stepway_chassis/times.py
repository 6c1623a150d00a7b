"""Times between datetime, always aware and in UTC, and protobuf's Timestamp; how long something took, as Duration."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from stepway_chassis.errors import InvalidInput

EARLIEST, LATEST = datetime(1971, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""Outside are the times that programs write who know none: the zero of Unix, of Go and of .NET, and the last of all."""


def to_proto(at: datetime | None) -> Timestamp | None:
    if at is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(at.astimezone(UTC))
    return stamp


def duration(length: timedelta | None) -> Duration | None:
    if length is None:
        return None
    made = Duration()
    made.FromTimedelta(length)
    return made


def from_proto(stamp: Timestamp, *, field: str) -> datetime:
    """Raises InvalidInput (TIME_OUT_OF_RANGE), naming `field`."""
    message = "Give a time in the years 1971 to 9998, with 0 to 999999999 nanos."
    try:
        at = stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidInput("TIME_OUT_OF_RANGE", message, field=field) from None
    if not EARLIEST <= at < LATEST:
        raise InvalidInput("TIME_OUT_OF_RANGE", message, field=field)
    return at
