"""Forgets, in batches, what nobody can ask for any more; never before the stream has forgotten it too."""

from datetime import datetime, timedelta

from sqlalchemy import text

from stepway_chassis.broker import MAX_AGE_SECONDS
from stepway_chassis.database import Database
from stepway_chassis.loops import Loop

LOOP = "retention"
EVERY = timedelta(hours=1)
STREAM = timedelta(seconds=MAX_AGE_SECONDS)
OUTBOX = timedelta(days=90)
INBOX = timedelta(days=90)
REQUESTS = timedelta(hours=24)
BATCH = 1000

assert INBOX >= OUTBOX >= STREAM, "an event could be handled again after its inbox row was forgotten"

_FORGET = {
    "outbox": text(
        "DELETE FROM outbox WHERE site = :site AND id IN (SELECT id FROM outbox"
        " WHERE site = :site AND published_at < now() - CAST(:age AS interval) LIMIT :batch)"
    ),
    "inbox": text(
        "DELETE FROM inbox WHERE site = :site AND (consumer, event_id) IN (SELECT consumer, event_id FROM inbox"
        " WHERE site = :site AND handled_at < now() - CAST(:age AS interval) LIMIT :batch)"
    ),
    "idempotency": text(
        "DELETE FROM idempotency WHERE site = :site AND (subject, rpc, request_id) IN"
        " (SELECT subject, rpc, request_id FROM idempotency"
        " WHERE site = :site AND created_at < now() - CAST(:age AS interval) LIMIT :batch)"
    ),
}
AGES = {"outbox": OUTBOX, "inbox": INBOX, "idempotency": REQUESTS}


def forgetting(keeper: Database) -> Loop:
    async def round(site: str) -> datetime | None:
        for table, age in AGES.items():
            await _forget(keeper, site, table, age)
        async with keeper.transaction(site, LOOP) as tx:
            return tx.now + EVERY

    return Loop(LOOP, round)


async def _forget(keeper: Database, site: str, table: str, age: timedelta) -> None:
    deleted = BATCH
    while deleted == BATCH:
        async with keeper.transaction(site, LOOP) as tx:
            deleted = (await tx.execute(_FORGET[table], {"site": site, "age": age, "batch": BATCH})).rowcount
