"""What callers did: every command, what they heard of it, and the ids that the answer named."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from google.protobuf.message import Message


class Kind(StrEnum):
    """What is sent; the order is that of the journey."""

    OPEN_TRACK = "open track"
    PLAN_GROUP = "plan group"
    RECEIVE = "receive"
    ASSESS = "assess"
    DECIDE = "decide"
    GRANT = "grant"
    ADMIT = "admit"
    REVOKE = "revoke"
    END = "end"
    ACKNOWLEDGE = "acknowledge"


class Outcome(StrEnum):
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass
class Command:
    """`mark` is unique among the commands of its kind and lies in what it writes; `about` is the record it names."""

    kind: Kind
    site: str
    request: Any
    subject: str
    mark: str
    about: str = ""
    sent_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    answered_at: datetime | None = None  # when the caller first knew
    outcome: Outcome = Outcome.UNKNOWN
    ids: Mapping[str, str] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)

    @property
    def request_id(self) -> str:
        return str(self.request.request_id)

    @property
    def done(self) -> bool:
        return self.outcome is Outcome.ACKNOWLEDGED

    def acknowledged(self, answer: Message) -> None:
        ids = ids_in(self.kind, answer)
        if self.done and ids != self.ids:
            self.heard.append("ANOTHER_ANSWER")
        self.answered_at = self.answered_at or datetime.now(UTC)
        self.outcome, self.ids = Outcome.ACKNOWLEDGED, ids

    def refused(self, reason: str) -> None:
        self.heard.append(reason)
        if self.outcome is Outcome.UNKNOWN:
            self.outcome = Outcome.REFUSED

    def __str__(self) -> str:
        return f"{self.kind} {self.request_id} at {self.site} ({self.outcome}, heard {self.heard})"


def ids_in(kind: Kind, answer: Any) -> Mapping[str, str]:
    match kind:
        case Kind.OPEN_TRACK:
            return {"id": answer.track.id}
        case Kind.PLAN_GROUP:
            return {"id": answer.family_group.id}
        case Kind.RECEIVE:
            return {"id": answer.referral.id, "patient": answer.referral.patient_id}
        case Kind.ASSESS:
            return {"id": answer.assessment.id, "flag": answer.risk_flag_id}
        case Kind.DECIDE:
            return {"id": answer.decision.id}
        case Kind.GRANT | Kind.REVOKE:
            return {"id": answer.consent.id, "family_member": answer.consent.family_member_id}
        case Kind.ADMIT:
            return {"id": answer.admission.id, "patient": answer.admission.patient_id}
        case Kind.END:
            return {"id": answer.enrollment.id}
        case Kind.ACKNOWLEDGE:
            return {"id": answer.escalation.id}


@dataclass
class History:
    """Of one platform, from its first command on.

    `stalls` are the times in which a process that hands messages over was stopped: what it had begun before ended
    after. `restored` counts how often the stream lost what lay in it and was filled again from the outboxes.
    """

    commands: list[Command] = field(default_factory=list)
    stalls: list[tuple[datetime, datetime]] = field(default_factory=list)
    restored: int = 0
    _began: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(hours=1))

    def add(self, command: Command) -> Command:
        self.commands.append(command)
        return command

    def answered_at(self) -> datetime:
        """A time that no other command of this history carries."""
        return self._began + timedelta(microseconds=len(self.commands))

    def starts_at(self) -> datetime:
        """A time to come that no other command of this history carries."""
        return self.answered_at() + timedelta(days=20)

    def unknown(self) -> list[Command]:
        return [command for command in self.commands if command.outcome is Outcome.UNKNOWN]

    def acknowledged(self, kind: Kind) -> list[Command]:
        return [command for command in self.commands if command.kind is kind and command.done]
