"""Transactions: one way into a site, one way to run a command, and what the database's own errors mean."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar

import asyncpg
from google.protobuf.message import Message
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from stepway_chassis import audit, idempotency, merges, outbox
from stepway_chassis.call import Call, Caller, Kind, Scope, current
from stepway_chassis.errors import InvalidInput, NotFound, Refusal, TimedOut, Unavailable
from stepway_chassis.ids import id_of
from stepway_chassis.metrics import Metrics
from stepway_chassis.statements import Statements
from stepway_chassis.transaction import Claim, Site, Tx
from stepway_chassis.turns import Turns

R = TypeVar("R", bound=Message)
Q = TypeVar("Q", bound=Message)
UNANSWERED_SECONDS = 35.0  # longer than any statement may take: the server is gone without a word
ROLLBACK_SECONDS = 2.0  # a connection that takes longer to roll back is thrown away
BETWEEN_TRIES_SECONDS = 0.02
PLACE_SECONDS = 5.0  # how long a transaction waits for a connection
LOOK = "count"  # the action that changes nothing at a site
# A plan may be made while a table is as good as empty, and is kept while it grows: it must not read the whole table.
BY_INDEX = {"enable_seqscan": "off"}
BACKGROUND_SECONDS = 20.0  # the statement timeout of a transaction that no caller waits for

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {milliseconds}"
_ENTER = """
    WITH entered AS (SELECT zone, settings FROM enter_site($1, $2)), claimed AS ({claim})
    SELECT zone, settings, EXISTS (SELECT FROM claimed) AS claimed, clock_timestamp() AS now
      FROM entered"""
NO_CLAIM = Claim("SELECT FROM entered")
_RETRIED = {"40P01", "40001"}
WRONG_CELL = "SW002"
_REFUSALS: dict[str, tuple[type[Refusal], str, str]] = {
    "SW001": (NotFound, "SITE_UNKNOWN", "There is no such site."),
    WRONG_CELL: (Unavailable, "WRONG_CELL", "Another cell runs this site; ask again."),
    "SW003": (Unavailable, "SITE_DRAINING", "The site is being moved; ask again in a moment."),
    "57014": (TimedOut, "DEADLINE_EXCEEDED", "The deadline passed; ask again with the same request_id."),
    "22021": (InvalidInput, "TEXT_NOT_STORABLE", "A text holds a character that cannot be stored, such as NUL."),
    "22P05": (InvalidInput, "TEXT_NOT_STORABLE", "A text holds a character that cannot be stored, such as NUL."),
}
_CONNECTION_BROKEN = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)  # as the driver finds it, half-way
# Classes: connection, operator intervention, resources; and transactions that stood still, or took too long.
_CONNECTION_LOST = ("08", "57P", "53", "25P03", "25P04")


class Database:
    """One service's database, entered site by site as the role `app` (or `keeper`, for loops that delete)."""

    def __init__(
        self,
        url: str,
        *,
        service: str,
        cell: str,
        pool_size: int = 10,
        nudge: Callable[[set[str]], None] = lambda _: None,
        metrics: Metrics | None = None,
    ) -> None:
        self.engine = engine(url, pool_size)
        self.statements = Statements()
        self._turns = Turns(pool_size, of_one=max(1, pool_size // 3))
        self._identity = Caller(service, Kind.SERVICE)
        self.cell = cell
        self.unsealed: set[str] = set()  # sites whose audit this process may have written to since it was sealed
        self._nudge = nudge
        self.metrics = metrics or Metrics()
        self._touched: set[str] = set()

    @asynccontextmanager
    async def transaction(
        self, site: str, action: str, *, call: Call | None = None, claim: Claim = NO_CLAIM
    ) -> AsyncIterator[Tx]:
        """A transaction inside `site`, on behalf of `call`, or of the service itself; sites take turns.

        What the service does of itself to somebody's record is audited as done; whoever answers a call audits it. What
        was announced and is not stored yet is stored before the commit.
        Raises NotFound (SITE_UNKNOWN) and Unavailable (WRONG_CELL, SITE_DRAINING, BUSY, DATABASE_UNAVAILABLE).
        """
        tx: Tx | None = None
        try:
            with translated(), self.metrics.waiting_for_connection(site) as wait:
                async with self._turns.taken(site, within=PLACE_SECONDS), self._begun(call) as (connection, driver):
                    wait.over()
                    tx = await self._entered(connection, driver, site, action, call, claim)
                    with _telling_of(tx):
                        yield tx
                    if call is None and tx.people and not tx.audited:
                        await audit.record(tx, "DONE")
                    elif tx.announced:
                        await outbox.announce(tx)
        finally:  # also when it is not known whether it was committed
            if tx and action != LOOK:
                self._touched.add(site)
            if tx and tx.audited:
                self.unsealed.add(site)
        if tx and tx.work_left:
            self._nudge(tx.work_left)

    def taken_touched(self) -> set[str]:
        """The sites where something may have been committed through here since this was last asked."""
        touched, self._touched = self._touched, set()
        return touched

    @asynccontextmanager
    async def _begun(self, call: Call | None) -> AsyncIterator[tuple[AsyncConnection, Any]]:
        """An open transaction, and the driver's own connection under it; one whose end is not known is thrown away."""
        async with self.engine.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            seconds = call.remaining() if call else BACKGROUND_SECONDS
            ended = False
            try:
                await driver.execute(_BEGIN.format(milliseconds=max(1, int(seconds * 1000))))
                yield connection, driver
                ended = await driver.execute("COMMIT") == "COMMIT"
                if not ended:
                    raise RuntimeError("a statement had failed: nothing was committed")
            except BaseException:
                with suppress(asyncpg.PostgresError, *_CONNECTION_BROKEN):
                    ended = await driver.execute("ROLLBACK", timeout=ROLLBACK_SECONDS) == "ROLLBACK"
                raise
            finally:
                if not ended:
                    await connection.invalidate()

    async def _entered(
        self, connection: AsyncConnection, driver: Any, site: str, action: str, call: Call | None, claim: Claim
    ) -> Tx:
        statement = _ENTER.format(claim=claim.statement)
        with self.statements.span(statement):
            zone, settings, claimed, now = await driver.fetchrow(statement, site, self.cell, *claim.values)
        tx = Tx(
            connection,
            driver,
            self.statements,
            self._identity.subject,
            Site(site, zone, settings),
            claimed=claimed,
            caller=call.caller if call else self._identity,
            scope=call.scope if call else Scope.SITE,
            action=action,
            purpose=call.purpose if call else "HOPERAT",
            now=now,
        )
        if tx.scope is Scope.SELF and (own := id_of(tx.caller.subject)):
            tx.stands_for = str(await merges.current(tx, own))
        return tx

    async def command(self, request: Q, response: type[R], decide: Callable[[Tx, Q], Awaitable[R]]) -> R:
        """Run `decide` once for this request_id, and answer a repeat with the stored answer.

        `decide` may run twice after a deadlock, so it has no effect outside its transaction.
        """
        call = current.get()
        try:
            return await self._commanded(call, request, response, decide)
        except Contended:
            await asyncio.sleep(BETWEEN_TRIES_SECONDS)  # who had waited for the same row is served first
            with _last_try():
                return await self._commanded(call, request, response, decide)

    async def _commanded(self, call: Call, request: Q, response: type[R], decide: Callable[[Tx, Q], Awaitable[R]]) -> R:
        async with self.transaction(call.site, call.rpc, call=call, claim=idempotency.claim(call, request)) as tx:
            if not tx.claimed:
                stored = await idempotency.stored(tx, request)
                await audit.record(tx, "REPEATED")
                return response.FromString(stored)
            answer = await decide(tx, request)
            _must_have_concerned(tx)
            await idempotency.keep(tx, request, answer)
            return answer

    async def query(self, request: Q, read: Callable[[Tx, Q], Awaitable[R]]) -> R:
        """Read, and record who has read about whom."""
        call = current.get()
        async with self.transaction(call.site, call.rpc, call=call) as tx:
            answer = await read(tx, request)
            _must_have_concerned(tx)
            await audit.record(tx, "DONE")
            return answer

    @asynccontextmanager
    async def outside(self) -> AsyncIterator[AsyncConnection]:
        """A connection that enters no site; each statement on it is a transaction of its own, and one round trip."""
        with translated():
            async with self.engine.connect() as connection:
                yield connection

    async def close(self) -> None:
        await self.engine.dispose()


@contextmanager
def _telling_of(tx: Tx) -> Iterator[None]:
    """A refusal that rolls a transaction back takes along whom it concerned, for the audit."""
    try:
        yield
    except Refusal as refusal:
        refusal.people = tuple(dict.fromkeys((*tx.people, *tx.sought)))
        raise


def _must_have_concerned(tx: Tx) -> None:
    """A handler that never said whose record it touched was neither audited nor narrowed: it fails closed."""
    if not tx.concerned:
        raise RuntimeError("the handler did not call tx.concerns")


def engine(url: str, pool_size: int) -> AsyncEngine:
    """Begins no transaction of itself: `transaction` does, on the driver."""
    made = create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://", 1),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=PLACE_SECONDS,
        pool_use_lifo=True,
        hide_parameters=True,
        isolation_level="AUTOCOMMIT",
        connect_args={"timeout": 5, "command_timeout": UNANSWERED_SECONDS, "server_settings": BY_INDEX},
    )
    event.listen(made.sync_engine, "checkout", _alive)
    return made


def _alive(connection: Any, *_: Any) -> None:
    """A connection that was lost while it lay in the pool is replaced."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


async def understand_json(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog", format="text")


@asynccontextmanager
async def json_connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of its own, outside any pool, on which jsonb is Python."""
    connection = await asyncpg.connect(url, timeout=5, command_timeout=10)
    try:
        await understand_json(connection)
        yield connection
    finally:
        await connection.close(timeout=2)


class Contended(Exception):
    """A deadlock or a serialization failure: the same work may succeed in a new transaction."""


class translated:
    """Turns what the driver raises into the vocabulary of `errors`; parameters never come along."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            raise _database_unavailable() from None
        cause = error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig else error
        if isinstance(cause, asyncpg.PostgresError):
            _raise_for(cause)
        if isinstance(cause, (*_CONNECTION_BROKEN, PoolTimeoutError)):
            raise _database_unavailable() from None


def _raise_for(error: asyncpg.PostgresError) -> None:
    sqlstate = error.sqlstate or ""
    if sqlstate in _RETRIED:
        raise Contended from None
    if sqlstate in _REFUSALS:
        refusal, reason, message = _REFUSALS[sqlstate]
        raise refusal(reason, message, metadata=_cell_named(error)) from None
    if not sqlstate or sqlstate.startswith(_CONNECTION_LOST):
        raise _database_unavailable() from None


def _cell_named(error: asyncpg.PostgresError) -> dict[str, str]:
    """The cell that runs the site, which `enter_site` puts beside its refusal."""
    return {"cell": error.detail} if error.sqlstate == WRONG_CELL else {}


def _database_unavailable() -> Unavailable:
    return Unavailable("DATABASE_UNAVAILABLE", "The service's database does not answer; ask again.")


class _last_try:
    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Contended):
            raise Unavailable("BUSY", "Others write the same records; ask again.") from None
