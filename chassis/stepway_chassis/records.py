"""The shape of a service's tables: site and id first. What all of them do: add, find, lock, save, list newest first."""

from collections.abc import Callable
from dataclasses import fields
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints
from uuid import UUID

from sqlalchemy import Column, ColumnElement, DateTime, MetaData, RowMapping, Select, Table, Text, Uuid, and_, select
from sqlalchemy import insert as insert_into
from sqlalchemy import update as update_of

from stepway_chassis.pages import Page
from stepway_chassis.transaction import Tx

TIME = DateTime(timezone=True)
R = TypeVar("R")


def records(name: str, metadata: MetaData, *columns: Column[Any]) -> Table:
    """A table of one kind of record."""
    return Table(name, metadata, Column("site", Text, primary_key=True), Column("id", Uuid, primary_key=True), *columns)


def one(tx: Tx, table: Table, id: UUID) -> ColumnElement[bool]:
    """The record with this id at the transaction's site. The site is named, so that its index is used."""
    return and_(table.c.site == tx.site.name, table.c.id == id)


async def add(tx: Tx, table: Table, record: Any, **more: Any) -> None:
    """Insert a dataclass whose fields are columns; `more` are the columns that it lacks."""
    own = {field.name: getattr(record, field.name) for field in fields(record)}
    await tx.execute(insert_into(table), {"site": tx.site.name, **own, **more})


async def save(tx: Tx, table: Table, record: Any, *changed: str) -> None:
    """Write these fields of a record that is there."""
    await tx.execute(
        update_of(table).where(one(tx, table, record.id)).values({name: getattr(record, name) for name in changed})
    )


async def find(tx: Tx, table: Table, id: UUID) -> RowMapping | None:
    return (await tx.execute(select(table).where(one(tx, table, id)))).mappings().first()


async def lock(tx: Tx, table: Table, id: UUID) -> RowMapping | None:
    """Find it and keep others from changing it until the transaction ends."""
    return (await tx.execute(select(table).where(one(tx, table, id)).with_for_update())).mappings().first()


def newest(tx: Tx, table: Table, page: Page) -> Select[Any]:
    """One page of the site's records and one row more; ids are made in the order of time."""
    statement = select(table).where(table.c.site == tx.site.name).order_by(table.c.id.desc()).limit(page.limit)
    return statement if page.before is None else statement.where(table.c.id < page.before)


def read(shape: type[R], row: RowMapping) -> R:
    """A dataclass from the columns named like its fields: a text becomes the StrEnum asked for, an array a tuple."""
    return shape(**{name: reader(row[name]) for name, reader in _readers(shape)})  # type: ignore[arg-type]


@cache
def _readers(shape: type[Any]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    hints = get_type_hints(shape)
    return tuple((field.name, _reader(hints[field.name])) for field in fields(shape))


def _reader(hint: Any) -> Callable[[Any], Any]:
    if get_origin(hint) is tuple:
        each = _reader(get_args(hint)[0])
        return lambda values: tuple(each(value) for value in values)
    return hint if isinstance(hint, type) and issubclass(hint, StrEnum) else _as_it_is


def _as_it_is(value: Any) -> Any:
    return value
