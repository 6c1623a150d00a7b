"""Everything that can be seen of the two sites from outside: tables, the stream, texts and mails."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from stepway_chassis.broker import STREAM
from stepway_cli.local.platform import Platform
from tests.network import LAKESIDE, NORTHSIDE, Network

SITES = (NORTHSIDE, LAKESIDE)
FOREIGN = "stepway-test-foreign"  # marks what a test put into the stream past every outbox
Row = dict[str, Any]
BATCH = 500

_CHASSIS = {
    "outbox": "site, event_id, aggregate_type, aggregate_id, aggregate_seq, subject, published_at, stream_seq",
    "outbox_blocked": "site, aggregate_id, reason",
    "event_head": "site, aggregate_type, aggregate_id, seq",
    "inbox": "site, consumer, event_id",
    "dead_letter": "site, id, consumer, event_id, reason, count, state",
    "delivery_failure": "site, consumer, event_id, count, error_type",
    "audit": "site, action, people, outcome",
}
OWN = {
    "intake": {
        "referral": "site, id, patient_id, reason, status",
        "patient": "site, id, person",
        "assessment": "site, id, referral_id, answered_at",
        "risk_flag": "site, id, patient_id, urgency, acknowledged_by, paged_at",
        "level_of_care_decision": "site, id, referral_id, rationale",
        "family_member": "site, id, patient_id, person",
        "consent": "site, id, patient_id, family_member_id, categories, purpose, granted_at, revoked_at",
        "admission": "site, id, referral_id, patient_id",
    },
    "scheduling": {
        "track": "site, id, name, daypart, seats, seats_taken",
        "enrollment": "site, id, admission_id, patient_id, availability, status, track_id, confirmed_at, ended_at",
    },
    "care": {"treatment_plan": "site, id, patient_id, enrollment_id"},
    "family": {
        "consent_link": "site, id, patient_id, family_member_id, granted, revoked",
        "patient": "site, id",
        "family_group": "site, id, starts_at, seats, seats_taken",
        "invitation": "site, id, family_member_id, patient_id, family_group_id, starts_at, invited_at",
    },
    "notifications": {
        "message": "site, id, patient_id, family_member_id, escalation_id, channel, address, template, status,"
        " causation, created_at",
        "escalation": "site, id, patient_id, risk_flag_id, clinicians, pages, acknowledged_by, paged_at",
        "family_member": "site, id, patient_id",
    },
}
SERVICES = tuple(OWN)


@dataclass(frozen=True)
class Event:
    """One message of the stream, as far as the checks look at it; `about` is the id of its aggregate."""

    seq: int
    id: str
    site: str
    service: str
    token: str
    aggregate: str
    sequence: int

    @property
    def about(self) -> str:
        return self.aggregate.rsplit("/", 1)[1]


@dataclass(frozen=True)
class HandedOver:
    """A text or a mail that came out at the other end of its channel, and when."""

    message: str
    at: datetime


@dataclass(frozen=True)
class Observed:
    """`tables` is service, table, rows; a mail is there as often as it was taken."""

    tables: Mapping[str, Mapping[str, list[Row]]]
    stream: list[Event]
    texts: list[HandedOver]
    mails: list[HandedOver]

    def announced(self, service: str, token: str) -> list[Event]:
        return [event for event in self.stream if (event.service, event.token) == (service, token)]


@dataclass
class Observer:
    """Looks at one platform; remembers how far it has read the stream."""

    network: Network
    _read: list[Event] = field(default_factory=list)
    _next: int = 1

    async def look(self) -> Observed:
        looked = await asyncio.gather(*(asyncio.to_thread(tables_of, self.network, service) for service in SERVICES))
        tables = dict(zip(SERVICES, looked, strict=True))
        return Observed(tables, list(await self.stream()), texts(self.network.platform), mails(self.network.platform))

    def forget(self) -> None:
        """The stream is another one by now: read it from its beginning."""
        self._read, self._next = [], 1

    async def stream(self) -> list[Event]:
        """Of the two sites, as far as it was written by the services."""
        async with self.network.broker() as client:
            config = ConsumerConfig(
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self._next,
                ack_policy=AckPolicy.NONE,
                filter_subjects=[f"evt.v1.{site}.>" for site in SITES],
                headers_only=True,
                inactive_threshold=30.0,
                mem_storage=True,
            )
            reader = await client.jetstream().pull_subscribe("", stream=STREAM, config=config)
            while left := (await reader.consumer_info()).num_pending:
                for message in await reader.fetch(min(left, BATCH), timeout=10):
                    self._take(message)
            await client.jetstream().delete_consumer(STREAM, (await reader.consumer_info()).name)
            return self._read

    def _take(self, message: Msg) -> None:
        sequence, headers = message.metadata.sequence.stream, message.headers or {}
        self._next = sequence + 1
        if FOREIGN not in headers:
            self._read.append(_event(sequence, message.subject, headers))


def tables_of(network: Network, service: str) -> Mapping[str, list[Row]]:
    """In one query, so that the rows are of one moment."""
    parts = ", ".join(
        f"(SELECT coalesce(json_agg(row_to_json(t)), '[]') FROM"
        f' (SELECT {columns} FROM {table} WHERE site IN {SITES}) AS t) AS "{table}"'
        for table, columns in (_CHASSIS | OWN[service]).items()
    )
    found: Mapping[str, list[Row]] = network.rows(service, f"SELECT {parts}")[0]
    return found


def _event(seq: int, subject: str, headers: Mapping[str, str]) -> Event:
    _, _, site, _, service, token = subject.split(".")
    aggregate, sequence = headers["ce-source"], int(headers["ce-sequence"])
    return Event(seq, headers["ce-id"], site, service, token, aggregate, sequence)


def texts(platform: Platform) -> list[HandedOver]:
    """Each text that lies in the folder of a site."""
    return [HandedOver(text.stem, _made(text)) for site in SITES for text in (platform.texts / site).glob("*.txt")]


def mails(platform: Platform) -> list[HandedOver]:
    """Those of notifications; intake writes to an emergency address by itself when it does not answer."""
    found = [HandedOver(_message_id(mail.read_bytes()), _made(mail)) for mail in platform.mails.glob("*.eml")]
    return [mail for mail in found if not mail.message.startswith("emergency-")]


def _made(file: Path) -> datetime:
    return datetime.fromtimestamp(file.stat().st_mtime, UTC)


def _message_id(content: bytes) -> str:
    return str(message_from_bytes(content, policy=policy.default)["Message-ID"]).strip("<> ").partition("@")[0]
