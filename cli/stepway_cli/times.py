"""When answers were given: what a time means that says no zone, or no more than a day, a month or a year."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

_COARSE = re.compile(r"[0-9]{4}(-[0-9]{2})?")
_FIRST_ZONE, _LAST_ZONE = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))


@dataclass(frozen=True)
class Times:
    """Reads a time as the last instant that it can mean: no sign of danger is taken for older than it may be.

    `zone` is that of times that name none; without it they may be of any. `otherwise` is for what has no time.
    """

    now: datetime
    zone: tzinfo | None = None
    otherwise: datetime | None = None

    def read(self, written: str) -> datetime:
        """Of a year, a month or a day its end, or now while it lasts. Raises ValueError and OverflowError."""
        first, last = _period(written)
        if first.tzinfo is None:
            first = first.replace(tzinfo=self.zone or _FIRST_ZONE)
            last = last.replace(tzinfo=self.zone or _LAST_ZONE, fold=1)
        return (first if first > self.now else min(last, self.now)).astimezone(UTC)


def _period(written: str) -> tuple[datetime, datetime]:
    """The first and the last second of it."""
    if _COARSE.fullmatch(written):
        first = datetime.fromisoformat(f"{written}-01-01"[:10])
        after = (first + timedelta(days=31 if "-" in written else 366)).replace(day=1)
    elif _is_day(written):
        first = datetime.fromisoformat(written)
        after = first + timedelta(days=1)
    else:
        at = datetime.fromisoformat(written)
        return at, at
    return first, after - timedelta(seconds=1)


def _is_day(written: str) -> bool:
    try:
        return bool(date.fromisoformat(written))
    except ValueError:
        return False
