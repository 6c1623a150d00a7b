"""What a reader says about input that it did not take as it was."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Refused:
    """Something that is not imported: its name, a code in capitals, and what to do; never a value from it."""

    name: str
    reason: str
    message: str


@dataclass(frozen=True)
class Note:
    """Something that was left out of what is imported, or set aside; never a value from it."""

    name: str
    message: str
    resources: int = 0  # how many whole resources this sets aside


class Unusable(Exception):
    """Input that cannot be imported, with the reason and sentence of its Refused."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message

    def named(self, name: str) -> Refused:
        return Refused(name, self.reason, self.message)
