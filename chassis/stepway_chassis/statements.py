"""Spans of database statements: named by verb and table, with the text but never a value."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from sqlalchemy import Connection
from sqlalchemy.engine import ExceptionContext, ExecutionContext

_LONGEST_STATEMENT = 4000
_SILENT = trace.NoOpTracer()


class Statements:
    """The hooks of one engine, and the spans of what goes straight to its driver."""

    def __init__(self, tracer: Tracer = _SILENT) -> None:
        self._tracer = tracer
        self._open: WeakKeyDictionary[ExecutionContext, Span] = WeakKeyDictionary()

    def begin(
        self,
        connection: Connection,
        cursor: object,
        statement: str,
        parameters: object,
        context: ExecutionContext | None,
        executemany: bool,
    ) -> None:
        if context is None or not trace.get_current_span().is_recording():
            return
        self._open[context] = self._begin(statement)

    def end(
        self,
        connection: Connection,
        cursor: object,
        statement: str,
        parameters: object,
        context: ExecutionContext | None,
        executemany: bool,
    ) -> None:
        self._taken(context).end()

    def fail(self, failure: ExceptionContext) -> None:
        span = self._taken(failure.execution_context)
        span.set_attributes(_fault(failure.original_exception))
        span.set_status(Status(StatusCode.ERROR))
        span.end()

    @contextmanager
    def span(self, statement: str) -> Iterator[None]:
        """Around a statement that is run on the driver."""
        if not trace.get_current_span().is_recording():
            yield
            return
        span = self._begin(statement)
        try:
            yield
        except BaseException as error:
            span.set_attributes(_fault(error))
            span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            span.end()

    def _begin(self, statement: str) -> Span:
        query = _describe(statement[:_LONGEST_STATEMENT])
        return self._tracer.start_span(query.name, kind=SpanKind.CLIENT, attributes=query.attributes)

    def _taken(self, context: ExecutionContext | None) -> Span:
        return trace.INVALID_SPAN if context is None else self._open.pop(context, trace.INVALID_SPAN)


@dataclass(frozen=True)
class _Query:
    name: str
    attributes: dict[str, str]


_LITERALS = re.compile(
    r"""
    [eE]'(?:[^'\\]|''|\\.)*(?:'|\Z) | '(?:[^']|'')*(?:'|\Z)   # text, ended or cut off
    | \$([^\W\d]\w*|)\$.*?(?:\$\1\$|\Z)
    | (?P<keep> "(?:[^"]|"")*" | \$\d+ | [^\W\d]\w* )         # quoted names, parameters, words
    | --[^\n]* | /\*.*?(?:\*/|\Z)                             # comments
    | \d+(?:\.\d+)?                                           # numbers
    """,
    re.VERBOSE | re.DOTALL,
)
_PARENTHESES = re.compile(r"\([^()]*\)")
_OPERATION = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+(?:ONLY\s+)?(?!AS\b|SKIP\b|NOWAIT\b)([\w.\"]+)", re.IGNORECASE)


@lru_cache(maxsize=1024)
def _describe(statement: str) -> _Query:
    """Name a statement by its verb and first table; a literal written into it is replaced by `?`."""
    text = _LITERALS.sub(lambda found: found["keep"] or "?", statement).strip()
    outside = _outside_parentheses(text)
    verb = _OPERATION.search(outside) or re.match(r"\w+", outside)
    operation = verb[0].upper() if verb else "QUERY"
    attributes = {"db.system.name": "postgresql", "db.operation.name": operation}
    table = _TABLE.search(outside)
    if table:
        attributes["db.collection.name"] = table[1].replace('"', "")
    name = " ".join([operation, attributes.get("db.collection.name", "")]).strip()
    return _Query(name, attributes | {"db.query.text": text})


def _outside_parentheses(text: str) -> str:
    shorter = _PARENTHESES.sub(" ", text)
    return text if shorter == text else _outside_parentheses(shorter)


def _fault(error: BaseException) -> dict[str, str]:
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        return {"error.type": sqlstate, "db.response.status_code": sqlstate}
    return {"error.type": type(error).__name__}
