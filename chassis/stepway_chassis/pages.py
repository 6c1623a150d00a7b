"""Lists in pages (AIP-158), newest first or what is due first; the token says where the page before has ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeVar
from uuid import UUID

from stepway_chassis.errors import InvalidInput

DEFAULT_SIZE = 50


class Paged(Protocol):
    """A List request."""

    page_size: int
    page_token: str


class Identified(Protocol):
    @property
    def id(self) -> UUID: ...


class Due(Identified, Protocol):
    @property
    def due_at(self) -> datetime | None: ...


T = TypeVar("T", bound=Identified)
D = TypeVar("D", bound=Due)


@dataclass(frozen=True)
class Page:
    """Read `limit` rows with ids before `before`: one more than the page, to see whether there is another."""

    before: UUID | None
    size: int

    @property
    def limit(self) -> int:
        return self.size + 1

    def cut(self, rows: Sequence[T]) -> tuple[Sequence[T], str]:
        """The page's rows, and the next page's token or ""."""
        shown = rows[: self.size]
        return shown, str(shown[-1].id) if len(rows) > self.size else ""


@dataclass(frozen=True)
class Place:
    """Where a page of what is due has ended; of what is due at the same time the lower id comes first."""

    due_at: datetime
    id: UUID


@dataclass(frozen=True)
class DuePage:
    """Read `limit` rows, by time and id, that come after `after`: one more than the page, again."""

    after: Place | None
    size: int

    @property
    def limit(self) -> int:
        return self.size + 1

    def cut(self, rows: Sequence[D]) -> tuple[Sequence[D], str]:
        """The page's rows, and the next page's token or ""."""
        shown = rows[: self.size]
        return shown, _token(shown[-1]) if len(rows) > self.size else ""


def page_of(request: Paged) -> Page:
    """Raises InvalidInput (PAGE_TOKEN_INVALID)."""
    try:
        before = UUID(request.page_token) if request.page_token else None
    except ValueError:
        raise _unknown() from None
    return Page(before, request.page_size or DEFAULT_SIZE)


def due_page_of(request: Paged) -> DuePage:
    """Raises InvalidInput (PAGE_TOKEN_INVALID)."""
    try:
        after = _place(request.page_token) if request.page_token else None
    except (ValueError, OverflowError):
        raise _unknown() from None
    return DuePage(after, request.page_size or DEFAULT_SIZE)


def _token(last: Due) -> str:
    assert last.due_at is not None, "what has no time is not listed by it"
    return f"{last.due_at.isoformat()}_{last.id}"


def _place(token: str) -> Place:
    due_at, _, id = token.partition("_")
    at = datetime.fromisoformat(due_at)
    if at.tzinfo is None:
        raise ValueError
    return Place(at.astimezone(UTC), UUID(id))


def _unknown() -> InvalidInput:
    message = "Send the next_page_token of the page before, unchanged."
    return InvalidInput("PAGE_TOKEN_INVALID", message, field="page_token")
