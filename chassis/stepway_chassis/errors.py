"""The one error vocabulary: what a handler may raise, and all that a client ever sees.

    Refusal                 a stable reason in capitals and a sentence that says what to do
    ├── InvalidInput        the request is wrong, and the field is named
    ├── Unauthenticated     nobody vouches for the caller
    ├── Denied              the caller may not do this here
    ├── NotFound            there is no such record at this site
    ├── Conflict            the record is in no state for this
    ├── Exhausted           a limit is reached
    ├── TimedOut            the deadline passed; the effect may or may not have happened
    └── Unavailable         something it needs does not answer; try again

Neither reason, sentence, field nor metadata ever holds a value that the caller sent.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID


class Refusal(Exception):
    """A call that is answered with no, and why.

    `metadata` is for programs, such as the cell to ask instead. `people` is for the audit alone.
    """

    people: Sequence[UUID] = ()

    def __init__(
        self, reason: str, message: str, *, field: str = "", metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.field = field
        self.metadata = dict(metadata or {})


class PeerFailed(Exception):
    """Another service has a defect: no refusal, and no outage either."""


class InvalidInput(Refusal): ...


class Unauthenticated(Refusal): ...


class Denied(Refusal): ...


class NotFound(Refusal): ...


class Conflict(Refusal): ...


class Exhausted(Refusal): ...


class TimedOut(Refusal): ...


class Unavailable(Refusal): ...
