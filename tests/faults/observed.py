"""Everything that can be seen of the two sites from outside: tables, the stream, texts and mails."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from typing import Any

import nats
from nats.js.errors import NotFoundError

from stepway_chassis.broker import STREAM, Stored
from stepway_cli.local.platform import Platform
from tests.network import LAKESIDE, NORTHSIDE, Network

SITES = (NORTHSIDE, LAKESIDE)
FOREIGN = "stepway-test-foreign"  # marks what a test put into the stream past every outbox
Row = dict[str, Any]

_CHASSIS = {
    "outbox": "site, event_id, aggregate_type, aggregate_id, aggregate_seq, subject, published_at, stream_seq",
    "outbox_blocked": "site, aggregate_id, reason",
    "event_head": "site, aggregate_type, aggregate_id, seq",
    "inbox": "site, consumer, event_id",
    "dead_letter": "site, id, consumer, event_id, reason, count, state",
    "delivery_failure": "site, consumer, event_id, count, error_type",
}
_OWN = {
    "intake": {
        "referral": "site, id, patient_id, reason",
        "patient": "site, id, person",
        "assessment": "site, id, referral_id, answered_at",
        "risk_flag": "site, id, urgency, acknowledged_by",
    },
    "notifications": {
        "message": "site, id, patient_id, channel, address, template, status, causation",
        "escalation": "site, id, risk_flag_id, acknowledged_by",
    },
}


@dataclass(frozen=True)
class Event:
    """One message of the stream, as far as the checks look at it."""

    seq: int
    id: str
    site: str
    service: str
    token: str
    aggregate: str
    sequence: int


@dataclass(frozen=True)
class Observed:
    """`tables` is service, table, rows; `mails` has a Message-ID for each mail that was taken."""

    tables: Mapping[str, Mapping[str, list[Row]]]
    stream: list[Event]
    texts: list[str]
    mails: list[str]

    def announced(self, service: str, token: str) -> list[Event]:
        return [event for event in self.stream if (event.service, event.token) == (service, token)]


@dataclass
class Observer:
    """Looks at one platform; remembers how far it has read the stream."""

    network: Network
    _read: list[Event] = field(default_factory=list)
    _next: int = 1

    async def look(self) -> Observed:
        tables = {service: tables_of(self.network, service) for service in _OWN}
        return Observed(tables, list(await self.stream()), texts(self.network.platform), mails(self.network.platform))

    async def stream(self) -> list[Event]:
        """Of the two sites, as far as it was written by the services."""
        url, user, password = self.network.platform.nats_admin
        client = await nats.connect(url, user=user, password=password)
        try:
            jetstream = client.jetstream()
            while True:
                message = await jetstream.get_msg(STREAM, seq=self._next, subject="evt.v1.>", next=True)
                self._next = (message.seq or 0) + 1
                stored = Stored(message.seq or 0, message.subject or "", dict(message.headers or {}), b"")
                if stored.subject.split(".")[2] in SITES and FOREIGN not in stored.headers:
                    self._read.append(_event(stored))
        except NotFoundError:
            return self._read
        finally:
            await client.close()


def tables_of(network: Network, service: str) -> Mapping[str, list[Row]]:
    where = f"WHERE site IN {SITES}"
    return {
        table: network.rows(service, f"SELECT {columns} FROM {table} {where}")
        for table, columns in (_CHASSIS | _OWN[service]).items()
    }


def _event(stored: Stored) -> Event:
    _, _, site, _, service, token = stored.subject.split(".")
    headers = stored.headers
    aggregate, sequence = headers["ce-source"], int(headers["ce-sequence"])
    return Event(stored.seq, headers["ce-id"], site, service, token, aggregate, sequence)


def texts(platform: Platform) -> list[str]:
    """The message id of each text that lies in the folder of a site."""
    return [text.stem for site in SITES for text in (platform.texts / site).glob("*.txt")]


def mails(platform: Platform) -> list[str]:
    return [_message_id(mail.read_bytes()) for mail in platform.mails.glob("*.eml")]


def _message_id(content: bytes) -> str:
    return str(message_from_bytes(content, policy=policy.default)["Message-ID"]).strip("<> ").partition("@")[0]
