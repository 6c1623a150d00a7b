"""Lists in pages, newest first or what is due first: what a token is, and when there is another page."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepway_chassis.errors import InvalidInput
from stepway_chassis.pages import DEFAULT_SIZE, DuePage, Page, Place, due_page_of, page_of


@dataclass
class Request:
    page_size: int = 0
    page_token: str = ""


@dataclass(frozen=True)
class Row:
    id: UUID


def rows(count: int) -> list[Row]:
    """Newest first."""
    return [Row(UUID(int=number)) for number in range(count, 0, -1)]


def read(stored: list[Row], page: Page) -> list[Row]:
    """What a store answers."""
    return [row for row in stored if page.before is None or row.id < page.before][: page.limit]


def test_a_request_without_a_size_gets_the_default_and_begins_at_the_newest() -> None:
    assert page_of(Request()) == Page(None, DEFAULT_SIZE)


def test_one_row_more_than_the_page_is_read_and_it_is_not_shown() -> None:
    page = page_of(Request(page_size=2))
    assert page.limit == 3
    assert page.cut(rows(3)) == (rows(3)[:2], str(rows(3)[1].id))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_last_page_has_no_token_even_when_it_is_full(count: int) -> None:
    assert page_of(Request(page_size=2)).cut(rows(count)) == (rows(count), "")


@pytest.mark.parametrize("token", ["nonsense", "0", "' OR 1=1", "\x00"])
def test_a_token_that_no_page_gave_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        page_of(Request(page_token=token))
    assert (refused.value.reason, refused.value.field) == ("PAGE_TOKEN_INVALID", "page_token")
    assert token not in refused.value.message


@given(st.integers(0, 12), st.integers(1, 5))
def test_following_the_tokens_shows_every_row_once_and_in_order(count: int, size: int) -> None:
    shown: list[Row] = []
    token = ""
    while True:
        page = page_of(Request(size, token))
        part, token = page.cut(read(rows(count), page))
        shown += part
        if not token:
            break
    assert shown == rows(count)


NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def due(stored: list[Place], page: DuePage) -> list[Place]:
    """What a store answers."""
    return [row for row in stored if page.after is None or key(row) > key(page.after)][: page.limit]


def key(row: Place) -> tuple[datetime, UUID]:
    return row.due_at, row.id


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=12, unique=True), st.integers(1, 5))
def test_following_the_tokens_of_what_is_due_shows_every_row_once_and_in_order(
    made: list[tuple[int, int]], size: int
) -> None:
    rows = [Place(NOON.replace(microsecond=at), UUID(int=id)) for at, id in sorted(made)]
    shown, token = list[Place](), ""
    while True:
        page = due_page_of(Request(size, token))
        part, token = page.cut(due(rows, page))
        shown += part
        if not token:
            break
    assert shown == rows


ID = UUID(int=1)


@pytest.mark.parametrize(
    "token",
    [
        *("x", str(ID), f"2026-11-25_{ID}", f"2026-11-25T12:00_{ID}", "2026-11-25T12:00+00:00_x"),
        f"0001-01-01T00:00:00+23:59_{ID}",
    ],
)
def test_a_token_that_is_no_place_in_what_is_due_is_refused_by_name(token: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        due_page_of(Request(page_token=token))
    assert (refused.value.reason, refused.value.field) == ("PAGE_TOKEN_INVALID", "page_token")
