"""A running platform as tests see it: calls by role, the stream, and SQL past every policy."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg
import nats
from google.protobuf.message import Message
from nats.aio.client import Client

from stepway.intake.v1.assessment_service_pb2 import RecordAssessmentRequest
from stepway.intake.v1.referral_service_pb2 import ReceiveReferralRequest
from stepway_chassis import telemetry
from stepway_chassis.errors import Unavailable
from stepway_chassis.identity import Bearer
from stepway_chassis.rpc.client import DEFAULT_SECONDS, Peers
from stepway_chassis.testing import Published, published
from stepway_cli.local.platform import Platform
from stepway_cli.tokens import mint
from tests.waiting import LONGEST

T = TypeVar("T")
NORTHSIDE, LAKESIDE = "northside", "lakeside"
UNCONFIRMED = "CONSENT_UNCONFIRMED"
PATIENT = 25.0  # seconds: a call that is made at all is answered by then, on a slow and busy machine too


async def confirmed(call: Callable[[], Awaitable[T]]) -> T:
    """What a call comes to; it is made again while intake does not say in time whether a consent covers it.

    A busy machine may take longer than the half second in which that is worth saying.
    """
    began = time.monotonic()
    while True:
        try:
            return await call()
        except Unavailable as refusal:
            if refusal.reason != UNCONFIRMED or time.monotonic() - began > LONGEST:
                raise
        await asyncio.sleep(0.1)


@dataclass
class Network:
    platform: Platform
    trace_ratio: float = 0.0  # of the callers: what they do not sample leaves no span
    seconds: float = DEFAULT_SECONDS  # how long the callers wait for an answer
    _callers: dict[str, Peers] = field(default_factory=dict)

    def token(self, subject: str, kind: str = "staff", **grants: list[str]) -> str:
        """A token of the platform's own issuer; `grants` is site to roles."""
        now = datetime.now(UTC)
        key = self.platform.keys.people_key()
        return mint(key, subject, kind=kind, grants=grants, now=now, lifetime=timedelta(hours=1))

    def holding(self, token: str) -> Peers:
        """A caller with this token; one connection for each token."""
        if token not in self._callers:
            telemetry_, bearer = telemetry.start("test", ratio=self.trace_ratio), Bearer(token)
            self._callers[token] = Peers(
                self.platform.addresses, bearer, telemetry_, lambda: datetime.now(UTC), seconds=self.seconds
            )
        return self._callers[token]

    def staff(self, role: str, site: str = NORTHSIDE, subject: str = "") -> Peers:
        return self.holding(self._staff_token(role, site, subject or f"{role}-{site}"))

    def forget_tokens(self) -> None:
        """Whoever calls from now on has a token that the present key has signed."""
        self.__dict__.pop("_tokens", None)

    def _staff_token(self, role: str, site: str, subject: str) -> str:
        key = (role, site, subject)
        tokens: dict[tuple[str, str, str], str] = self.__dict__.setdefault("_tokens", {})
        if key not in tokens:
            tokens[key] = self.token(subject, **{site: [role]})
        return tokens[key]

    async def call(self, rpc: str, request: Message, *, role: str, site: str = NORTHSIDE, subject: str = "") -> Any:
        caller = self.staff(role, site, subject)
        return await confirmed(lambda: caller.call(rpc, request, site=site))

    async def published(self, subject: str = "evt.v1.>") -> list[Published]:
        return await published(*self.platform.nats_admin, subject)

    @asynccontextmanager
    async def broker(self) -> AsyncIterator[Client]:
        """A connection of the administrator's to NATS, which a busy machine may take its time over."""
        url, user, password = self.platform.nats_admin
        client = await nats.connect(url, user=user, password=password, connect_timeout=20, max_reconnect_attempts=2)
        try:
            yield client
        finally:
            await client.close()

    @asynccontextmanager
    async def superuser(self, service: str) -> AsyncIterator[Any]:
        """A connection past every policy, for holding locks and for looking often."""
        password, port = self.platform.folder.secret("postgres"), self.platform.postgres.port
        url = f"postgresql://stepway:{password}@127.0.0.1:{port}/stepway_{service}"
        connection = await asyncpg.connect(url)
        try:
            yield connection
        finally:
            await connection.close()

    def rows(self, service: str, query: str) -> list[dict[str, Any]]:
        """What the database holds, read as its superuser."""
        return self.platform.postgres.query(query, database=f"stepway_{service}")


def a_referral(**changes: Any) -> ReceiveReferralRequest:
    """A request to receive somebody with a telephone and an email address."""
    person = {
        "given_name": "Quillan",
        "family_name": "Vexmoor",
        "birth_date": "1990-04-01",
        "contact_points": [{"phone": "+12125550142"}, {"email": "vexmoor@example.org"}],
    }
    given: Mapping[str, Any] = {"request_id": str(uuid4()), "person": person, "reason": "wants help"}
    return ReceiveReferralRequest(**{**given, **changes})


def phq_9(referral_id: str, values: list[int | None], **changes: Any) -> RecordAssessmentRequest:
    answers = [{"item": item, "value": value} for item, value in enumerate(values, start=1) if value is not None]
    given: Mapping[str, Any] = {
        "request_id": str(uuid4()),
        "referral_id": referral_id,
        "instrument": "INSTRUMENT_PHQ_9",
    }
    return RecordAssessmentRequest(**{**given, "answers": answers, **changes})
