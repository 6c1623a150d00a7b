"""Transactions: entered site by site, tried once more after a deadlock, and never an unclear answer."""

import asyncio
import os
import signal
import time
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import text

from stepway_chassis import audit, loops, outbox
from stepway_chassis.call import current
from stepway_chassis.database import Database
from stepway_chassis.errors import Denied, NotFound, Refusal, TimedOut, Unavailable
from stepway_chassis.transaction import Tx
from tests.ledger import FAR_CELL, FAR_SITE, SITE, Decide, Ledger, a_call, a_note, closed, message, noted, said
from tests.waiting import until

PERSON = UUID(int=7)


async def command(database: Database, decide: Decide, request: Any = None, *, seconds: float = 10.0) -> Any:
    with a_call(seconds=seconds):
        return await database.command(request or a_note(), message("NoteResponse"), decide)


async def announce(tx: Tx, *events: Any) -> None:
    """At once, so that there is something to lock and to roll back."""
    outbox.append(tx, *events, label="general")
    await outbox.announce(tx)


def events_of(ledger: Ledger, account: UUID) -> list[int]:
    rows = ledger.rows(f"SELECT aggregate_seq FROM outbox WHERE aggregate_id = '{account}' ORDER BY id")
    return [row["aggregate_seq"] for row in rows]


def kept_answers(ledger: Ledger, request: Any) -> int:
    return len(ledger.rows(f"SELECT 1 AS one FROM idempotency WHERE request_id = '{request.request_id}'"))


async def unavailable(database: Database, *, within: float) -> str:
    began = time.monotonic()
    with pytest.raises(Unavailable) as refused:
        async with database.transaction(SITE, "test"):
            pass
    assert time.monotonic() - began < within
    return refused.value.reason


async def test_a_deadlock_is_tried_once_more_and_both_commands_succeed(ledger: Ledger) -> None:
    database, one, two = ledger.database(), uuid4(), uuid4()
    both_hold_one, runs = asyncio.Barrier(2), 0

    def crossing(first: UUID, second: UUID) -> Decide:
        async def decide(tx: Tx, _: object) -> Any:
            nonlocal runs
            runs += 1
            tx.concerns(PERSON)
            await announce(tx, noted(first))
            if runs <= 2:
                await both_hold_one.wait()
            await announce(tx, noted(second))
            return said("done")

        return decide

    answers = await asyncio.gather(command(database, crossing(one, two)), command(database, crossing(two, one)))
    assert [answer.said for answer in answers] == ["done", "done"]
    assert runs == 3
    assert events_of(ledger, one) == events_of(ledger, two) == [1, 2]


async def test_who_loses_twice_hears_that_others_are_writing_the_same(ledger: Ledger) -> None:
    runs = 0

    async def decide(tx: Tx, _: object) -> Any:
        nonlocal runs
        runs += 1
        await tx.execute(text("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END $$"))

    with pytest.raises(Unavailable) as refused:
        await command(ledger.database(), decide)
    assert (refused.value.reason, runs) == ("BUSY", 2)


async def test_a_refusal_or_a_defect_leaves_nothing_behind(ledger: Ledger) -> None:
    account, request = uuid4(), a_note()

    async def refusing(tx: Tx, _: object) -> Any:
        tx.concerns(PERSON)
        await announce(tx, closed(account))
        raise Denied("NOT_TODAY", "Come back tomorrow.")

    async def broken(tx: Tx, _: object) -> Any:
        tx.concerns(PERSON)
        await announce(tx, closed(account))
        raise ZeroDivisionError

    database = ledger.database()
    with pytest.raises(Denied):
        await command(database, refusing, request)
    with pytest.raises(ZeroDivisionError):
        await command(database, broken, request)
    assert events_of(ledger, account) == []
    assert kept_answers(ledger, request) == 0


async def test_a_repeat_gets_the_stored_answer_and_decides_nothing(ledger: Ledger) -> None:
    database, request, runs = ledger.database(), a_note(), 0

    async def decide(tx: Tx, _: object) -> Any:
        nonlocal runs
        runs += 1
        tx.concerns(PERSON)
        return said(f"run {runs}")

    answers = [await command(database, decide, request) for _ in range(3)]
    assert [answer.said for answer in answers] == ["run 1"] * 3


async def test_a_command_that_says_for_nobody_whose_record_it_touched_commits_nothing(ledger: Ledger) -> None:
    account, request = uuid4(), a_note()

    async def silent(tx: Tx, _: object) -> Any:
        await announce(tx, closed(account))
        return said()

    with pytest.raises(RuntimeError, match="concerns"):
        await command(ledger.database(), silent, request)
    assert events_of(ledger, account) == []
    assert kept_answers(ledger, request) == 0


def audited(ledger: Ledger, action: str) -> list[tuple[str, str, list[str]]]:
    """Who did it, with which outcome, to whose record."""
    rows = ledger.rows(f"SELECT actor, outcome, people FROM audit WHERE action = '{action}' ORDER BY id")
    return [(row["actor"], row["outcome"], row["people"]) for row in rows]


async def test_what_a_service_does_by_itself_to_a_persons_record_is_audited_once(ledger: Ledger) -> None:
    database, does, refuses = ledger.database(), f"does-{uuid4()}", f"refuses-{uuid4()}"
    async with database.transaction(SITE, does) as tx:
        tx.concerns(PERSON)
    async with database.transaction(SITE, refuses) as tx:
        tx.concerns(PERSON)
        await audit.record(tx, "REFUSED", reason="NOT_TODAY")
    assert audited(ledger, does) == [("ledger", "DONE", [str(PERSON)])]
    assert audited(ledger, refuses) == [("ledger", "REFUSED", [str(PERSON)])]


async def test_what_concerns_nobody_or_is_rolled_back_is_not_audited(ledger: Ledger) -> None:
    database, action = ledger.database(), f"nothing-{uuid4()}"
    async with database.transaction(SITE, action):
        pass
    with suppress(ZeroDivisionError):
        async with database.transaction(SITE, action) as tx:
            tx.concerns(PERSON)
            raise ZeroDivisionError
    assert audited(ledger, action) == []


async def test_a_call_is_audited_by_whoever_answers_it_and_once(ledger: Ledger) -> None:
    database, rpc = ledger.database(), f"ledger.v1.LedgerService/{uuid4()}"

    async def answered(tx: Tx, _: object) -> Any:
        tx.concerns(PERSON)
        return said("done")

    with a_call(rpc=rpc):
        await database.command(a_note(), message("NoteResponse"), answered)
        async with database.transaction(SITE, rpc, call=current.get()) as tx:
            tx.concerns(PERSON)
    assert audited(ledger, rpc) == [("tester", "DONE", [str(PERSON)])]


async def test_a_statement_is_given_up_at_the_callers_deadline(ledger: Ledger) -> None:
    async def slow(tx: Tx, _: object) -> Any:
        await tx.execute(text("SELECT pg_sleep(20)"))

    began = time.monotonic()
    with pytest.raises(TimedOut) as refused:
        await command(ledger.database(), slow, seconds=0.5)
    assert refused.value.reason == "DEADLINE_EXCEEDED"
    assert time.monotonic() - began < 3


async def test_a_repeat_that_waits_for_its_twin_gives_up_at_its_own_deadline(ledger: Ledger) -> None:
    database, request, inside, go_on = ledger.database(), a_note(), asyncio.Event(), asyncio.Event()

    async def waiting(tx: Tx, _: object) -> Any:
        tx.concerns(PERSON)
        inside.set()
        await go_on.wait()
        return said("done")

    first = asyncio.create_task(command(database, waiting, request))
    await inside.wait()
    async with asyncio.timeout(3):
        with pytest.raises(TimedOut):
            await command(database, waiting, request, seconds=0.3)
    go_on.set()
    assert (await first).said == (await command(database, waiting, request)).said == "done"


async def test_a_transaction_sees_what_others_commit_whatever_the_server_does_by_default(ledger: Ledger) -> None:
    ledger.sql("ALTER ROLE ledger_app SET default_transaction_isolation = 'repeatable read'")
    try:
        async with ledger.database().transaction(SITE, "test") as tx:
            assert (await tx.execute(text("SHOW transaction_isolation"))).scalar_one() == "read committed"
    finally:
        ledger.sql("ALTER ROLE ledger_app RESET default_transaction_isolation")


async def test_who_gives_up_on_a_connection_that_has_fallen_silent_soon_leaves_the_place(ledger: Ledger) -> None:
    database, backends = ledger.database(pool_size=1), []

    async def stopped() -> None:
        async with database.transaction(SITE, "test") as tx:
            backends.append((await tx.execute(text("SELECT pg_backend_pid()"))).scalar_one())
            os.kill(backends[0], signal.SIGSTOP)
            await tx.run("SELECT 1")

    async def silent() -> bool:
        return bool(backends)

    waiting = asyncio.create_task(stopped())
    await until(silent)
    began = time.monotonic()
    try:
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await backend(database) not in backends
        assert time.monotonic() - began < 20
    finally:
        os.kill(backends[0], signal.SIGCONT)


async def test_a_server_that_is_gone_is_unavailable_at_once(ledger: Ledger) -> None:
    port = ledger.network.platform.folder.port("nothing")
    gone = ledger.database(url=f"postgresql://ledger_app:secret@127.0.0.1:{port}/stepway_ledger")
    assert await unavailable(gone, within=3) == "DATABASE_UNAVAILABLE"
    with pytest.raises(Unavailable):
        await loops.due(gone)


async def test_a_server_that_takes_no_more_connections_is_unavailable(ledger: Ledger) -> None:
    ledger.sql("ALTER ROLE ledger_app CONNECTION LIMIT 0")
    try:
        full = ledger.database()
        assert await unavailable(full, within=3) == "DATABASE_UNAVAILABLE"
        with pytest.raises(Unavailable):
            await loops.due(full)
    finally:
        ledger.sql("ALTER ROLE ledger_app CONNECTION LIMIT -1")


async def test_a_caller_does_not_hang_behind_a_full_pool(ledger: Ledger) -> None:
    small = ledger.database(pool_size=1)
    async with small.transaction(SITE, "test"):
        assert await unavailable(small, within=20) == "BUSY"
    async with small.transaction(SITE, "test") as tx:
        assert tx.site.name == SITE


async def test_a_connection_that_the_server_has_ended_is_unavailable_and_the_next_one_is_new(ledger: Ledger) -> None:
    database, seen = ledger.database(pool_size=1), []

    async def surviving(tx: Tx, _: object) -> Any:
        tx.concerns(PERSON)
        seen.append((await tx.execute(text("SELECT pg_backend_pid()"))).scalar_one())
        if len(seen) == 1:
            ledger.sql(f"SELECT pg_terminate_backend({seen[0]}, 5000)")
        await tx.execute(text("SELECT 1"))
        return said("alive")

    with pytest.raises(Unavailable) as refused:
        await command(database, surviving)
    assert refused.value.reason == "DATABASE_UNAVAILABLE"
    assert (await command(database, surviving)).said == "alive"
    assert len(set(seen)) == 2


async def test_a_connection_that_was_lost_in_the_pool_is_replaced_before_anybody_gets_it(ledger: Ledger) -> None:
    database = ledger.database(pool_size=1)
    lost = await backend(database)
    ledger.sql(f"SELECT pg_terminate_backend({lost}, 5000)")
    await asyncio.sleep(0.2)
    assert await backend(database) != lost


async def test_a_plan_that_is_made_of_an_empty_table_does_not_read_all_of_it_later(ledger: Ledger) -> None:
    async with ledger.database().transaction(SITE, "test") as tx:
        assert (await tx.run("SHOW enable_seqscan"))["enable_seqscan"] == "off"


async def backend(database: Database) -> int:
    async with database.transaction(SITE, "test") as tx:
        return int((await tx.execute(text("SELECT pg_backend_pid()"))).scalar_one())


@pytest.mark.parametrize("way", ["execute", "run"])
async def test_a_failure_that_was_passed_over_is_no_silent_rollback(ledger: Ledger, way: str) -> None:
    database, account = ledger.database(pool_size=1), uuid4()

    async def announced(*, failing: bool) -> None:
        async with database.transaction(SITE, "test") as tx:
            await announce(tx, noted(account))
            if failing:
                with suppress(Exception):
                    await (tx.run("SELECT 1 / 0") if way == "run" else tx.execute(text("SELECT 1 / 0")))

    with pytest.raises(RuntimeError, match="nothing was committed"):
        await announced(failing=True)
    await announced(failing=False)
    assert events_of(ledger, account) == [1]


async def test_a_failure_that_was_passed_over_is_a_defect_and_no_database_that_is_away(ledger: Ledger) -> None:
    database, account = ledger.database(pool_size=1), uuid4()

    def announcing(*, failing: bool) -> Decide:
        async def decide(tx: Tx, _: object) -> Any:
            tx.concerns(PERSON)
            outbox.append(tx, noted(account), label="general")
            if failing:
                with suppress(Exception):
                    await tx.run("SELECT 1 / 0")
            return said()

        return decide

    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await command(database, announcing(failing=True))
    await command(database, announcing(failing=False))
    assert events_of(ledger, account) == [1]


@pytest.mark.parametrize(
    ("site", "cell", "kind", "reason"),
    [
        ("nowhere", "shared", NotFound, "SITE_UNKNOWN"),
        (FAR_SITE, "shared", Unavailable, "WRONG_CELL"),
        (SITE, FAR_CELL, Unavailable, "WRONG_CELL"),
    ],
)
async def test_a_site_is_entered_by_its_own_cell_only(
    ledger: Ledger, site: str, cell: str, kind: type[Refusal], reason: str
) -> None:
    with pytest.raises(kind) as refused:
        async with ledger.database(cell=cell).transaction(site, "test"):
            pass
    assert refused.value.reason == reason


async def test_a_site_that_is_being_moved_asks_for_patience(ledger: Ledger) -> None:
    ledger.sql(f"UPDATE site SET state = 'draining' WHERE site = '{FAR_SITE}'")
    try:
        assert await _reason(ledger.database(cell=FAR_CELL)) == "SITE_DRAINING"
    finally:
        ledger.sql(f"UPDATE site SET state = 'active' WHERE site = '{FAR_SITE}'")
    assert await _reason(ledger.database(cell=FAR_CELL)) == ""


async def _reason(database: Database) -> str:
    try:
        async with database.transaction(FAR_SITE, "test"):
            return ""
    except Unavailable as refused:
        return refused.reason


async def test_a_text_that_cannot_be_stored_is_the_callers_mistake(ledger: Ledger) -> None:
    async def storing(tx: Tx, _: object) -> Any:
        await tx.execute(text("SELECT CAST(:word AS text)"), {"word": "a\x00b"})

    with pytest.raises(Refusal) as refused:
        await command(ledger.database(), storing)
    assert refused.value.reason == "TEXT_NOT_STORABLE"
