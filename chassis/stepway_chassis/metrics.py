"""Metrics: what a service measures of itself, by site."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource

SITE = "stepway.site"
# Few bounds: each is a line of /metrics for every site.
_CALLS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
_WAITS = (0.005, 0.05, 0.5, 5)
_DELAYS = (0.1, 0.5, 1, 5, 60, 600)
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")

Labels = tuple[tuple[str, str], ...]
Look = Callable[[], Iterable[Observation]]


@dataclass(frozen=True)
class Waiting:
    """Of one site: events that the stream has not got yet, when the oldest was made, aggregates that it refuses."""

    site: str
    unpublished: int
    oldest: datetime | None
    blocked: int


class Metrics:
    """The numbers of one service.

    The site beside a number is one that this process serves, or one that its own database names; anything else that a
    caller says becomes "". No method raises, and none waits.
    """

    def __init__(
        self, readers: Sequence[MetricReader] = (), resource: Resource | None = None, *, exemplars: bool = False
    ) -> None:
        """`exemplars`: keep the trace id of a sampled call beside the numbers that it has added to."""
        chosen = TraceBasedExemplarFilter() if exemplars else AlwaysOffExemplarFilter()
        self._provider = MeterProvider(readers, resource, chosen, shutdown_on_exit=False)
        self._meter = self._provider.get_meter("stepway")
        self._sites: frozenset[str] = frozenset()
        self._last: dict[str, dict[Labels, float]] = {}
        self._waiting: Sequence[Waiting] = ()
        self._call = self._histogram("rpc.server.call.duration", "How long calls took.", _CALLS)
        self._publish = self._histogram(
            "messaging.client.operation.duration", "How long the stream took to acknowledge an event.", _WAITS
        )
        self._delay = self._histogram("stepway.event.delay", "From a fact to its effect in this service.", _DELAYS)
        self._pool = self._histogram(
            "db.client.connection.wait_time", "How long work waited for a database connection.", _WAITS
        )
        self._lag = self._histogram("stepway.loop.lag", "How late background loops came to a site.", _DELAYS)
        self._loop_delay = self._histogram("stepway.event_loop.delay", "How late the event loop was.", _WAITS)
        self._redelivered = self._counter("stepway.consumer.redeliveries", "Deliveries that were not the first.")
        self._duplicate = self._counter("stepway.inbox.duplicates", "Events that had been handled before.")
        self._buried = self._counter("stepway.dead_letters.buried", "Events that became dead letters.")
        self.gauge("stepway.consumer.pending", "Events that a lane has still to pull.")
        self._watch("stepway.outbox.unpublished", "Events that the stream has not got yet.", self._unpublished)
        self._watch("stepway.outbox.age", "Age of the oldest event that the stream has not got yet.", self._ages, "s")
        self._watch("stepway.outbox.blocked", "Aggregates whose next event the stream refuses.", self._blocked)

    def gauge(self, name: str, description: str) -> None:
        """A number for each site that is served here: the last one that was noted."""
        self._last[name] = {}
        self._watch(name, description, partial(self._noted, name))

    def serve(self, sites: frozenset[str]) -> None:
        """These are served from now on; what was counted at another is forgotten."""
        self._sites = sites
        for last in self._last.values():
            for labels in [labels for labels in last if dict(labels)[SITE] not in sites]:
                del last[labels]

    def called(self, rpc: str, code: str, site: str, seconds: float) -> None:
        self._write(
            self._call.record, seconds, self._served(site),
            {"rpc.system.name": "grpc", "rpc.method": rpc, "rpc.response.status_code": code},
        )  # fmt: skip

    @contextmanager
    def publishing(self, subject_template: str, site: str) -> Iterator[None]:
        """Until the stream has acknowledged one event, or has not."""
        labels = {"messaging.system": "nats", "messaging.operation.name": "publish"}
        labels["messaging.destination.template"] = subject_template
        began = time.monotonic()
        try:
            yield
        except BaseException as error:
            labels["error.type"] = type(error).__name__
            raise
        finally:
            self._write(self._publish.record, time.monotonic() - began, site, labels)

    def waiting_for_connection(self, site: str) -> "Wait":
        return Wait(lambda seconds: self._write(self._pool.record, seconds, self._served(site)))

    def applied(self, consumer: str, site: str, delay: float) -> None:
        self._write(self._delay.record, max(0.0, delay), site, _group(consumer))

    def redelivered(self, consumer: str, site: str) -> None:
        self._write(self._redelivered.add, 1, site, _group(consumer))

    def duplicate(self, consumer: str, site: str) -> None:
        self._write(self._duplicate.add, 1, site, _group(consumer))

    def buried(self, consumer: str, site: str, reason: str) -> None:
        known = reason if _CODE.fullmatch(reason) else ""
        self._write(self._buried.add, 1, site, _group(consumer) | {"stepway.reason": known})

    def late(self, loop: str, site: str, seconds: float) -> None:
        self._write(self._lag.record, max(0.0, seconds), site, {"stepway.loop": loop})

    def loop_delayed(self, seconds: float) -> None:
        """Of the whole process: it belongs to no site."""
        self._write(self._loop_delay.record, max(0.0, seconds), "", {})

    def pending(self, site: str, lane: str, events: int) -> None:
        self._note("stepway.consumer.pending", site, events, {"stepway.lane": lane})

    def counted(self, site: str, counts: Mapping[str, int]) -> None:
        for name, count in counts.items():
            self._note(name, site, count)

    def outbox(self, waiting: Sequence[Waiting]) -> None:
        """What was found at all sites, those of other cells too: a relay sends for each."""
        self._waiting = waiting

    def close(self) -> None:
        """Push what was not pushed yet, and answer no more. May block, and may raise."""
        self._provider.shutdown()

    def _served(self, site: str) -> str:
        return site if site in self._sites else ""

    def _write(
        self, write: Callable[[float, Any], None], value: float, site: str, labels: Mapping[str, str] | None = None
    ) -> None:
        with suppress(Exception):
            write(value, {SITE: site, **(labels or {})})

    def _note(self, gauge: str, site: str, value: float, labels: Mapping[str, str] | None = None) -> None:
        if site in self._sites:
            self._last[gauge][((SITE, site), *(labels or {}).items())] = value

    def _noted(self, name: str) -> Iterable[Observation]:
        return [Observation(value, dict(labels)) for labels, value in list(self._last[name].items())]

    def _unpublished(self) -> Iterable[Observation]:
        return self._at_each_site({each.site: each.unpublished for each in self._waiting})

    def _blocked(self) -> Iterable[Observation]:
        return self._at_each_site({each.site: each.blocked for each in self._waiting})

    def _ages(self) -> Iterable[Observation]:
        """They grow by themselves, also while nobody can look."""
        now = datetime.now(UTC)
        ages = {each.site: (now - each.oldest).total_seconds() for each in self._waiting if each.oldest}
        return self._at_each_site({site: max(0.0, age) for site, age in ages.items()})

    def _at_each_site(self, found: Mapping[str, float]) -> Iterable[Observation]:
        return [Observation(found.get(site, 0), {SITE: site}) for site in self._sites | found.keys()]

    def _histogram(self, name: str, description: str, bounds: Sequence[float]) -> Any:
        return self._meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=bounds)

    def _counter(self, name: str, description: str) -> Any:
        return self._meter.create_counter(name, "{event}", description)

    def _watch(self, name: str, description: str, look: Look, unit: str = "{count}") -> None:
        def observed(_: CallbackOptions) -> Iterable[Observation]:
            return look()

        self._meter.create_observable_gauge(name, [observed], unit, description)


class Wait(AbstractContextManager["Wait"]):
    """From enter until it is said to be over, or until the end."""

    def __init__(self, took: Callable[[float], None]) -> None:
        self._took: Callable[[float], None] | None = took
        self._began = time.monotonic()

    def over(self) -> None:
        if self._took:
            self._took(time.monotonic() - self._began)
            self._took = None

    def __exit__(self, *_: object) -> None:
        self.over()


def _group(consumer: str) -> dict[str, str]:
    return {"messaging.consumer.group.name": consumer}
