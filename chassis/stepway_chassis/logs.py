"""Log lines: JSON whose keys are on a list, so that a line can say what happened and never about whom."""

import logging
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, TextIO
from uuid import UUID

import structlog
from opentelemetry import trace
from structlog.typing import FilteringBoundLogger, Processor

ALLOWED_KEYS = frozenset(
    {
        # who writes, when, inside which call
        *("timestamp", "level", "event", "service", "cell", "site", "logger", "trace_id", "span_id"),
        # which call or event
        *("rpc", "peer", "event_id", "event_type", "correlation_id", "causation_id"),
        *("consumer", "lane", "stream_seq", "shard", "loop", "aggregate_type"),
        # how it went
        *("code", "reason", "state", "from_state", "to_state", "error_type", "frames", "dropped"),
        *("count", "attempt", "seconds", "age_seconds", "size", "limit", "revision", "epoch", "version"),
        # where
        *("port", "pid", "signal", "channel", "setting"),
    }
)
"""No line has another key; a change here is a change that privacy reviews."""

LONGEST_VALUE = 200
INNERMOST_FRAMES = 8

log: FilteringBoundLogger = structlog.get_logger()

_NOUN_VERB = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_SHAPES = {
    "reason": re.compile(r"[A-Z][A-Z0-9_]*"),
    "code": re.compile(r"\w+"),
    "error_type": re.compile(r"[\w.]+"),
}
_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")

Line = MutableMapping[str, Any]


def configure(service: str, cell: str = "shared", stream: TextIO | None = None) -> None:
    """Write every line of this process, those of its libraries and its last exception too, to `stream` (stderr)."""
    structlog.configure(
        processors=_pipe(service, cell),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=_Writer(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, LibraryLines)]:
        root.removeHandler(handler)
    root.addHandler(LibraryLines(logging.WARNING))
    logging.captureWarnings(True)
    sys.excepthook = _log_the_end


class LibraryLines(logging.Handler):
    """Says that a library logged something, without the text: it may hold anything."""

    def emit(self, record: logging.LogRecord) -> None:
        say = log.error if record.levelno >= logging.ERROR else log.warning
        say("library.logged", logger=record.name, exc_info=record.exc_info)


class _Writer:
    """A place for lines. A full disk or a closed pipe loses a line, not a call."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, *names: object) -> "_Writer":
        return self

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = exception = log = msg


def _pipe(service: str, cell: str) -> list[Processor]:
    def origin(logger: Any, method: str, line: Line) -> Line:
        return {"service": service, "cell": cell} | dict(line)

    return [
        structlog.contextvars.merge_contextvars,
        origin,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _current_span,
        _without_message,
        _named_noun_verb,
        _allowed_keys_only,
        structlog.processors.JSONRenderer(),
    ]


def _current_span(logger: Any, method: str, line: Line) -> Line:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        line["trace_id"] = trace.format_trace_id(context.trace_id)
        line["span_id"] = trace.format_span_id(context.span_id)
    return line


def _without_message(logger: Any, method: str, line: Line) -> Line:
    """Keep the class and the place of an exception; its message and variables may name a person."""
    line.pop("frames", None)
    error = _exception(line.pop("exc_info", None))
    if error:
        line["error_type"] = type(error).__name__
        line["frames"] = _frames(error.__traceback__)
    return line


def _named_noun_verb(logger: Any, method: str, line: Line) -> Line:
    if not _NOUN_VERB.fullmatch(str(line["event"])):
        line["event"] = "log.misnamed"
        line["frames"] = [_caller(sys._getframe())]
    return line


def _allowed_keys_only(logger: Any, method: str, line: Line) -> Line:
    frames = line.pop("frames", None)
    said = {key: value for key, value in line.items() if value is not None}
    kept = {key: _plain(value) for key, value in said.items() if _may_be_said(key, value)}
    dropped = sorted(key if _KEY.fullmatch(key) else "?" for key in said.keys() - kept.keys())
    return _in_reading_order(kept) | ({"frames": frames} if frames else {}) | ({"dropped": dropped} if dropped else {})


def _may_be_said(key: str, value: object) -> bool:
    if key in _SHAPES and not _SHAPES[key].fullmatch(str(value)):
        return False
    return key in ALLOWED_KEYS and isinstance(value, str | int | float | bool | UUID)


def _plain(value: object) -> object:
    return str(value)[:LONGEST_VALUE] if isinstance(value, str | UUID) else value


def _in_reading_order(line: Mapping[str, Any]) -> dict[str, Any]:
    first = [key for key in ("timestamp", "level", "event", "service", "cell") if key in line]
    return {key: line[key] for key in first} | dict(line)


def _exception(exc_info: object) -> BaseException | None:
    if exc_info is True:
        exc_info = sys.exc_info()[1]
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    while isinstance(exc_info, BaseExceptionGroup) and len(exc_info.exceptions) == 1:
        exc_info = exc_info.exceptions[0]
    return exc_info if isinstance(exc_info, BaseException) else None


def _frames(trail: TracebackType | None) -> list[str]:
    return [_place(frame, number) for frame, number in traceback.walk_tb(trail)][-INNERMOST_FRAMES:]


def _place(frame: FrameType, number: int) -> str:
    return f"{frame.f_globals.get('__name__', '?')}:{number} {frame.f_code.co_name}"


def _caller(frame: FrameType) -> str:
    ours = (__name__, "structlog")
    while frame.f_back and str(frame.f_globals.get("__name__")).startswith(ours):
        frame = frame.f_back
    return _place(frame, frame.f_lineno)


def _log_the_end(kind: type[BaseException], error: BaseException, trail: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("process.crashed", exc_info=error)
