"""How a migration fills what it has added: inside one site after the other, and counted."""

from collections.abc import Callable

from sqlalchemy import Connection, text


class Uncounted(Exception):
    """A backfill has not touched every row of its table; the migration is undone."""


def everywhere(connection: Connection, statement: str) -> int:
    """Run `statement` inside each site, as the owner of the tables; how many rows it has touched.

    Forced row-level security shows the owner no row outside a site: a plain UPDATE touches none, and says nothing.
    """
    touched = list[int]()
    in_each_site(connection, lambda inside: touched.append(inside.execute(text(statement)).rowcount))
    return sum(touched)


def in_each_site(connection: Connection, fill: Callable[[Connection], None]) -> None:
    """Have `fill` read and write inside each site, as the owner of the tables."""
    for site in connection.scalars(text("SELECT site FROM site ORDER BY site")).all():
        _enter(connection, site)
        fill(connection)
    _enter(connection, "")


def every_row(connection: Connection, table: str, statement: str) -> None:
    """Run `statement`, which has to touch each row of `table` once, inside each site; nobody writes to it meanwhile.

    Raises Uncounted, also for a row whose site is not registered.
    """
    connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
    touched, rows = everywhere(connection, statement), _count(connection, table)
    if touched != rows:
        raise Uncounted(f"{table}: {touched} rows filled of {rows}")


def _enter(connection: Connection, site: str) -> None:
    connection.execute(text("SELECT set_config('app.site', :site, true)"), {"site": site})


def _count(connection: Connection, table: str) -> int:
    """Of all sites: only the owner may look past row-level security, and only for this long."""
    connection.execute(text(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"))
    rows = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()  # noqa: S608
    connection.execute(text(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY"))
    return int(rows)
