"""Stopping whoever writes a row in the middle of their transaction, and looking who waits for whom."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.network import NORTHSIDE, Network

_HOLD = 5_2026
_STOP = f"""
    CREATE OR REPLACE FUNCTION stop_here() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_advisory_xact_lock({_HOLD}); RETURN new; END $$;
    CREATE TRIGGER stop_here BEFORE {{event}} ON {{table}} FOR EACH ROW WHEN ({{when}}) EXECUTE FUNCTION stop_here()"""
_STOPPED = f"SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = {_HOLD} AND NOT granted"
_BEHIND = "SELECT 1 FROM pg_locks WHERE locktype IN ('transactionid', 'tuple') AND NOT granted"


@asynccontextmanager
async def stopping(network: Network, table: str, when: str, *, event: str = "INSERT OR UPDATE") -> AsyncIterator[None]:
    """Whoever writes such a row in intake waits before it is written until this ends."""
    postgres, database = network.platform.postgres, "stepway_intake"
    postgres.run_sql(_STOP.format(table=table, event=event, when=when), database=database)
    try:
        async with network.superuser("intake") as holder:
            await holder.execute(f"SELECT pg_advisory_lock({_HOLD})")
            yield
    finally:
        postgres.run_sql(f"DROP TRIGGER stop_here ON {table}", database=database)


async def is_stopped(network: Network) -> bool:
    return bool(network.rows("intake", _STOPPED))


async def is_behind(network: Network) -> bool:
    """Whether somebody waits for a row that another transaction holds."""
    return bool(network.rows("intake", _BEHIND))


def is_free(network: Network, table: str, id: str) -> bool:
    """Whether no transaction holds this row of northside."""
    row = f"SELECT 1 FROM {table} WHERE site = '{NORTHSIDE}' AND id = '{id}'"
    return bool(network.rows("intake", f"{row} FOR UPDATE SKIP LOCKED"))
