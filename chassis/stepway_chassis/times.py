"""Times between datetime, always aware and in UTC, and protobuf's Timestamp."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp


def to_proto(at: datetime | None) -> Timestamp | None:
    if at is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(at.astimezone(UTC))
    return stamp


def from_proto(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
