"""What people write for a moment: a time, or how long ago."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import typer

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AGO = re.compile(r"([0-9]{1,6})([smhd])")


def _in_utc(written: str) -> datetime:
    at = datetime.fromisoformat(written)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def moment(text: str, read: Callable[[str], datetime] = _in_utc) -> datetime:
    """`2h` ago, or an ISO 8601 time; one without a zone is UTC, unless `read` says otherwise. Raises BadParameter."""
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return read(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter("write 90s, 10m, 2h or 7d, or a time such as 2026-11-24T09:30") from None
