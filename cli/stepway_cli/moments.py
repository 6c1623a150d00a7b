"""What people write for a moment: a time, or how long ago."""

import re
from datetime import UTC, datetime, timedelta

import typer

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AGO = re.compile(r"([0-9]{1,6})([smhd])")


def moment(text: str) -> datetime:
    """`2h` ago, or an ISO 8601 time; one without a zone is UTC. Raises BadParameter."""
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        at = datetime.fromisoformat(text)
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter("write 90s, 10m, 2h or 7d, or a time such as 2026-11-24T09:30") from None
