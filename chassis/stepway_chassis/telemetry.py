"""Traces: which spans a service leaves, what they may say, and where they go; its metrics come along."""

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.json.file.trace_exporter import FileSpanExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes
from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine

from stepway_chassis.exposition import Scraped, pushed
from stepway_chassis.metrics import Metrics
from stepway_chassis.statements import Statements

SHORT_HOP = timedelta(seconds=60)

SERVER_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})

_SCHEDULE_DELAY_MS = 500
_QUEUE_LENGTH = 4096
_EXPORT_WITHIN_S = 2
_CLOSE_WITHIN_S = 3
_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_PROPAGATOR = TraceContextTextMapPropagator()


def start(
    service: str,
    *,
    cell: str = "shared",
    file: Path | None = None,
    endpoint: str | None = None,
    ratio: float = 1.0,
    exporters: Sequence[SpanExporter] = (),
    metrics_listen: str | None = None,
    readers: Sequence[MetricReader] = (),
) -> "Telemetry":
    """Trace one service: to a file of OTLP-JSON lines, to an OTLP gRPC collector, to exporters given by a test.

    `ratio` is the share of new traces that are kept; a trace begun elsewhere keeps the choice made there. Metrics go
    to the collector, to whoever scrapes `metrics_listen` ("host:port"), to readers given by a test.
    """
    processors: list[SpanProcessor] = [SimpleSpanProcessor(exporter) for exporter in exporters]
    if file:
        processors.append(_in_batches(FileSpanExporter(_private(file))))
    if endpoint:
        processors.append(_in_batches(_collector(endpoint)))
    resource = Resource.create({"service.name": service, "service.namespace": "stepway", "stepway.cell": cell})
    reading = [
        *readers,
        *([pushed(endpoint)] if endpoint else []),
        *([Scraped(metrics_listen)] if metrics_listen else []),
    ]
    return Telemetry(resource, ratio, processors, Metrics(reading, resource, exemplars=endpoint is not None))


class Telemetry:
    """The traces of one service; its spans are current in the ordinary OpenTelemetry context.

    No span carries the message of an exception, a parameter of a statement or a payload.
    """

    def __init__(self, resource: Resource, ratio: float, processors: Sequence[SpanProcessor], metrics: Metrics) -> None:
        self.metrics = metrics
        self._pipeline = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]
        for processor in processors:
            self._pipeline.add_span_processor(processor)
        self._tracer = self._tracer_of(resource, ParentBased(TraceIdRatioBased(ratio)))
        self._always = self._tracer_of(resource, ALWAYS_ON)

    def rpc_server(self, method: str, metadata: Mapping[str, str]) -> "RpcSpan":
        """Serve one call of "package.Service/Method", a name from the contract and never from the caller.

        A call that is not sampled and ends in a fault of ours leaves one root span.
        """
        span = self._begin(method, SpanKind.SERVER, _rpc(method), _PROPAGATOR.extract(metadata, Context()))
        return RpcSpan(span, SERVER_FAULTS.__contains__, self._leave_root(method), self._measure(method))

    def rpc_client(self, method: str, peer: str) -> "RpcSpan":
        """Call "package.Service/Method" at `peer`, a "host:port" or the name of a service."""
        span = self._begin(method, SpanKind.CLIENT, _rpc(method) | _server(peer))
        return RpcSpan(span, lambda code: code != "OK")

    def inject(self) -> dict[str, str]:
        """The current context as `traceparent` and `tracestate`."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)
        return carrier

    def send(
        self,
        subject_template: str,
        event_id: str,
        event_type: str,
        creation: Mapping[str, str],
        created_at: datetime,
        now: datetime,
    ) -> "OpenSpan":
        """The relay publishes one event that was created under the context `creation`."""
        attributes = _messaging("publish", "send", subject_template, event_id, event_type)
        name = f"publish {subject_template}"
        return OpenSpan(self._hop(name, SpanKind.PRODUCER, attributes, creation, now - created_at))

    def process(
        self,
        subject_template: str,
        event_id: str,
        event_type: str,
        consumer: str,
        creation: Mapping[str, str],
        created_at: datetime,
        now: datetime,
        site: str,
    ) -> "OpenSpan":
        """`consumer` handles one event of `site` that was created under the context `creation`."""
        attributes = _messaging("process", "process", subject_template, event_id, event_type)
        attributes |= {"messaging.consumer.group.name": consumer, "stepway.site": site}
        name = f"process {subject_template}"
        return OpenSpan(self._hop(name, SpanKind.CONSUMER, attributes, creation, now - created_at))

    def follow(self, name: str, creation: Mapping[str, str], created_at: datetime, now: datetime) -> "OpenSpan":
        """Later work that was asked for under the context `creation`, such as handing over a message."""
        return OpenSpan(self._hop(name, SpanKind.INTERNAL, {}, creation, now - created_at))

    def span(self, name: str) -> "OpenSpan":
        """Any other work worth a line in the waterfall, such as one round of a loop."""
        return OpenSpan(self._begin(name, SpanKind.INTERNAL, {}))

    def watch(self, engine: AsyncEngine | Engine) -> Statements:
        """Leave a span for every statement that runs inside a recorded span.

        What it returns leaves those of statements that go straight to the driver.
        """
        watched = engine.sync_engine if isinstance(engine, AsyncEngine) else engine
        statements = Statements(self._tracer)
        event.listen(watched, "before_cursor_execute", statements.begin)
        event.listen(watched, "after_cursor_execute", statements.end)
        event.listen(watched, "handle_error", statements.fail)
        return statements

    def close(self) -> None:
        """Send what is queued and stop. Blocks for at most three seconds and never raises."""
        stop = threading.Thread(target=self._shut_down, name="telemetry-close", daemon=True)
        with suppress(RuntimeError):
            stop.start()
            stop.join(_CLOSE_WITHIN_S)

    def _shut_down(self) -> None:
        for end in (self._pipeline.shutdown, self.metrics.close):
            with suppress(Exception):
                end()

    def _tracer_of(self, resource: Resource, sampler: Sampler) -> Tracer:
        provider = TracerProvider(
            sampler=sampler, resource=resource, shutdown_on_exit=False, active_span_processor=self._pipeline
        )
        return provider.get_tracer("stepway")

    def _begin(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        context: Context | None = None,
        links: Sequence[Link] = (),
    ) -> Span:
        return self._tracer.start_span(
            name, context, kind, attributes, links, record_exception=False, set_status_on_exception=False
        )

    def _hop(
        self, name: str, kind: SpanKind, attributes: dict[str, str], creation: Mapping[str, str], age: timedelta
    ) -> Span:
        """The one rule for every hop: always linked to the creation, and its child while that is young."""
        context = _PROPAGATOR.extract(creation, Context())
        creator = trace.get_current_span(context).get_span_context()
        links = [Link(creator)] if creator.is_valid else []
        return self._begin(name, kind, attributes, context if age <= SHORT_HOP else Context(), links)

    def _measure(self, method: str) -> Callable[["RpcSpan"], None]:
        began = time.monotonic()

        def measure(call: RpcSpan) -> None:
            code, site = call.outcome["rpc.response.status_code"], call.outcome.get("stepway.site", "")
            self.metrics.called(method, code, site, time.monotonic() - began)

        return measure

    def _leave_root(self, method: str) -> Callable[["RpcSpan"], None]:
        started_ns = time.time_ns()

        def leave(call: RpcSpan) -> None:
            root = self._always.start_span(
                method, Context(), SpanKind.SERVER, _rpc(method) | call.outcome, start_time=started_ns
            )
            root.set_attribute("stepway.unsampled_trace_id", call.trace_id)
            root.set_status(Status(StatusCode.ERROR))
            root.end()

        return leave


class OpenSpan:
    """A span that is current from enter to exit and learns only the class of an exception that passes."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self.outcome: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._token = attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind:
            self.failed(kind.__name__, _reason_of(error))
        self._finish()

    @property
    def trace_id(self) -> str:
        return trace.format_trace_id(self._span.get_span_context().trace_id)

    def set_site(self, site: str) -> None:
        self.outcome["stepway.site"] = site

    def failed(self, error_type: str, reason: str = "") -> None:
        """Say that the work failed: the class or code of the error, and its stable reason. The first word stands."""
        self.outcome.setdefault("error.type", error_type)
        self._because(reason)

    def _because(self, reason: str) -> None:
        if _REASON.fullmatch(reason):
            self.outcome["stepway.reason"] = reason

    def _finish(self) -> None:
        if "error.type" in self.outcome:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.set_attributes(self.outcome)
        detach(self._token)
        self._span.end()


class RpcSpan(OpenSpan):
    """One call, on the serving or the calling side."""

    def __init__(
        self,
        span: Span,
        is_error: Callable[[str], bool],
        when_unsampled: Callable[["RpcSpan"], None] | None = None,
        when_ended: Callable[["RpcSpan"], None] = lambda _: None,
    ) -> None:
        super().__init__(span)
        self._is_error = is_error
        self._when_unsampled = when_unsampled
        self._when_ended = when_ended

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if "rpc.response.status_code" not in self.outcome:
            self._ended_by(kind, _reason_of(error))
        self._when_ended(self)
        if "error.type" in self.outcome and self._when_unsampled and not self._span.is_recording():
            self._when_unsampled(self)
        self._finish()

    def ended(self, code_name: str, reason: str = "") -> None:
        """The call's status, such as NOT_FOUND, and the stable reason of an error."""
        self.outcome["rpc.response.status_code"] = code_name
        if self._is_error(code_name):
            self.failed(code_name)
        self._because(reason)

    def _ended_by(self, kind: type[BaseException] | None, reason: str) -> None:
        if kind is None:
            self.ended("OK")
        elif kind.__name__ == "CancelledError":
            self.ended("CANCELLED")
        else:
            self.failed(kind.__name__)
            self.ended("UNKNOWN", reason)


def _reason_of(error: BaseException | None) -> str:
    return str(getattr(error, "reason", ""))


def _rpc(method: str) -> dict[str, Any]:
    return {"rpc.system.name": "grpc", "rpc.method": method}


def _server(peer: str) -> dict[str, Any]:
    host, separator, port = peer.rpartition(":")
    if separator and port.isdecimal():
        return {"server.address": host.strip("[]"), "server.port": int(port)}
    return {"server.address": peer}


def _messaging(name: str, kind: str, subject_template: str, event_id: str, event_type: str) -> dict[str, str]:
    return {
        "messaging.system": "nats",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.template": subject_template,
        "messaging.message.id": event_id,
        "cloudevents.event_type": event_type,
    }


def _in_batches(exporter: SpanExporter) -> BatchSpanProcessor:
    return BatchSpanProcessor(exporter, max_queue_size=_QUEUE_LENGTH, schedule_delay_millis=_SCHEDULE_DELAY_MS)


def _collector(endpoint: str) -> OTLPSpanExporter:
    plain = not endpoint.startswith("https://")
    return OTLPSpanExporter(endpoint=endpoint, insecure=plain, timeout=_EXPORT_WITHIN_S)


def _private(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.chmod(0o600)
    return file
