"""Where the floor keeps things: three tables without policies, and a stream of its own beside that of the events."""

import nats
from nats.aio.client import Client
from nats.js import api

DATABASE, STREAM, SUBJECT, CONSUMER = "bench_floor", "FLOOR", "floor.referral_received", "floor"

TABLES = """
    CREATE TABLE referral (id uuid PRIMARY KEY, site text NOT NULL, body bytea NOT NULL);
    CREATE TABLE outbox (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        event_id uuid NOT NULL,
        payload bytea NOT NULL,
        published_at timestamptz
    );
    CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL;
    CREATE TABLE inbox (event_id uuid PRIMARY KEY, handled_at timestamptz NOT NULL DEFAULT now());
"""
ADD_REFERRAL = "INSERT INTO referral (id, site, body) VALUES ($1, $2, $3)"
ADD_EVENT = "INSERT INTO outbox (event_id, payload) VALUES ($1, $2)"
ENVELOPE = {f"ce-attribute{number}": "0193a5f0-0000-7000-8000-000000000000" for number in range(14)}
"""As many headers as a real event has, and about as long: what has to be published, whoever does it."""
PAYLOAD = b'{"referralId": "0193a5f0-0000-7000-8000-000000000000", "receivedAt": "2026-11-24T12:00:00.000000Z"}' * 2


async def connected(url: str, user: str, password: str) -> Client:
    return await nats.connect(url, user=user, password=password)


async def make_stream(url: str, user: str, password: str) -> None:
    """A stream and a durable with the limits of the real ones; the server syncs both alike."""
    client = await connected(url, user, password)
    jetstream = client.jetstream()
    await jetstream.add_stream(name=STREAM, subjects=["floor.>"], duplicate_window=600, max_age=90 * 24 * 3600)
    consumer = api.ConsumerConfig(durable_name=CONSUMER, ack_policy=api.AckPolicy.EXPLICIT, max_ack_pending=512)
    await jetstream.add_consumer(STREAM, consumer)
    await client.close()
