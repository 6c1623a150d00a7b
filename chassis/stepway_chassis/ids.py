"""Identifiers that sort by the time they were made (RFC 9562, version 7)."""

import secrets
from datetime import datetime
from uuid import UUID


def id_of(text: str) -> UUID | None:
    """The id that is written like this; none for any other text, nor for another way to write one."""
    try:
        id = UUID(text)
    except ValueError:
        return None
    return id if str(id) == text else None


def uuid7(at: datetime) -> UUID:
    milliseconds = int(at.timestamp() * 1000) & ((1 << 48) - 1)
    random = secrets.randbits(74)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | random & ((1 << 62) - 1))
