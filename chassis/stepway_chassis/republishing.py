"""What an operator does after the stream was lost or restored: have the relay send again what it lacks, by id."""

from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from uuid import UUID

from stepway_chassis.database import json_connection

BATCH = 1000
_PUBLISHED = "SELECT event_id FROM outbox WHERE published_at IS NOT NULL AND created_at >= $1"
_AGAIN = (
    "UPDATE outbox SET published_at = NULL, stream_seq = NULL"
    " WHERE event_id = ANY($1) AND published_at IS NOT NULL RETURNING 1"
)
_WAITING = """
    SELECT site, count(*) AS unpublished, min(created_at) AS oldest,
           (SELECT count(*) FROM outbox_blocked AS b WHERE b.site = o.site) AS blocked
      FROM outbox AS o WHERE published_at IS NULL GROUP BY site ORDER BY site"""


async def published_since(url: str, since: datetime) -> set[UUID]:
    """The ids of events made since then that are marked as published, at every site; as the role `relay`."""
    async with json_connection(url) as connection:
        return {row["event_id"] for row in await connection.fetch(_PUBLISHED, since)}


async def send_again(url: str, ids: Iterable[UUID]) -> int:
    """How many the relay will send, each aggregate's in order and under the same ids."""
    left, sent = iter(sorted(ids)), 0
    async with json_connection(url) as connection:
        while batch := list(islice(left, BATCH)):
            sent += len(await connection.fetch(_AGAIN, batch))
    return sent


async def waiting(url: str) -> list[dict[str, object]]:
    """By site: unpublished events, when the oldest was made, and how many aggregates are blocked."""
    async with json_connection(url) as connection:
        return [dict(row) for row in await connection.fetch(_WAITING)]
