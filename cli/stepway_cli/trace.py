"""One trace from a referral to the text message that it caused, drawn in the terminal."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions
from rich.text import Text

LATEST = "latest"
SHORTEST_PREFIX = 4

_PALETTE = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")
_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUS_ERROR = 2
_PACKAGE = re.compile(r"^(?:[a-z_]\w*\.)+(?=[A-Z])")
_SUBJECT = re.compile(r"^(\w+) \S*\.(\w+\.\w+)$")
_NARROWEST = 60
_WIDEST_SERVICE = 14
_NARROWEST_BAR = 16


class TraceNotFound(Exception):
    """TRACE_NOT_FOUND: no trace on file answers to that name."""

    reason = "TRACE_NOT_FOUND"


class TraceAmbiguous(Exception):
    """TRACE_AMBIGUOUS: several traces begin like that, or too few characters were given to tell."""

    reason = "TRACE_AMBIGUOUS"


@dataclass(frozen=True)
class Link:
    trace_id: str
    span_id: str

    def leaves(self, span: "Span") -> bool:
        return self.trace_id != span.trace_id


@dataclass(frozen=True)
class Span:
    """One span as it was written; times are nanoseconds since 1970, `parent_id` is empty at a root."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    links: tuple[Link, ...]
    failed: bool

    @property
    def is_query(self) -> bool:
        return "db.system.name" in self.attributes

    @property
    def complaints(self) -> list[str]:
        """The code, class and reason of an outcome that is not plain success, the most telling first."""
        code = self.attributes.get("rpc.response.status_code", "OK")
        said = [self.attributes.get(key, "") for key in ("error.type", "stepway.reason")]
        words = dict.fromkeys(str(word) for word in ["" if code == "OK" else code, *said] if word)
        return list(words) or (["ERROR"] if self.failed else [])


@dataclass(frozen=True)
class Row:
    """A line of the waterfall: one span, or the database spans of one parent taken together."""

    depth: int
    label: str
    complaints: tuple[str, ...]
    spans: tuple[Span, ...]

    @property
    def start_ns(self) -> int:
        return min(span.start_ns for span in self.spans)

    @property
    def took_ns(self) -> int:
        return sum(span.end_ns - span.start_ns for span in self.spans)


def load(folder: Path) -> list[Span]:
    """Every span in `folder`/traces/*.jsonl; a line that is still being written is left out."""
    files = sorted((folder / "traces").glob("*.jsonl"))
    return [span for file in files for span in _spans_in(file)]


def traces(spans: Iterable[Span]) -> dict[str, list[Span]]:
    """The spans by trace id, the trace that began last at the end."""
    grouped: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.start_ns):
        grouped[span.trace_id].append(span)
    return dict(grouped)


def find(spans: Iterable[Span], wanted: str) -> list[Span]:
    """The spans of one trace, named by its id, by the first characters of it (four or more), or `latest`.

    `latest` is the last one that crossed from one service to another, if any did: loops leave traces too.
    """
    known = traces(spans)
    return known[_latest(known) if wanted == LATEST else _by_prefix(known, wanted.strip().lower())]


def continued_in(spans: Iterable[Span], trace_id: str) -> list[str]:
    """The later traces that were caused by this one, through a hop too long to stay inside it."""
    known = traces(spans)
    causes = {other: {link.trace_id for span in known[other] for link in span.links} for other in known}
    return [other for other in known if other != trace_id and trace_id in causes[other]]


def waterfall(spans: Sequence[Span], *, detail: bool = False) -> "Waterfall":
    """The spans of one trace, ready for `rich`: as wide as the console, from 60 columns up.

    Without `detail` the statements under one span share a line, names lose their package, and of an error only
    the code is shown.
    """
    return Waterfall(tuple(spans), detail)


def as_json(spans: Sequence[Span]) -> str:
    """The spans of one trace in the order of the waterfall, times in milliseconds from its start."""
    began = min((span.start_ns for span in spans), default=0)
    return json.dumps([_plain(row, began) for row in rows(spans, detail=True)], indent=2, ensure_ascii=False)


def rows(spans: Sequence[Span], *, detail: bool = False) -> list[Row]:
    """Parents before children, siblings by their start; a span whose parent is not on file stands as a root."""
    ids = {span.span_id for span in spans}
    children: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.start_ns):
        children[span.parent_id if span.parent_id in ids else ""].append(span)
    return list(_descend(children, detail))


@dataclass(frozen=True)
class Waterfall:
    spans: tuple[Span, ...]
    detail: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        drawn = rows(self.spans, detail=self.detail)
        if not drawn:
            return
        layout = _layout(self.spans, drawn, max(options.max_width, _NARROWEST))
        yield _headline(self.spans)
        yield layout.header()
        for row in drawn:
            yield layout.line(row)


@dataclass(frozen=True)
class Layout:
    """Where the columns stand and how long a millisecond is."""

    began_ns: int
    total_ns: int
    service_width: int
    label_width: int
    bar_width: int
    colours: Mapping[str, str]

    def header(self) -> Text:
        end = f"{_ms(self.total_ns)} ms"
        axis = f"0{end:>{self.bar_width - 1}}"
        columns = f"{'':{self.service_width}} {'':{self.label_width}} {'start ms':>8} {'took ms':>8} {axis}"
        return Text(columns, "dim", no_wrap=True)

    def line(self, row: Row) -> Text:
        service = row.spans[0].service
        colour = self.colours[service]
        line = Text(no_wrap=True)
        line.append_text(_fitted(Text(_safe(service), colour), self.service_width)).append(" ")
        line.append_text(self._label(row))
        line.append(f" {_ms(row.start_ns - self.began_ns):>8} {_ms(row.took_ns):>8} ")
        return line.append_text(self._bar(row, colour))

    def _label(self, row: Row) -> Text:
        remarks = _remarks(row)
        room = max(self.label_width - remarks.cell_len, self.label_width // 2)
        indent = " " * min(2 * row.depth, room // 2)
        name = Text(indent + row.label)
        name.truncate(room, overflow="ellipsis")
        return _fitted(name.append_text(remarks), self.label_width)

    def _bar(self, row: Row, colour: str) -> Text:
        filled = {cell: "red" if span.failed else colour for span in row.spans for cell in self._cells(span)}
        bar = Text()
        for shade, cells in groupby(range(self.bar_width), filled.get):
            bar.append(("━" if shade else " ") * len(list(cells)), shade)
        return bar

    def _cells(self, span: Span) -> range:
        begins = self.bar_width * (span.start_ns - self.began_ns) // self.total_ns
        ends = -(self.bar_width * (self.began_ns - span.end_ns) // self.total_ns)
        first = min(begins, self.bar_width - 1)
        return range(first, min(max(ends, first + 1), self.bar_width))


def _layout(spans: Sequence[Span], drawn: Sequence[Row], width: int) -> Layout:
    began = min(span.start_ns for span in spans)
    services = list(dict.fromkeys(row.spans[0].service for row in drawn))
    service_width = min(_WIDEST_SERVICE, max(len(_safe(service)) for service in services))
    room = width - service_width - len(" " * 4) - 2 * 8
    longest = max(2 * row.depth + Text(row.label).cell_len + _remarks(row).cell_len for row in drawn)
    label_width = min(longest, room - max(_NARROWEST_BAR, room // 3))
    return Layout(
        began_ns=began,
        total_ns=max(max(span.end_ns for span in spans) - began, 1),
        service_width=service_width,
        label_width=label_width,
        bar_width=room - label_width,
        colours={service: _PALETTE[place % len(_PALETTE)] for place, service in enumerate(services)},
    )


def _headline(spans: Sequence[Span]) -> Text:
    began = min(span.start_ns for span in spans)
    took = max(span.end_ns for span in spans) - began
    moment = datetime.fromtimestamp(began // 1_000_000_000, UTC)
    facts = [f"{moment:%Y-%m-%d %H:%M:%S} UTC", f"{_ms(took)} ms", f"{len(spans)} spans"]
    return Text("trace ").append(_safe(spans[0].trace_id), "bold").append(" · " + " · ".join(facts))


def _remarks(row: Row) -> Text:
    remarks = Text()
    for complaint in row.complaints:
        remarks.append(" " + _safe(complaint), "red" if any(span.failed for span in row.spans) else "yellow")
    for trace_id in _links_out(row):
        remarks.append(f" ↗ trace {_safe(trace_id)[:8]}…", "blue")
    return remarks


def _links_out(row: Row) -> list[str]:
    return list(dict.fromkeys(link.trace_id for span in row.spans for link in span.links if link.leaves(span)))


def _descend(children: dict[str, list[Span]], detail: bool) -> Iterator[Row]:
    waiting = _rows_under(children, "", 0, detail)
    while waiting:
        row = waiting.pop()
        yield row
        for span in reversed(row.spans):
            waiting += _rows_under(children, span.span_id, row.depth + 1, detail)


def _rows_under(children: dict[str, list[Span]], parent_id: str, depth: int, detail: bool) -> list[Row]:
    """The rows of one parent's children, the last one first."""
    together: dict[str, list[Span]] = defaultdict(list)
    for span in children.pop(parent_id, []):
        shares_a_row = span.is_query and not detail
        together[f"queries of {span.parent_id}" if shares_a_row else span.span_id].append(span)
    groups = reversed(together.values())
    return [Row(depth, _label(group, detail), _complaints(group, detail), tuple(group)) for group in groups]


def _label(group: Sequence[Span], detail: bool) -> str:
    if len(group) == 1:
        return _safe(group[0].name if detail else _short_name(group[0]))
    verbs = dict.fromkeys(str(span.attributes.get("db.operation.name", "?")) for span in group)
    return _safe(f"{len(group)} × {'/'.join(verbs)}")


def _complaints(group: Sequence[Span], detail: bool) -> tuple[str, ...]:
    words = [word for span in group for word in span.complaints[: None if detail else 1]]
    return tuple(dict.fromkeys(words))


def _short_name(span: Span) -> str:
    name = _SUBJECT.sub(r"\1 \2", _PACKAGE.sub("", span.name))
    return f"→ {name}" if span.kind == "CLIENT" and not span.is_query else name


def _plain(row: Row, began_ns: int) -> dict[str, Any]:
    span = row.spans[0]
    said = {key: value for key, value in asdict(span).items() if key not in ("start_ns", "end_ns")}
    times = {"offset_ms": (span.start_ns - began_ns) / 1e6, "duration_ms": row.took_ns / 1e6}
    return {"depth": row.depth} | said | times


def _latest(known: Mapping[str, Sequence[Span]]) -> str:
    crossing = [trace_id for trace_id, spans in known.items() if len({span.service for span in spans}) > 1]
    last = next(reversed(crossing or list(known)), None)
    if last is None:
        raise TraceNotFound("No trace is on file yet.")
    return last


def _by_prefix(known: Mapping[str, Sequence[Span]], wanted: str) -> str:
    if len(wanted) < SHORTEST_PREFIX:
        raise TraceAmbiguous(f"Give at least {SHORTEST_PREFIX} characters of the trace id.")
    matching = [trace_id for trace_id in known if trace_id.startswith(wanted)]
    if not matching:
        raise TraceNotFound(f"No trace on file begins with {_safe(wanted)}.")
    if len(matching) > 1:
        raise TraceAmbiguous(f"{len(matching)} traces begin with {_safe(wanted)}: {', '.join(matching[:4])}.")
    return matching[0]


def _spans_in(file: Path) -> Iterator[Span]:
    for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):
        for batch in _batches(line):
            service = _attributes(batch["resource"]).get("service.name", "?")
            for scope in batch["scopeSpans"]:
                yield from (_span(str(service), written) for written in scope["spans"])


def _batches(line: str) -> list[Any]:
    try:
        written = json.loads(line)
    except ValueError:
        return []
    return list(written.get("resourceSpans", [])) if isinstance(written, dict) else []


def _span(service: str, written: Mapping[str, Any]) -> Span:
    return Span(
        trace_id=written["traceId"],
        span_id=written["spanId"],
        parent_id=written.get("parentSpanId", ""),
        service=service,
        name=written["name"],
        kind=_KINDS[written.get("kind", 0)],
        start_ns=int(written["startTimeUnixNano"]),
        end_ns=int(written["endTimeUnixNano"]),
        attributes=_attributes(written),
        links=tuple(Link(link["traceId"], link["spanId"]) for link in written.get("links", [])),
        failed=written.get("status", {}).get("code") == _STATUS_ERROR,
    )


def _attributes(holder: Mapping[str, Any]) -> dict[str, Any]:
    return {pair["key"]: _value(pair["value"]) for pair in holder.get("attributes", [])}


def _value(written: Mapping[str, Any]) -> Any:
    kind, value = next(iter(written.items()), ("", None))
    if value is None:
        return ""
    if kind == "arrayValue":
        return [_value(item) for item in value.get("values", [])]
    return int(value) if kind == "intValue" else value


def _fitted(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis", pad=True)
    return text


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.1f}"


def _safe(text: str) -> str:
    """Text from a file, with whatever could steer a terminal spelled out."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
