"""python -m tests.bench.without LAYER: intake with one protection replaced by nothing, to see what it costs.

Its relay rests, so that only the call itself is measured. Nothing of this is shipped.
"""

import sys
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from stepway_chassis import app, audit, idempotency
from stepway_chassis.call import Caller, Kind
from stepway_chassis.database import NO_CLAIM
from stepway_chassis.relay import Relay
from stepway_chassis.rpc import server
from stepway_chassis.rpc.server import Gate, Incoming, Next
from stepway_chassis.transaction import Tx
from stepway_intake.app import APP

NOTHING = "nothing"
EVERYBODY = frozenset({"front_desk"})
KEEP = """
    UPDATE idempotency SET people = $5, response = $6
     WHERE site = $1 AND subject = $2 AND rpc = $3 AND request_id = $4"""


class Everywhere(dict[str, frozenset[str]]):
    """A role at every site that is asked for."""

    def get(self, site: str, default: Any = None) -> frozenset[str]:
        return EVERYBODY


async def _nothing(*_: Any, **__: Any) -> None: ...


async def _kept_alone(tx: Tx, request: Any, answer: Message) -> None:
    mine = tx.site.name, tx.caller.subject, tx.action, request.request_id
    await tx.run(KEEP, *mine, tx.people, answer.SerializeToString())


async def _recorded_alone(tx: Tx, *_: Any) -> None:
    await audit.record(tx, "DONE")


async def _anybody(self: Gate, incoming: Incoming, inner: Next) -> Message:
    incoming.caller = Caller("anybody", Kind.STAFF, Everywhere())
    return await inner(incoming)


async def _unchecked(incoming: Incoming, inner: Next) -> Message:
    incoming.request = incoming.rule.request.FromString(incoming.raw)
    return await inner(incoming)


def _without_authentication() -> None:
    Gate._authenticated = _anybody  # type: ignore[method-assign]


def _without_validation() -> None:
    server._validated = _unchecked


def _without_audit() -> None:
    audit.record = _nothing
    idempotency.keep = _kept_alone


def _without_idempotency() -> None:
    idempotency.claim = lambda *_: NO_CLAIM
    idempotency.keep = _recorded_alone


def _whole() -> None: ...


LAYERS: dict[str, Callable[[], None]] = {
    NOTHING: _whole,
    "authentication": _without_authentication,
    "validation": _without_validation,
    "audit": _without_audit,
    "idempotency": _without_idempotency,
    "tracing": _whole,  # its environment says that no trace is kept
    "row-level security": _whole,  # its environment names a role past every policy
}


async def _resting(self: Relay) -> None: ...


if __name__ == "__main__":
    LAYERS[sys.argv[1]]()
    Relay.run = _resting  # type: ignore[method-assign]
    app.run(APP)
