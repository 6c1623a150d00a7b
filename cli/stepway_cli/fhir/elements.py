"""Typed reading of FHIR JSON, where anything of the wrong type is refused by its path."""

import re
from dataclasses import dataclass
from datetime import date, datetime

from stepway_cli.findings import Unusable
from stepway_cli.times import Times

# FHIR: a string has no character below U+0020 except tab, line feed and carriage return.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_DATE_TIME = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2}(T[0-9:.]+(Z|[+-][0-9:]+)?)?)?)?")


@dataclass(frozen=True)
class Element:
    """A JSON object with the name of its resource and the path to it; an absent one has no fields."""

    name: str
    path: str
    fields: dict[str, object]

    @property
    def where(self) -> str:
        return f"{self.name} {self.path}".strip()

    def text(self, key: str) -> str:
        return self._text(self.fields.get(key), self.at(key))

    def texts(self, key: str) -> list[str]:
        """The strings of a list; a null among them stands for a value with extensions only."""
        values = self._list(key)
        found = [self._text(value, f"{self.at(key)}[{index}]") for index, value in enumerate(values)]
        return [text for text in found if text]

    def flag(self, key: str) -> bool | None:
        value = self.fields.get(key)
        if value is None or isinstance(value, bool):
            return value
        raise malformed(self.at(key), "true or false")

    def number(self, key: str) -> int | None:
        value = self.fields.get(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise malformed(self.at(key), "a whole number")

    def decimal(self, key: str) -> float | None:
        value = self.fields.get(key)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        raise malformed(self.at(key), "a number")

    def moment(self, key: str, times: Times) -> datetime | None:
        """A FHIR dateTime or instant."""
        written = self.text(key)
        if not written:
            return None
        try:
            if not _DATE_TIME.fullmatch(written):
                raise ValueError
            return times.read(written)
        except (ValueError, OverflowError):
            raise malformed(self.at(key), "a FHIR date and time that exists") from None

    def one(self, key: str) -> "Element":
        return self._child(self.fields.get(key, {}), self.at(key))

    def many(self, key: str) -> list["Element"]:
        return [self._child(value, f"{self.at(key)}[{index}]") for index, value in enumerate(self._list(key))]

    def ended(self, today: date) -> bool:
        """Whether the period is over; an end of a year or month lasts until that year or month is over."""
        end = self.one("period").text("end")
        if end and not _DATE_TIME.fullmatch(end):
            raise malformed(f"{self.at('period')}.end", "a FHIR date and time")
        return bool(end) and end[:10] < today.isoformat()[: len(end[:10])]

    def at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _list(self, key: str) -> list[object]:
        value = self.fields.get(key)
        if value is None:
            return []
        if isinstance(value, list):
            return value
        raise malformed(self.at(key), "a list")

    def _text(self, value: object, path: str) -> str:
        if value is None:
            return ""
        if isinstance(value, str) and not _CONTROL.search(value):
            return value.strip()
        raise malformed(path, "a string without control characters")

    def _child(self, value: object, path: str) -> "Element":
        if isinstance(value, dict):
            return Element(self.name, path, value)
        raise malformed(path, "an object")


def malformed(path: str, expected: str) -> Unusable:
    return Unusable("MALFORMED", f"{path} has to be {expected}")
