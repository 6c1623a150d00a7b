"""Lists in pages (AIP-158): newest first, the token is the last id of the page before."""

from collections.abc import Sequence
from dataclasses import dataclass
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


T = TypeVar("T", bound=Identified)


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


def page_of(request: Paged) -> Page:
    """Raises InvalidInput (PAGE_TOKEN_INVALID)."""
    try:
        before = UUID(request.page_token) if request.page_token else None
    except ValueError:
        message = "Send the next_page_token of the page before, unchanged."
        raise InvalidInput("PAGE_TOKEN_INVALID", message, field="page_token") from None
    return Page(before, request.page_size or DEFAULT_SIZE)
