"""How a trace is read from its files, found, and drawn."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from stepway_chassis import telemetry
from stepway_cli import trace
from stepway_cli.trace import Link, Span, TraceAmbiguous, TraceNotFound

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOON_NS = int(NOON.timestamp()) * 1_000_000_000
METHOD = "stepway.intake.v1.ReferralService/ReceiveReferral"
SUBJECT = "evt.v1.{site}.{label}.intake.referral_received"
TRACE = "abcd" * 8


def a_span(span_id: str, parent_id: str = "", *, at: float = 0, took: float = 1, **changes: object) -> Span:
    """A span that begins `at` and `took` so many milliseconds, counted from noon."""
    begins = NOON_NS + int(at * 1e6)
    span = Span(
        trace_id=TRACE,
        span_id=span_id,
        parent_id=parent_id,
        service="intake",
        name=span_id,
        kind="INTERNAL",
        start_ns=begins,
        end_ns=begins + int(took * 1e6),
        attributes={},
        links=(),
        failed=False,
    )
    return replace(span, **changes)


def a_query(span_id: str, parent_id: str, *, at: float, verb: str = "INSERT", **changes: object) -> Span:
    attributes = {"db.system.name": "postgresql", "db.operation.name": verb, **changes.pop("attributes", {})}
    return a_span(span_id, parent_id, at=at, kind="CLIENT", name=f"{verb} referral", attributes=attributes, **changes)


def drawn(spans: Sequence[Span], *, width: int = 100, detail: bool = False) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(trace.waterfall(spans, detail=detail))
    return [line.rstrip() for line in captured.get().splitlines()]


def labels(spans: Sequence[Span], *, detail: bool = False) -> list[tuple[int, str]]:
    return [(row.depth, row.label) for row in trace.rows(spans, detail=detail)]


JOURNEY = [
    a_span("process", "serve", at=50, took=50, service="notifications"),
    a_span("serve", at=0, took=40),
    a_span("decide", "serve", at=10, took=10),
    a_query("q2", "decide", at=14, verb="SELECT"),
    a_query("q1", "decide", at=12),
    a_query("q3", "decide", at=16),
]


def test_files_written_by_services_are_read_as_one_trace(tmp_path: Path):
    files = {name: tmp_path / "traces" / f"{name}.jsonl" for name in ("intake", "notifications")}
    intake, notifications = (telemetry.start(name, file=file) for name, file in files.items())
    with intake.rpc_server(METHOD, {}) as call:
        creation = intake.inject()
        call.ended("INTERNAL", "DATABASE_AWAY")
    for later in (timedelta(0), timedelta(hours=1)):
        with notifications.process(SUBJECT, "1", "t", "welcome", creation, NOON, NOON + later, "northside"):
            pass
    intake.close()
    notifications.close()
    spans = trace.load(tmp_path)
    served, processed = trace.find(spans, "latest")
    assert (served.service, served.kind, served.failed, served.parent_id) == ("intake", "SERVER", True, "")
    assert served.complaints == ["INTERNAL", "DATABASE_AWAY"]
    assert (processed.service, processed.kind, processed.parent_id) == ("notifications", "CONSUMER", served.span_id)
    assert processed.links == (Link(served.trace_id, served.span_id),)
    assert processed.attributes["messaging.consumer.group.name"] == "welcome"
    (continuation,) = trace.continued_in(spans, served.trace_id)
    assert f"↗ trace {served.trace_id[:8]}…" in drawn(trace.find(spans, continuation))[2]


def test_a_half_written_last_line_is_left_out(tmp_path: Path):
    file = tmp_path / "traces" / "intake.jsonl"
    traced = telemetry.start("intake", file=file)
    with traced.span("work"):
        pass
    traced.close()
    whole = file.read_text()
    file.write_text(whole + whole[: len(whole) // 2])
    assert [span.name for span in trace.load(tmp_path)] == ["work"]


def test_a_folder_without_traces_holds_none(tmp_path: Path):
    assert trace.load(tmp_path) == []
    with pytest.raises(TraceNotFound):
        trace.find([], "latest")


def test_spans_are_grouped_by_trace_in_order_of_their_start():
    early, late = a_span("a", trace_id="1" * 32), a_span("b", at=5, trace_id="2" * 32)
    assert trace.traces([late, early]) == {"1" * 32: [early], "2" * 32: [late]}


def test_latest_is_the_last_trace_that_crossed_services():
    crossing = [a_span("a"), a_span("b", "a", service="notifications")]
    loop = [a_span("c", at=9, trace_id="2" * 32)]
    assert trace.find(crossing + loop, "latest") == crossing
    assert trace.find(loop, "latest") == loop


def test_a_trace_is_found_by_the_first_characters_of_its_id():
    one, other = a_span("a", trace_id="abcd1" + "0" * 27), a_span("b", trace_id="abcd2" + "0" * 27)
    assert trace.find([one, other], "ABCD1") == [one]
    assert trace.find([one, other], other.trace_id) == [other]


@pytest.mark.parametrize(
    ("wanted", "error", "reason"),
    [
        ("abcd", TraceAmbiguous, "TRACE_AMBIGUOUS"),
        ("abc", TraceAmbiguous, "TRACE_AMBIGUOUS"),
        ("", TraceAmbiguous, "TRACE_AMBIGUOUS"),
        ("ffff", TraceNotFound, "TRACE_NOT_FOUND"),
        ("zz\x1b[2J", TraceNotFound, "TRACE_NOT_FOUND"),
    ],
)
def test_a_name_that_fits_no_trace_or_several_is_refused(wanted, error, reason):
    spans = [a_span("a", trace_id="abcd1" + "0" * 27), a_span("b", trace_id="abcd2" + "0" * 27)]
    with pytest.raises(error) as refused:
        trace.find(spans, wanted)
    assert refused.value.reason == reason
    assert "\x1b" not in str(refused.value)


def test_children_stand_under_their_parents_in_order_of_their_start():
    assert labels(JOURNEY, detail=True) == [
        (0, "serve"),
        (1, "decide"),
        (2, "INSERT referral"),
        (2, "SELECT referral"),
        (2, "INSERT referral"),
        (1, "process"),
    ]


def test_the_statements_of_one_span_share_a_line_unless_detail_is_asked():
    assert labels(JOURNEY) == [(0, "serve"), (1, "decide"), (2, "3 × INSERT/SELECT"), (1, "process")]
    assert labels([a_span("serve"), a_query("q", "serve", at=0)])[1] == (1, "INSERT referral")


def test_bars_are_drawn_to_one_scale():
    lines = drawn(JOURNEY)
    assert lines[0] == f"trace {TRACE} · 2026-11-21 12:00:00 UTC · 100.0 ms · 6 spans"
    start = lines[1].index(" 0 ") + 1
    bars = {line[:start].split()[1]: line[start:] for line in lines[2:]}
    width = 100 - start
    assert bars["serve"] == "━" * ceil(width * 0.4)
    assert bars["process"] == " " * (width // 2) + "━" * (width - width // 2)
    assert "  10.0     10.0 " in lines[3]
    assert "  12.0      3.0 " in lines[4]
    assert "  50.0     50.0 " in lines[5]


def test_an_instant_still_shows():
    assert drawn([a_span("a", took=0)])[2].endswith("━")
    assert drawn([a_span("a", took=100), a_span("b", "a", at=100, took=0)])[3].endswith("━")


def test_a_span_whose_parent_is_not_on_file_stands_as_a_root():
    assert labels([a_span("b", "lost", at=1), a_span("a")]) == [(0, "a"), (0, "b")]


@pytest.mark.parametrize("width", [60, 80, 100, 120])
@pytest.mark.parametrize("detail", [True, False])
def test_every_line_fits_its_console(width, detail):
    deep = [a_span(f"s{n}", f"s{n - 1}" if n else "", at=n, name="stepway.intake.v1.X/" + "y" * 90) for n in range(40)]
    wide = [a_span("a", service="服务" * 20, name="名" * 90, links=(Link("9" * 32, "1"),), failed=True)]
    for spans in (deep, wide, JOURNEY):
        assert max(cell_len(line) for line in drawn(spans, width=width, detail=detail)) <= width


def test_names_lose_their_package_and_their_subject_unless_detail_is_asked():
    spans = [
        a_span("a", name=METHOD, kind="SERVER"),
        a_span("b", "a", name=METHOD, kind="CLIENT"),
        a_span("c", "a", name=f"publish {SUBJECT}", kind="PRODUCER"),
    ]
    short = [name for _, name in labels(spans)]
    assert short == [
        "ReferralService/ReceiveReferral",
        "→ ReferralService/ReceiveReferral",
        "publish intake.referral_received",
    ]
    assert [name for _, name in labels(spans, detail=True)] == [METHOD, METHOD, f"publish {SUBJECT}"]


def test_an_error_is_red_and_says_its_code():
    failed = a_query("q", "a", at=0, failed=True, attributes={"error.type": "23505"})
    console = Console(width=100, force_terminal=True, color_system="standard")
    with console.capture() as captured:
        console.print(trace.waterfall([a_span("a"), failed]))
    assert "\x1b[31m 23505\x1b[0m" in captured.get()


def test_a_refusal_says_its_code_and_in_detail_its_reason():
    refused = a_span("a", attributes={"rpc.response.status_code": "NOT_FOUND", "stepway.reason": "REFERRAL_NOT_FOUND"})
    assert "a NOT_FOUND  " in drawn([refused])[2]
    assert "a NOT_FOUND REFERRAL_NOT_FOUND" in drawn([refused], detail=True)[2]


def test_nothing_from_a_file_steers_the_terminal():
    hostile = "a\x1b[2J\nb\u202e[red]c"
    lines = drawn([a_span("s", name=hostile, service=hostile, attributes={"error.type": hostile})], detail=True)
    assert len(lines) == 3
    assert not {"\x1b", "\u202e"} & set("".join(lines))
    assert "a\\x1b[2J" in lines[2]


def test_nothing_is_drawn_of_nothing():
    assert drawn([]) == []


def test_json_has_the_order_of_the_waterfall_and_times_from_its_start():
    told = json.loads(trace.as_json(JOURNEY))
    assert [(span["name"], span["depth"]) for span in told][:2] == [("serve", 0), ("decide", 1)]
    assert [(span["offset_ms"], span["duration_ms"]) for span in told][:2] == [(0.0, 40.0), (10.0, 10.0)]
    assert told[-1]["service"] == "notifications"
