"""One request_id, one effect: the answer of a command, kept with the command's own transaction."""

import hashlib
from typing import Any

from google.protobuf.message import Message

from stepway_chassis import audit
from stepway_chassis.call import Call
from stepway_chassis.errors import Conflict
from stepway_chassis.transaction import Claim, Tx

_CLAIM = """
    INSERT INTO idempotency (site, subject, rpc, request_id, request_hash)
    SELECT $1, $3, $4, $5, $6 FROM entered ON CONFLICT DO NOTHING RETURNING 1"""
_STORED = """
    SELECT request_hash, response, people FROM idempotency
     WHERE site = $1 AND subject = $2 AND rpc = $3 AND request_id = $4"""
_KEEP = audit.recording("""
    kept AS (UPDATE idempotency SET people = $5, response = $13
              WHERE site = $1 AND subject = $6 AND rpc = $8 AND request_id = $14)""")


def claim(call: Call, request: Any) -> Claim:
    """Claim the request_id, however it is written. A concurrent twin waits until the first has committed or rolled
    back.
    """
    request.request_id = request.request_id.lower()
    return Claim(_CLAIM, (call.caller.subject, call.rpc, request.request_id, _hash(request)))


async def stored(tx: Tx, request: Any) -> bytes:
    """The answer that was given before, when the claim found it taken, about the same people.

    Raises Conflict (REQUEST_ID_REUSED) when the same id came with another body.
    """
    kept = await tx.run(_STORED, tx.site.name, tx.caller.subject, tx.action, request.request_id)
    if kept["request_hash"] != _hash(request):
        raise Conflict("REQUEST_ID_REUSED", "This request_id was used with another request; take a new UUID.")
    tx.people.extend(kept["people"])
    return bytes(kept["response"])


async def keep(tx: Tx, request: Any, answer: Message) -> None:
    """Keep the answer for a repeat, and record what was done."""
    await audit.record(tx, "DONE", answer.SerializeToString(), request.request_id, statement=_KEEP)


def _hash(request: Message) -> bytes:
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
