"""Identifiers that sort by the time they were made (RFC 9562, version 7)."""

import secrets
from datetime import datetime
from uuid import UUID


def uuid7(at: datetime) -> UUID:
    milliseconds = int(at.timestamp() * 1000) & ((1 << 48) - 1)
    random = secrets.randbits(74)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | random & ((1 << 62) - 1))
