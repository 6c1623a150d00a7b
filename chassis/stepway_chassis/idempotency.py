"""One request_id, one effect: the answer of a command, kept with the command's own transaction."""

import hashlib
from typing import Any

from google.protobuf.message import Message
from sqlalchemy import text

from stepway_chassis.errors import Conflict
from stepway_chassis.transaction import Tx

_CLAIM = text(
    "INSERT INTO idempotency (site, subject, rpc, request_id, request_hash)"
    " VALUES (:site, :subject, :rpc, :request_id, :hash) ON CONFLICT DO NOTHING RETURNING 1"
)
_STORED = text(
    "SELECT request_hash, response, people FROM idempotency"
    " WHERE site = :site AND subject = :subject AND rpc = :rpc AND request_id = :request_id"
)
_FINISH = text(
    "UPDATE idempotency SET response = :response, people = CAST(:people AS uuid[])"
    " WHERE site = :site AND subject = :subject AND rpc = :rpc AND request_id = :request_id"
)


async def begin(tx: Tx, request: Message) -> bytes | None:
    """Claim the request_id; None means go on, bytes are the answer that was given before, about the same people.

    A concurrent twin waits here until the first has committed or rolled back.
    Raises Conflict (REQUEST_ID_REUSED) when the same id came with another body.
    """
    key, body_hash = _key(tx, request), _hash(request)
    claimed = await tx.execute(_CLAIM, {**key, "hash": body_hash})
    if claimed.first() is not None:
        return None
    stored = (await tx.execute(_STORED, key)).one()
    if bytes(stored.request_hash) != body_hash:
        raise Conflict("REQUEST_ID_REUSED", "This request_id was used with another request; take a new UUID.")
    tx.people.extend(stored.people)
    return bytes(stored.response)


async def finish(tx: Tx, request: Message, answer: Message) -> None:
    kept = {"response": answer.SerializeToString(), "people": [str(person) for person in tx.people]}
    await tx.execute(_FINISH, {**_key(tx, request), **kept})


def _key(tx: Tx, request: Any) -> dict[str, str]:
    return {"site": tx.site.name, "subject": tx.caller.subject, "rpc": tx.action, "request_id": request.request_id}


def _hash(request: Message) -> bytes:
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
