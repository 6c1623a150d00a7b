"""The two ways from a call to a handled event that are compared: the floor's and Stepway's."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from stepway_cli.local.process import Process
from tests.bench.asked import REFERRAL
from tests.bench.floor import places
from tests.bench.floor.service import RECEIVE
from tests.bench.listener import CONSUMER, OF_RECORDINGS
from tests.bench.machine import cpu_seconds, cpu_seconds_of_children
from tests.bench.stand import FEW_SITES, Stand

RECEIVE_REFERRAL = "/stepway.intake.v1.ReferralService/ReceiveReferral"
RECORD_ASSESSMENT = "/stepway.intake.v1.AssessmentService/RecordAssessment"
LONGEST_WAIT_SECONDS = 60.0
REFERRALS = "subject LIKE '%.referral_received'"  # an outbox may hold events that nobody here listens to
RECORDINGS = "subject LIKE '%.assessment_completed'"

FLOOR_ANNOUNCED = (places.DATABASE, "SELECT FROM outbox")
FLOOR_HANDLED = (places.DATABASE, "SELECT event_id AS id, pg_xact_commit_timestamp(xmin) AS at FROM inbox")
FLOOR_COMMITTED = (
    places.DATABASE,
    "SELECT id, at FROM (SELECT id, pg_xact_commit_timestamp(xmin) AS at FROM referral) AS noted",
)
ANNOUNCED = ("stepway_intake", f"SELECT FROM outbox WHERE {REFERRALS}")
HANDLED = (
    "stepway_notifications",
    f"SELECT event_id AS id, pg_xact_commit_timestamp(xmin) AS at FROM inbox WHERE consumer = '{CONSUMER}'",
)
RECORDINGS_ANNOUNCED = ("stepway_intake", f"SELECT FROM outbox WHERE {RECORDINGS}")
RECORDINGS_HANDLED = ("stepway_notifications", f"SELECT FROM inbox WHERE consumer = '{OF_RECORDINGS}'")
COMMITTED = (
    "stepway_intake",
    "SELECT id, at FROM (SELECT o.event_id AS id, pg_xact_commit_timestamp(r.xmin) AS at FROM outbox AS o"
    " JOIN referral AS r ON r.site = o.site AND r.id = o.aggregate_id) AS noted",
)


@dataclass(frozen=True)
class Pipeline:
    """A way from a call to a handled event, and where to look: `handled` and `committed` select id and time."""

    stand: Stand
    name: str
    processes: Sequence[Process]
    address: str
    method: str
    announced: tuple[str, str]
    handled: tuple[str, str]
    committed: tuple[str, str]
    at: Sequence[Sequence[str]] = field(repr=False)
    asked: str = REFERRAL

    def load(self, callers: int, seconds: float, *, pause: float = 0.0) -> dict[str, Any]:
        """Of so many callers: their rate, and how long each call took."""
        crowd = {"at": self.at, "callers": callers, "pause": pause, "asked": self.asked}
        done = self.stand.worker.do(
            "call", address=self.address, method=self.method, crowds={"all": crowd}, seconds=seconds
        )["all"]
        assert not done["refused"], f"{self.name} has refused {done['refused']} calls"
        return dict(done)

    def drain(self) -> None:
        """Until every event was handled."""
        drain(self.stand, self.announced, self.handled)

    def cpu_seconds(self) -> float:
        """Of its processes and of the sessions of the database, since they began."""
        sessions = cpu_seconds_of_children(self.stand.platform.postgres.pid)
        return sessions + sum(cpu_seconds(process.pid) for process in self.processes)

    def milliseconds(self, since: datetime) -> list[float]:
        """How long after the commit of each referral its event was handled and committed."""
        (home, committed), (there, handled) = self.committed, self.handled
        begun = {row["id"]: row["at"] for row in self.stand.rows(home, f"{committed} WHERE noted.at > '{since}'")}
        ended = {row["id"]: row["at"] for row in self.stand.rows(there, handled)}
        return [1000 * (_time(ended[id]) - _time(begun[id])).total_seconds() for id in begun]


def drain(stand: Stand, announced: tuple[str, str], handled: tuple[str, str]) -> None:
    """Until the second query, in its database, finds as many rows as the first."""
    ends = time.monotonic() + LONGEST_WAIT_SECONDS
    while (waiting := _count(stand, *announced) - _count(stand, *handled)) > 0:
        assert time.monotonic() < ends, f"{waiting} events are still not handled"
        time.sleep(0.1)


def _count(stand: Stand, database: str, query: str) -> int:
    return int(stand.number(database, f"SELECT count(*) AS n FROM ({query}) AS found"))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def floor(stand: Stand) -> Iterator[Pipeline]:
    """Bare gRPC, one transaction, a naive relay, JetStream, a pull, an inbox row; nothing is left of a part before."""
    stand.sql(places.DATABASE, "TRUNCATE outbox, inbox")
    port = stand.platform.folder.port("floor")
    with (
        floor_consumer(stand) as consumer,
        stand.running("floor", "tests.bench.floor.service", told=_told(stand), port=port) as service,
    ):
        yield Pipeline(
            stand,
            "pipeline floor",
            [service, consumer],
            f"127.0.0.1:{port}",
            RECEIVE,
            FLOOR_ANNOUNCED,
            FLOOR_HANDLED,
            FLOOR_COMMITTED,
            at=stand.staff[:1],
        )


def _told(stand: Stand) -> dict[str, str]:
    nats, _, password = stand.platform.nats_admin
    return {
        "FLOOR_LISTEN": f"127.0.0.1:{stand.platform.folder.port('floor')}",
        "FLOOR_DATABASE": f"{stand.superuser}{places.DATABASE}",
        "FLOOR_NATS": nats,
        "FLOOR_PASSWORD": password,
    }


@contextmanager
def floor_consumer(stand: Stand) -> Iterator[Process]:
    with stand.running("floor-consumer", "tests.bench.floor.consumer", told=_told(stand)) as process:
        yield process


@contextmanager
def real(stand: Stand) -> Iterator[Pipeline]:
    """Intake, and a service on the chassis that listens and has nothing to do."""
    with stand.service("intake") as service, listener(stand) as consumer:
        yield Pipeline(
            stand,
            "Stepway",
            [service, consumer],
            stand.platform.address("intake"),
            RECEIVE_REFERRAL,
            ANNOUNCED,
            HANDLED,
            COMMITTED,
            at=stand.staff[:FEW_SITES],
        )


@contextmanager
def listener(stand: Stand, **changes: str) -> Iterator[Process]:
    """In the place of notifications, with its database and its rights."""
    not_for_it: dict[str, str | None] = {"STEPWAY_SMS_DIRECTORY": None, "STEPWAY_SMTP_URL": None}
    with stand.service("notifications", "tests.bench.listener", **not_for_it, **changes) as process:
        yield process
