"""What may stand beside a number, what is forgotten, and when a site is counted."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from structlog.testing import capture_logs

from stepway_chassis import counts, telemetry
from stepway_chassis.exposition import Scraped
from stepway_chassis.metrics import Metrics, Waiting
from stepway_chassis.telemetry import Telemetry

METHOD = "stepway.intake.v1.ReferralService/ReceiveReferral"
NORTHSIDE, LAKESIDE = "northside", "lakeside"
PRIVATE = "Jane Roe, +1 555 0100"


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def intake(reader: InMemoryMetricReader) -> Iterator[Telemetry]:
    measured = telemetry.start("intake", cell="north", readers=[reader])
    measured.metrics.serve(frozenset({NORTHSIDE}))
    yield measured
    measured.close()


@pytest.fixture
def metrics(intake: Telemetry) -> Metrics:
    return intake.metrics


def points(reader: InMemoryMetricReader, name: str) -> list[Any]:
    data = reader.get_metrics_data()
    found = (scope.metrics for resource in data.resource_metrics for scope in resource.scope_metrics) if data else ()
    return [
        point for metrics in found for metric in metrics if metric.name == name for point in metric.data.data_points
    ]


def labels(reader: InMemoryMetricReader, name: str) -> dict[str, str]:
    (point,) = points(reader, name)
    return dict(point.attributes)


def values(reader: InMemoryMetricReader, name: str) -> dict[str, float]:
    return {point.attributes["stepway.site"]: point.value for point in points(reader, name)}


def test_a_call_is_measured_with_method_code_and_site(intake: Telemetry, reader: InMemoryMetricReader) -> None:
    with intake.rpc_server(METHOD, {}) as call:
        call.set_site(NORTHSIDE)
        call.ended("NOT_FOUND", "REFERRAL_NOT_FOUND")
    assert labels(reader, "rpc.server.call.duration") == {
        "rpc.system.name": "grpc",
        "rpc.method": METHOD,
        "rpc.response.status_code": "NOT_FOUND",
        "stepway.site": NORTHSIDE,
    }


def test_a_call_that_ends_in_an_exception_is_measured_too(intake: Telemetry, reader: InMemoryMetricReader) -> None:
    with pytest.raises(RuntimeError), intake.rpc_server(METHOD, {}):
        raise RuntimeError(PRIVATE)
    assert labels(reader, "rpc.server.call.duration")["rpc.response.status_code"] == "UNKNOWN"


@pytest.mark.parametrize("site", ["", LAKESIDE, PRIVATE])
def test_a_site_that_is_not_served_here_is_no_label(metrics: Metrics, reader: InMemoryMetricReader, site: str) -> None:
    metrics.called(METHOD, "OK", site, 0.1)
    with metrics.waiting_for_connection(site):
        pass
    assert labels(reader, "rpc.server.call.duration")["stepway.site"] == ""
    assert labels(reader, "db.client.connection.wait_time")["stepway.site"] == ""


def test_a_reason_that_is_none_is_no_label(metrics: Metrics, reader: InMemoryMetricReader) -> None:
    metrics.buried("page_clinician", NORTHSIDE, PRIVATE)
    assert labels(reader, "stepway.dead_letters.buried")["stepway.reason"] == ""


def test_a_publication_that_fails_says_how(metrics: Metrics, reader: InMemoryMetricReader) -> None:
    with pytest.raises(ConnectionError), metrics.publishing("evt.v1.{site}.general.intake.noted", NORTHSIDE):
        raise ConnectionError(PRIVATE)
    said = labels(reader, "messaging.client.operation.duration")
    assert (said["error.type"], said["stepway.site"]) == ("ConnectionError", NORTHSIDE)
    assert PRIVATE not in str(said)


def test_waiting_for_a_connection_ends_when_there_is_one(metrics: Metrics, reader: InMemoryMetricReader) -> None:
    with metrics.waiting_for_connection(NORTHSIDE) as wait:
        wait.over()
        wait.over()
    (point,) = points(reader, "db.client.connection.wait_time")
    assert point.count == 1


def test_a_clock_that_is_behind_makes_no_negative_delay(metrics: Metrics, reader: InMemoryMetricReader) -> None:
    metrics.applied("page_clinician", NORTHSIDE, -3.0)
    metrics.late("watchdog", NORTHSIDE, -0.1)
    assert {point.sum for name in ("stepway.event.delay", "stepway.loop.lag") for point in points(reader, name)} == {
        0.0
    }


def test_a_site_that_has_left_keeps_no_count_and_gets_none(metrics: Metrics, reader: InMemoryMetricReader) -> None:
    metrics.gauge("stepway.risk_flags.open", "Open.")
    metrics.serve(frozenset({NORTHSIDE, LAKESIDE}))
    metrics.counted(NORTHSIDE, {"stepway.risk_flags.open": 2})
    metrics.counted(LAKESIDE, {"stepway.risk_flags.open": 1})
    metrics.serve(frozenset({LAKESIDE}))
    metrics.counted(NORTHSIDE, {"stepway.risk_flags.open": 2})
    assert values(reader, "stepway.risk_flags.open") == {LAKESIDE: 1}


def test_the_age_of_the_outbox_grows_while_nobody_looks(metrics: Metrics, reader: InMemoryMetricReader) -> None:
    metrics.outbox([Waiting(NORTHSIDE, 3, datetime.now(UTC) - timedelta(minutes=5), 1), Waiting(LAKESIDE, 1, None, 0)])
    first, second = (values(reader, "stepway.outbox.age")[NORTHSIDE] for _ in range(2))
    assert 300 <= first < second < 400
    assert values(reader, "stepway.outbox.unpublished") == {NORTHSIDE: 3, LAKESIDE: 1}
    assert values(reader, "stepway.outbox.blocked") == {NORTHSIDE: 1, LAKESIDE: 0}
    metrics.outbox([])
    assert values(reader, "stepway.outbox.age") == {NORTHSIDE: 0}


def test_measuring_never_raises(metrics: Metrics) -> None:
    nonsense: Any = object()
    metrics.called(METHOD, nonsense, NORTHSIDE, nonsense)
    metrics.duplicate(nonsense, NORTHSIDE)


class Collector(metrics_service_pb2_grpc.MetricsServiceServicer):
    """Keeps what is pushed to it."""

    def __init__(self) -> None:
        self.pushed: list[Any] = []

    def Export(self, request: Any, context: object) -> Any:
        self.pushed.append(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    server, kept = grpc.server(ThreadPoolExecutor(1)), Collector()
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(kept, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield kept, f"http://127.0.0.1:{port}"
    server.stop(None)


def test_numbers_are_pushed_to_a_collector_with_the_trace_of_a_sampled_call(collector: tuple[Collector, str]) -> None:
    kept, endpoint = collector
    intake = telemetry.start("intake", endpoint=endpoint)
    with intake.rpc_server(METHOD, {}) as call:
        trace_id = call.trace_id
    intake.close()
    found = {
        metric.name: metric
        for request in kept.pushed
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    (point,) = found["rpc.server.call.duration"].histogram.data_points
    assert [exemplar.trace_id.hex() for exemplar in point.exemplars] == [trace_id]


def test_a_port_that_is_taken_is_said_and_keeps_nobody_away() -> None:
    first = Scraped("127.0.0.1:0")
    with capture_logs() as said:
        second = Scraped(f"127.0.0.1:{first.port}")
    assert (second.port, [line["event"] for line in said]) == (0, ["metrics.unserved"])
    first.shutdown()
    second.shutdown()


def test_a_site_is_looked_at_when_it_was_touched_or_its_time_has_come() -> None:
    known = {"touched": 900.0, "due": 99.0, "long due": 50.0, "later": 101.0}
    assert counts.due(known, {"touched", "elsewhere"}, now=100.0) == ["long due", "due", "touched"]
    assert "elsewhere" not in known


def test_one_look_takes_no_more_than_it_may_and_leaves_out_nobody() -> None:
    known = {f"site-{number:03}": float(number) for number in range(100)}
    taken = counts.due(known, set(known), now=1000.0)
    assert taken == sorted(known)[: counts.MOST]
    known |= dict.fromkeys(taken, 2000.0)
    assert not set(counts.due(known, (), now=1000.0)) & set(taken)
