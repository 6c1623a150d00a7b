"""What a reader says about input that it did not take as it was."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Where something stands: its file, the entry, line or row in it unless the file is all there is, and its kind."""

    file: str
    index: int | None = None
    kind: str = ""
    path: str = ""  # to what in it is meant


@dataclass(frozen=True)
class Refused:
    """Something that is not imported: its name, a code in capitals, and what to do; never a value from it.

    The name is for whoever has the file open, and may hold the id that the sender gave it; the place holds none.
    """

    name: str
    reason: str
    message: str
    place: Place | None = None


@dataclass(frozen=True)
class Note:
    """Something that was left out of what is imported, or set aside; never a value from it."""

    name: str
    message: str
    resources: int = 0  # how many whole resources this sets aside
    place: Place | None = None


class Unusable(Exception):
    """Input that cannot be imported, with the reason and sentence of its Refused."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message

    def named(self, name: str, place: Place | None = None) -> Refused:
        return Refused(name, self.reason, self.message, place)
