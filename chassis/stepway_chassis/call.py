"""Who is calling, where, and how far the call may reach: the same facts for every layer below the server."""

import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What sort of caller a token speaks for."""

    STAFF = "staff"
    PATIENT = "patient"
    FAMILY = "family"
    SERVICE = "service"


class Scope(StrEnum):
    """How far a grant reaches; declared in the contract of each RPC."""

    SITE = "site"
    ASSIGNED = "assigned"
    LINKED = "linked"
    SELF = "self"


@dataclass(frozen=True)
class Caller:
    subject: str
    kind: Kind
    grants: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One authenticated call.

    `deadline` is in seconds of `time.monotonic()`; `purpose` is an HL7 v3 PurposeOfUse code.
    """

    rpc: str
    site: str
    caller: Caller
    scope: Scope
    deadline: float
    purpose: str = "TREAT"

    def remaining(self) -> float:
        return self.deadline - time.monotonic()


current: ContextVar[Call] = ContextVar("stepway_call")
