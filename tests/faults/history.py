"""What callers did: every command, what they heard of it, and the ids that the answer named."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from google.protobuf.message import Message


class Kind(StrEnum):
    RECEIVE = "receive"
    ASSESS = "assess"
    ACKNOWLEDGE = "acknowledge"


class Outcome(StrEnum):
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass
class Command:
    """`mark` is unique to the command and lies in what it writes; `about` is the referral or page that it names."""

    kind: Kind
    site: str
    request: Any
    subject: str
    mark: str
    about: str = ""
    sent_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    outcome: Outcome = Outcome.UNKNOWN
    ids: Mapping[str, str] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)

    @property
    def request_id(self) -> str:
        return str(self.request.request_id)

    def acknowledged(self, answer: Message) -> None:
        ids = ids_in(self.kind, answer)
        if self.outcome is Outcome.ACKNOWLEDGED and ids != self.ids:
            self.heard.append("ANOTHER_ANSWER")
        self.outcome, self.ids = Outcome.ACKNOWLEDGED, ids

    def refused(self, reason: str) -> None:
        self.heard.append(reason)
        if self.outcome is Outcome.UNKNOWN:
            self.outcome = Outcome.REFUSED

    def __str__(self) -> str:
        return f"{self.kind} {self.request_id} at {self.site} ({self.outcome}, heard {self.heard})"


def ids_in(kind: Kind, answer: Any) -> Mapping[str, str]:
    match kind:
        case Kind.RECEIVE:
            return {"id": answer.referral.id, "patient": answer.referral.patient_id}
        case Kind.ASSESS:
            return {"id": answer.assessment.id, "flag": answer.risk_flag_id}
        case Kind.ACKNOWLEDGE:
            return {"id": answer.escalation.id}


@dataclass
class History:
    """Of one platform, from its first command on."""

    commands: list[Command] = field(default_factory=list)
    _began: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(hours=1))

    def add(self, command: Command) -> Command:
        self.commands.append(command)
        return command

    def answered_at(self) -> datetime:
        """A time that no other command of this history carries."""
        return self._began + timedelta(microseconds=len(self.commands))

    def unknown(self) -> list[Command]:
        return [command for command in self.commands if command.outcome is Outcome.UNKNOWN]
