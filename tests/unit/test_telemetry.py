"""What spans a service leaves, how they hang together, and what they never say."""

import json
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asyncpg import UniqueViolationError
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError

from stepway_chassis import statements, telemetry
from stepway_chassis.telemetry import SHORT_HOP, Telemetry

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
METHOD = "stepway.intake.v1.ReferralService/ReceiveReferral"
SUBJECT = "evt.v1.{site}.{label}.intake.referral_received"
EVENT_TYPE = "stepway.intake.v1.ReferralReceived"
EVENT_ID = "019ab000-0000-7000-8000-000000000001"
PRIVATE = "Jane Roe, +1 555 0100"

CALLER_TRACE, CALLER_SPAN = "a" * 32, "b" * 16
CALLER = {"traceparent": f"00-{CALLER_TRACE}-{CALLER_SPAN}-01", "tracestate": "vendor=1"}
UNSAMPLED_CALLER = {"traceparent": f"00-{CALLER_TRACE}-{CALLER_SPAN}-00"}


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def intake(spans: InMemorySpanExporter) -> Iterator[Telemetry]:
    traced = telemetry.start("intake", cell="north", exporters=[spans])
    yield traced
    traced.close()


@pytest.fixture
def connection(intake: Telemetry) -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    intake.watch(engine)
    with engine.connect() as opened:
        opened.execute(text("CREATE TABLE referral (id INTEGER PRIMARY KEY, name TEXT)"))
        yield opened
    engine.dispose()


def only(spans: InMemorySpanExporter) -> ReadableSpan:
    (span,) = spans.get_finished_spans()
    return span


def ids(span: ReadableSpan) -> tuple[str, str]:
    return format_trace_id(span.context.trace_id), format_span_id(span.context.span_id)


def parent(span: ReadableSpan) -> str | None:
    return format_span_id(span.parent.span_id) if span.parent else None


def links(span: ReadableSpan) -> list[tuple[str, str]]:
    return [(format_trace_id(link.context.trace_id), format_span_id(link.context.span_id)) for link in span.links]


def process(traced: Telemetry, *, age: timedelta, creation: dict[str, str] = CALLER) -> telemetry.OpenSpan:
    return traced.process(SUBJECT, EVENT_ID, EVENT_TYPE, "welcome", creation, NOON, NOON + age, "northside")


def test_a_served_call_is_a_server_span_under_its_caller(intake, spans):
    with intake.rpc_server(METHOD, CALLER) as call:
        call.set_site("northside")
        call.ended("OK")
    span = only(spans)
    assert (span.name, span.kind, parent(span)) == (METHOD, SpanKind.SERVER, CALLER_SPAN)
    assert ids(span)[0] == CALLER_TRACE
    assert dict(span.attributes) == {
        "rpc.system.name": "grpc",
        "rpc.method": METHOD,
        "rpc.response.status_code": "OK",
        "stepway.site": "northside",
    }


def test_spans_name_their_service_and_cell(intake, spans):
    with intake.span("audit.seal"):
        pass
    said = only(spans).resource.attributes
    assert [said[key] for key in ("service.name", "service.namespace", "stepway.cell")] == [
        "intake",
        "stepway",
        "north",
    ]


def test_a_served_call_without_a_parent_ignores_whatever_span_is_current(intake, spans):
    with intake.span("loop.round"), intake.rpc_server(METHOD, {}):
        pass
    assert parent(spans.get_finished_spans()[0]) is None


def test_a_call_that_says_nothing_ended_well(intake, spans):
    with intake.rpc_server(METHOD, {}):
        pass
    assert only(spans).attributes["rpc.response.status_code"] == "OK"


@pytest.mark.parametrize("code", sorted(telemetry.SERVER_FAULTS))
def test_a_fault_of_the_server_marks_its_span(intake, spans, code):
    with intake.rpc_server(METHOD, {}) as call:
        call.ended(code, "DATABASE_AWAY")
    span = only(spans)
    assert not span.status.is_ok
    assert span.attributes["error.type"] == span.attributes["rpc.response.status_code"] == code
    assert span.attributes["stepway.reason"] == "DATABASE_AWAY"


@pytest.mark.parametrize("code", ["NOT_FOUND", "PERMISSION_DENIED", "FAILED_PRECONDITION", "CANCELLED"])
def test_a_refusal_is_an_error_to_the_caller_and_not_to_the_server(intake, spans, code):
    with intake.rpc_client(METHOD, "intake:5001") as asked, intake.rpc_server(METHOD, intake.inject()) as served:
        served.ended(code, "REFERRAL_NOT_FOUND")
        asked.ended(code, "REFERRAL_NOT_FOUND")
    server, client = spans.get_finished_spans()
    assert server.status.is_ok
    assert "error.type" not in server.attributes
    assert not client.status.is_ok
    assert client.attributes["error.type"] == code


def test_an_outgoing_call_is_a_client_span_that_the_server_continues(intake, spans):
    with intake.rpc_client(METHOD, "127.0.0.1:5001"), intake.rpc_server(METHOD, intake.inject()):
        pass
    server, client = spans.get_finished_spans()
    assert client.kind is SpanKind.CLIENT
    assert (client.attributes["server.address"], client.attributes["server.port"]) == ("127.0.0.1", 5001)
    assert parent(server) == ids(client)[1]


def test_the_current_context_travels_as_traceparent_and_tracestate(intake):
    with intake.rpc_server(METHOD, CALLER):
        carried = intake.inject()
    assert carried["traceparent"].startswith(f"00-{CALLER_TRACE}-")
    assert carried["tracestate"] == "vendor=1"
    assert intake.inject() == {}


def test_a_publish_is_a_producer_span(intake, spans):
    with intake.send(SUBJECT, EVENT_ID, EVENT_TYPE, CALLER, NOON, NOON):
        pass
    span = only(spans)
    assert (span.name, span.kind) == (f"publish {SUBJECT}", SpanKind.PRODUCER)
    assert dict(span.attributes) == {
        "messaging.system": "nats",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.template": SUBJECT,
        "messaging.message.id": EVENT_ID,
        "cloudevents.event_type": EVENT_TYPE,
    }


def test_a_handled_event_is_a_consumer_span(intake, spans):
    with process(intake, age=timedelta(0)):
        pass
    span = only(spans)
    assert (span.name, span.kind) == (f"process {SUBJECT}", SpanKind.CONSUMER)
    assert span.attributes["messaging.operation.name"] == span.attributes["messaging.operation.type"] == "process"
    assert span.attributes["messaging.consumer.group.name"] == "welcome"
    assert span.attributes["stepway.site"] == "northside"


@pytest.mark.parametrize("age", [timedelta(0), SHORT_HOP, timedelta(seconds=-3)])
def test_a_short_hop_is_a_child_of_the_creation_and_linked_to_it(intake, spans, age):
    with process(intake, age=age), intake.send(SUBJECT, EVENT_ID, EVENT_TYPE, CALLER, NOON, NOON + age):
        pass
    for span in spans.get_finished_spans():
        assert (ids(span)[0], parent(span)) == (CALLER_TRACE, CALLER_SPAN)
        assert links(span) == [(CALLER_TRACE, CALLER_SPAN)]


def test_a_long_hop_is_a_new_root_linked_to_the_creation(intake, spans):
    age = SHORT_HOP + timedelta(milliseconds=1)
    with process(intake, age=age), intake.send(SUBJECT, EVENT_ID, EVENT_TYPE, CALLER, NOON, NOON + age):
        pass
    for span in spans.get_finished_spans():
        assert parent(span) is None
        assert ids(span)[0] != CALLER_TRACE
        assert links(span) == [(CALLER_TRACE, CALLER_SPAN)]


@pytest.mark.parametrize("creation", [{}, {"traceparent": "not a trace"}])
def test_an_event_without_a_creation_context_is_a_root_without_links(intake, spans, creation):
    with intake.span("loop.round"), process(intake, age=timedelta(0), creation=creation):
        pass
    assert (parent(spans.get_finished_spans()[0]), links(spans.get_finished_spans()[0])) == (None, [])


def test_a_consumer_says_why_an_event_became_a_dead_letter(intake, spans):
    with process(intake, age=timedelta(0)) as work:
        work.failed("ReferralNotWaiting", "REFERRAL_NOT_WAITING")
    span = only(spans)
    assert not span.status.is_ok
    assert span.attributes["error.type"] == "ReferralNotWaiting"
    assert span.attributes["stepway.reason"] == "REFERRAL_NOT_WAITING"


def test_a_refusal_that_passes_through_gives_its_reason(intake, spans):
    class Refused(Exception):
        reason = "CONSENT_MISSING"

    for work in (intake.span("work"), intake.rpc_server(METHOD, {}), process(intake, age=timedelta(0))):
        with pytest.raises(Refused), work:
            raise Refused(PRIVATE)
    for span in spans.get_finished_spans():
        assert (span.attributes["error.type"], span.attributes["stepway.reason"]) == ("Refused", "CONSENT_MISSING")


def test_a_statement_is_a_client_span_of_the_work_that_ran_it(intake, spans, connection):
    with intake.span("work"):
        connection.execute(text("INSERT INTO referral (id, name) VALUES (:id, :name)"), {"id": 1, "name": PRIVATE})
    statement, work = spans.get_finished_spans()
    assert (statement.name, statement.kind, parent(statement)) == ("INSERT referral", SpanKind.CLIENT, ids(work)[1])
    assert dict(statement.attributes) == {
        "db.system.name": "postgresql",
        "db.operation.name": "INSERT",
        "db.collection.name": "referral",
        "db.query.text": "INSERT INTO referral (id, name) VALUES (?, ?)",
    }


def test_statements_of_a_loop_that_nobody_traces_leave_nothing(intake, spans, connection):
    connection.execute(text("SELECT id FROM referral"))
    assert spans.get_finished_spans() == ()


def test_a_failed_statement_says_only_the_class_of_its_error(intake, spans, connection):
    with intake.span("work"), pytest.raises(OperationalError):
        connection.execute(text("SELECT * FROM absent WHERE name = :name"), {"name": PRIVATE})
    statement = spans.get_finished_spans()[0]
    assert statement.attributes["error.type"] == "OperationalError"
    assert not statement.status.is_ok


def test_a_statement_on_the_driver_leaves_the_same_span_and_none_where_nobody_traces(intake, spans):
    driven = intake.watch(create_engine("sqlite://"))
    with driven.span("SELECT name FROM referral WHERE id = $1"):
        pass
    assert spans.get_finished_spans() == ()
    with intake.span("work"), driven.span("SELECT name FROM referral WHERE id = $1"):
        pass
    statement, work = spans.get_finished_spans()
    assert (statement.name, statement.kind, parent(statement)) == ("SELECT referral", SpanKind.CLIENT, ids(work)[1])
    assert statement.attributes["db.query.text"] == "SELECT name FROM referral WHERE id = $1"


def test_a_failed_statement_on_the_driver_says_only_the_class_of_its_error(intake, spans):
    driven = intake.watch(create_engine("sqlite://"))
    with pytest.raises(UniqueViolationError), intake.span("work"), driven.span("INSERT INTO referral VALUES ($1)"):
        raise UniqueViolationError(PRIVATE)
    statement = spans.get_finished_spans()[0]
    assert statement.attributes["error.type"] == statement.attributes["db.response.status_code"] == "23505"
    assert not statement.status.is_ok
    assert PRIVATE not in statement.to_json()


@pytest.mark.parametrize(
    ("statement", "name", "query"),
    [
        ("select 1", "SELECT", "select ?"),
        ("SELECT enter_site($1, $2)", "SELECT", "SELECT enter_site($1, $2)"),
        ("SELECT extract(epoch FROM at) FROM work.due", "SELECT work.due", None),
        ("WITH due AS (SELECT id FROM work) UPDATE outbox SET x = $1", "UPDATE outbox", None),
        ('DELETE FROM ONLY "inbox" WHERE id = $1', "DELETE inbox", None),
        ("SET LOCAL app.site = 'northside'", "SET", "SET LOCAL app.site = ?"),
        ("SELECT 'it''s', E'it\\'s', $$it$$, 5550100 -- it", "SELECT", "SELECT ?, ?, ?, ? ?"),
        ("SELECT id FROM t1 WHERE name = 'Jane", "SELECT t1", "SELECT id FROM t1 WHERE name = ?"),
        ("SELECT id FROM t1 WHERE name = E'Jane\\'s", "SELECT t1", "SELECT id FROM t1 WHERE name = ?"),
        ("DO $body$ Jane", "DO", "DO ?"),
        ("SELECT $1 /* Jane", "SELECT", "SELECT $1 ?"),
    ],
)
def test_a_statement_is_named_by_verb_and_table_and_shows_no_literal(intake, spans, statement, name, query):
    described = statements._describe(statement)
    assert described.name == name
    assert query is None or described.attributes["db.query.text"] == query


def test_a_very_long_statement_is_cut(intake, spans, connection):
    with intake.span("work"):
        connection.execute(text(" ".join(["SELECT id FROM referral WHERE id = 1", *["OR id = 1"] * 600])))
    statement = spans.get_finished_spans()[0]
    assert statement.name == "SELECT referral"
    assert len(statement.attributes["db.query.text"]) <= 4000


def test_no_span_repeats_the_message_of_an_exception(intake, spans, connection):
    query = text("SELECT * FROM absent WHERE name = :name")
    for work in (
        intake.rpc_server(METHOD, CALLER),
        intake.rpc_client(METHOD, "intake:5001"),
        intake.send(SUBJECT, EVENT_ID, EVENT_TYPE, CALLER, NOON, NOON),
        process(intake, age=timedelta(0)),
        intake.span("work"),
    ):
        with pytest.raises(OperationalError, match="Jane"), work:
            connection.execute(query, {"name": PRIVATE})
    finished = spans.get_finished_spans()
    assert len(finished) == 10
    assert all(span.events == () and span.status.description is None for span in finished)
    assert "Jane" not in "".join(span.to_json() for span in finished)
    assert {span.attributes["error.type"] for span in finished} == {"OperationalError"}


def test_a_reason_that_is_not_a_code_is_left_out(intake, spans):
    with intake.rpc_server(METHOD, {}) as call:
        call.ended("INTERNAL", PRIVATE)
    assert "stepway.reason" not in only(spans).attributes


def test_an_unsampled_call_that_fails_leaves_one_root(spans):
    traced = telemetry.start("intake", ratio=0.0, exporters=[spans])
    with traced.rpc_server(METHOD, UNSAMPLED_CALLER) as call:
        call.set_site("northside")
        with traced.span("work"):
            call.ended("UNAVAILABLE", "DATABASE_AWAY")
    root = only(spans)
    assert (root.name, root.kind, parent(root)) == (METHOD, SpanKind.SERVER, None)
    assert not root.status.is_ok
    assert root.attributes["stepway.unsampled_trace_id"] == CALLER_TRACE
    assert root.attributes["stepway.reason"] == "DATABASE_AWAY"
    assert root.attributes["rpc.response.status_code"] == "UNAVAILABLE"
    assert root.attributes["stepway.site"] == "northside"
    assert root.start_time < root.end_time


@pytest.mark.parametrize("code", ["OK", "NOT_FOUND"])
def test_an_unsampled_call_without_a_fault_leaves_nothing(spans, code):
    traced = telemetry.start("intake", ratio=0.0, exporters=[spans])
    with traced.rpc_server(METHOD, {}) as call:
        call.ended(code)
    assert spans.get_finished_spans() == ()


def test_two_services_of_one_process_share_traces_and_keep_their_names(spans):
    intake, notifications = (telemetry.start(name, exporters=[spans]) for name in ("intake", "notifications"))
    with intake.rpc_client(METHOD, "notifications"), notifications.rpc_server(METHOD, intake.inject()):
        pass
    finished = spans.get_finished_spans()
    assert [span.resource.attributes["service.name"] for span in finished] == ["notifications", "intake"]
    assert len({ids(span)[0] for span in finished}) == 1


def test_a_file_is_private_and_complete_after_close(tmp_path: Path):
    file = tmp_path / "traces" / "intake.jsonl"
    traced = telemetry.start("intake", file=file)
    with traced.span("work"):
        pass
    traced.close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (line,) = file.read_text().splitlines()
    assert json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"] == "work"


class Broken(SpanExporter):
    def export(self, spans: object) -> SpanExportResult:
        raise ConnectionError(PRIVATE)

    def shutdown(self) -> None:
        raise ConnectionError(PRIVATE)


def test_a_broken_exporter_fails_no_call_and_no_close():
    traced = telemetry.start("intake", exporters=[Broken()])
    with traced.rpc_server(METHOD, {}) as call:
        call.ended("OK")
    traced.close()
    traced.close()
