"""The sealed audit on real servers: every row gets under a seal, and whatever a superuser does to one is found."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from stepway_chassis import audit, seals
from stepway_chassis.app import Service, utc_now
from stepway_chassis.database import Database
from stepway_chassis.sealing import Sealer
from stepway_chassis.seals import Seal, SealKeys, Signer
from stepway_chassis.testing import running
from stepway_chassis.transaction import Tx
from stepway_cli import audits, stream
from stepway_cli.audits import Account
from stepway_cli.tampering import Kind
from stepway_cli.tokens import KeyFolder
from tests.ledger import FAR_SITE, SITE, Ledger, a_call, a_note, an_app, message, said
from tests.waiting import until

SOON = {"seal_seconds": "0.2", "sites_seconds": "3600"}  # a site that is registered later is not looked at by itself


async def noting(tx: Tx, _: object) -> Any:
    tx.concerns(uuid4())
    return said("done")


@pytest_asyncio.fixture(scope="module")
async def service(ledger: Ledger) -> AsyncIterator[Service]:
    """A ledger that seals every 0.2 seconds what it has written."""
    async with running(an_app(noting), ledger.environment(**SOON)) as started:
        yield started


def a_site(ledger: Ledger, **changes: str) -> str:
    name = f"quay-{uuid4().hex[:8]}"
    row = {"site": name, "zone": "UTC", "settings": "{}", "revision": "1", **changes}
    values = ", ".join(f"'{value}'" for value in row.values())
    ledger.sql(f"INSERT INTO site ({', '.join(row)}) VALUES ({values})")
    return name


async def write(database: Database, site: str, *, rows: int = 1) -> None:
    """Rows of a transaction each, as one call after another would leave them."""
    for _ in range(rows):
        async with database.transaction(site, "test") as tx:
            tx.concerns(uuid4())
            await audit.record(tx, "DONE")


def unsealed(ledger: Ledger, site: str) -> int:
    return len(ledger.rows(f"SELECT id FROM audit WHERE site = '{site}' AND seq IS NULL"))


async def verified(ledger: Ledger, site: str) -> Account:
    keepers = {"ledger": ledger.url("keeper")}
    (account,) = (await audits.verify(keepers, admin(ledger), keys(ledger), site)).accounts
    return account


def admin(ledger: Ledger) -> stream.Admin:
    return stream.Admin(*ledger.network.platform.nats_admin)


def keys(ledger: Ledger) -> SealKeys:
    return SealKeys(ledger.network.platform.keys.jwks_file.read_text())


async def witnessed(ledger: Ledger, site: str, rows: int) -> Account:
    """When so many are sealed and the stream has heard of it."""

    async def look() -> Account | None:
        account = await verified(ledger, site)
        return account if account.on_stream == account.sealed == rows and not account.unsealed else None

    return await until(look)


async def a_chain(ledger: Ledger, service: Service, *, seals: int = 3, rows: int = 4) -> str:
    """A site with so many seals over so many rows each, all on the stream."""
    site, database = a_site(ledger), ledger.database(pool_size=1)
    for _ in range(seals):
        await write(database, site, rows=rows)
        await service.sealer.seal(site)
    await witnessed(ledger, site, seals * rows)
    return site


def found(account: Account) -> set[tuple[str, int, int]]:
    return {(each.kind, each.first, each.last) for each in account.findings}


async def test_what_a_call_leaves_is_sealed_within_the_window(ledger: Ledger, service: Service) -> None:
    before = (await verified(ledger, SITE)).sealed
    with a_call():
        await service.database.command(a_note(), message("NoteResponse"), noting)

    async def sealed() -> bool:
        account = await verified(ledger, SITE)
        return account.sealed > before and not account.unsealed and account.on_stream == account.sealed

    await until(sealed)
    assert not (await verified(ledger, SITE)).touched
    (newest,) = ledger.rows(
        "SELECT extract(epoch FROM min(sealed_at) - at) AS waited FROM audit JOIN audit_seal AS seal USING (site)"
        f" WHERE site = '{SITE}' AND seal.seq >= audit.seq GROUP BY audit.id, at ORDER BY audit.id DESC LIMIT 1"
    )
    assert newest["waited"] < 8  # every ten seconds, if nobody says otherwise


async def test_a_seal_is_announced_by_its_service_and_is_about_no_person(ledger: Ledger, service: Service) -> None:
    site = await a_chain(ledger, service, seals=2, rows=1)
    events = [each async for each in stream.stored(admin(ledger), stream.subject(site))]
    assert {each.subject for each in events} == {f"evt.v1.{site}.general.ledger.audit_sealed"}
    chain = seals.chain_id("ledger", site)
    assert [each.headers["ce-sequence"].lstrip("0") for each in events] == ["1", "2"]
    assert {each.headers["ce-source"] for each in events} == {f"/sites/{site}/ledger/audit_chain/{chain}"}
    assert all("ce-dataref" not in each.headers for each in events)
    assert [json.loads(each.payload)["seq"] for each in events] == ["1", "2"]


async def test_two_that_seal_side_by_side_make_one_unbroken_chain(ledger: Ledger, service: Service) -> None:
    site, database = a_site(ledger), ledger.database(pool_size=4)
    sealers = [a_sealer(ledger) for _ in range(3)]

    async def sealing(sealer: Sealer) -> None:
        for _ in range(5):
            await sealer.seal(site)

    await asyncio.gather(*(write(database, site, rows=10) for _ in range(4)), *map(sealing, sealers))
    await sealers[0].seal(site)
    assert (await witnessed(ledger, site, 40)).findings == ()


def a_sealer(ledger: Ledger, written: Database | None = None, **how: Any) -> Sealer:
    keeper = ledger.database(url=ledger.url("keeper"), pool_size=1)
    signer = Signer(ledger.network.platform.keys.service_key_file("ledger"))
    given = {"seconds": 60, **how}
    return Sealer(written or ledger.database(pool_size=1), keeper, signer, lambda: keys(ledger), utc_now, **given)


async def test_what_a_killed_process_left_is_sealed_by_the_next_that_starts(ledger: Ledger) -> None:
    site = a_site(ledger)
    await write(ledger.database(pool_size=1), site, rows=3)
    account = await verified(ledger, site)
    assert (account.sealed, account.unsealed, account.touched) == (0, 3, False)
    assert account.oldest_unsealed is not None
    assert 0 <= account.unsealed_seconds < 20
    async with running(an_app(noting), ledger.environment(**SOON)):
        assert (await witnessed(ledger, site, 3)).findings == ()


async def test_a_clean_stop_leaves_nothing_unsealed(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepway_chassis.app.SEAL_SECONDS", 30)  # the sites of all other tests come before this one
    site = a_site(ledger)
    async with running(an_app(noting), ledger.environment(seal_seconds="60")) as slow:
        await write(slow.database, site, rows=2)
        assert unsealed(ledger, site) == 2
    assert (await witnessed(ledger, site, 2)).findings == ()


async def test_more_rows_than_one_batch_are_sealed_at_once(
    ledger: Ledger, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepway_chassis.sealing.BATCH", 4)
    monkeypatch.setattr("stepway_cli.audits.BATCH", 3)
    site = a_site(ledger)
    await write(ledger.database(pool_size=1), site, rows=10)
    await service.sealer.seal(site)
    assert (await witnessed(ledger, site, 10)).findings == ()
    sealed = ledger.rows(f"SELECT seq, head FROM audit_seal WHERE site = '{site}' ORDER BY seq")
    assert [(each["seq"], keys(ledger).opened(each["head"]).complete) for each in sealed] == [
        (4, False),
        (8, False),
        (10, True),
    ]


async def test_a_site_that_another_cell_runs_is_forgotten(ledger: Ledger, service: Service) -> None:
    service.sealer.look_at(FAR_SITE)
    service.sealer.look_at("atlantis")

    async def forgotten() -> bool:
        return not {FAR_SITE, "atlantis"} & service.database.unsealed

    await until(forgotten)


async def test_a_site_that_another_cell_had_for_a_moment_is_sealed_when_it_is_back(ledger: Ledger) -> None:
    """Gone and back before the register was read again: nobody tells the sealer to look at it."""
    site, database = a_site(ledger), ledger.database(pool_size=1)
    await write(database, site, rows=2)
    ledger.sql(f"UPDATE site SET cell = 'west' WHERE site = '{site}'")
    sealer = a_sealer(ledger, database, seconds=0.1, served=lambda: [site] if back else [])
    back, sealing = False, asyncio.create_task(sealer.run())

    async def forgotten() -> bool:
        return site not in database.unsealed

    await until(forgotten)
    ledger.sql(f"UPDATE site SET cell = 'shared' WHERE site = '{site}'")
    back = True
    assert (await witnessed(ledger, site, 2)).findings == ()
    sealer.stop()
    await sealing


async def test_a_site_that_cannot_be_sealed_holds_up_no_other(ledger: Ledger, service: Service) -> None:
    broken = await a_chain(ledger, service, seals=1, rows=1)
    ledger.sql(f"UPDATE audit_seal SET head = 'a.b.c' WHERE site = '{broken}'")
    other = a_site(ledger)
    with capture_logs() as logged:
        await write(service.database, broken)
        await write(service.database, other)
        await witnessed(ledger, other, 1)

        async def complained() -> bool:
            return ("audit.unsealed", broken) in {(line["event"], line.get("site")) for line in logged}

        await until(complained)
    assert unsealed(ledger, broken) == 1
    assert broken in service.database.unsealed
    service.database.unsealed.discard(broken)


async def test_nothing_written_costs_nothing(ledger: Ledger, service: Service) -> None:
    site = await a_chain(ledger, service, seals=1, rows=1)
    await service.sealer.seal(site)
    await service.sealer.seal(site)
    assert len(ledger.rows(f"SELECT seq FROM audit_seal WHERE site = '{site}'")) == 1


EDITS = {
    "id": "uuidv7()",
    "at": "at - interval '1 second'",
    "actor": "'somebody-else'",
    "actor_kind": "'patient'",
    "action": "'stepway.ledger.v1.LedgerService/Look'",
    "people": "people || id",
    "purpose": "'HPAYMT'",
    "outcome": "'REFUSED'",
    "reason": "'NONE'",
    "trace_id": "''",
    "hash": "sha256('')",
}


def edit(column: str) -> str:
    return f"UPDATE audit SET {column} = {EDITS[column]} WHERE site = '{{site}}' AND seq = 6"


TAKE_BACK = "UPDATE audit SET seq = NULL, hash = NULL, at = at - interval '1 hour' WHERE site = '{site}' AND seq = 6"
DELETE = "DELETE FROM audit WHERE site = '{site}' AND seq"
UNSEAL = "DELETE FROM audit_seal WHERE site = '{site}' AND seq"
INSERT = (
    "INSERT INTO audit (site, at, actor, actor_kind, action, people, purpose, outcome, reason, trace_id, seq, hash)"
    " SELECT site, {at}, 'somebody-else', actor_kind, action, people, purpose, outcome, reason, trace_id, {seq}, hash"
    " FROM audit WHERE site = '{{site}}' AND seq = 6"
)
SLIPPED_IN = INSERT.format(at="at - interval '1 hour'", seq="NULL")
MAKE_ROOM = (
    "UPDATE audit SET seq = -seq - 1 WHERE site = '{site}' AND seq > 6",
    "UPDATE audit SET seq = -seq WHERE site = '{site}' AND seq < 0",
)


def inserted(seq: int) -> str:
    return INSERT.format(at="at", seq=seq)


@pytest.mark.parametrize(
    ("done", "findings"),
    [
        *(pytest.param([edit(column)], {(Kind.EDITED_ROW, 6, 6)}, id=f"edit {column}") for column in EDITS),
        pytest.param([f"{DELETE} = 6"], {(Kind.MISSING_ROW, 6, 6)}, id="delete in the middle"),
        pytest.param([f"{DELETE} > 10"], {(Kind.CUT_TAIL, 11, 12)}, id="delete the tail"),
        pytest.param([f"{DELETE} > 8", f"{UNSEAL} > 8"], {(Kind.CUT_TAIL, 9, 12)}, id="delete the tail and its seals"),
        pytest.param([f"{DELETE} > 0", f"{UNSEAL} > 0"], {(Kind.CUT_TAIL, 1, 12)}, id="delete all and the seals"),
        pytest.param([f"{UNSEAL} > 8"], {(Kind.UNSIGNED_ROW, 9, 12)}, id="delete the last seal"),
        pytest.param([*MAKE_ROOM, inserted(7)], {(Kind.INSERTED_ROW, 7, 7)}, id="insert in the middle"),
        pytest.param([inserted(13)], {(Kind.EDITED_ROW, 13, 13), (Kind.UNSIGNED_ROW, 13, 13)}, id="insert at the end"),
        pytest.param([inserted(0)], {(Kind.INSERTED_ROW, 0, 0)}, id="insert before the first"),
        pytest.param([inserted(-7)], {(Kind.INSERTED_ROW, -7, -7)}, id="insert below zero"),
        pytest.param([SLIPPED_IN], {(Kind.BACKDATED_ROW, 0, 0)}, id="insert unsealed"),
        pytest.param([TAKE_BACK], {(Kind.MISSING_ROW, 6, 6), (Kind.BACKDATED_ROW, 0, 0)}, id="take back"),
    ],
)
async def test_what_a_superuser_does_to_sealed_rows_is_found_by_name(
    ledger: Ledger, service: Service, done: list[str], findings: set[tuple[str, int, int]]
) -> None:
    site = await a_chain(ledger, service)
    for statement in done:
        ledger.sql(statement.format(site=site))
    account = await verified(ledger, site)
    assert found(account) == findings
    assert account.touched


async def test_a_forged_row_that_the_sealer_has_sealed_is_found(ledger: Ledger, service: Service) -> None:
    site = await a_chain(ledger, service)
    ledger.sql(SLIPPED_IN.format(site=site))
    await service.sealer.seal(site)
    assert found(await witnessed(ledger, site, 13)) == {(Kind.BACKDATED_ROW, 13, 13)}


async def recompute(connection: asyncpg.Connection, site: str) -> None:
    """Somebody else in row 6, and hashes to match."""
    await connection.execute("UPDATE audit SET actor = 'somebody-else' WHERE site = $1 AND seq = 6", site)
    before = seals.GENESIS
    for row in await connection.fetch("SELECT * FROM audit WHERE site = $1 AND seq > 0 ORDER BY seq", site):
        before = seals.chained(before, site, row["seq"], row)
        await connection.execute("UPDATE audit SET hash = $2 WHERE site = $1 AND id = $3", site, before, row["id"])


Sign = Callable[[Seal], str]


async def reseal(connection: asyncpg.Connection, site: str, sign: Sign | None) -> None:
    """Seals with the hashes of the rows, and heads that somebody has signed."""
    query = (
        "SELECT seal.seq, audit.hash, head, sealed_at FROM audit_seal AS seal JOIN audit USING (site, seq)"
        " WHERE site = $1"
    )
    for row in await connection.fetch(query, site):
        seal = Seal("ledger", site, row["seq"], row["hash"], row["sealed_at"], complete=True)
        head = sign(seal) if sign else row["head"]
        update = "UPDATE audit_seal SET hash = $3, head = $4 WHERE site = $1 AND seq = $2"
        await connection.execute(update, site, row["seq"], row["hash"], head)


@dataclass(frozen=True)
class Recomputed:
    site: str
    stranger: Sign  # signs with a key of its own, under the name of the ledger's


@pytest_asyncio.fixture
async def recomputed(ledger: Ledger, service: Service, tmp_path: Any) -> Recomputed:
    site, strangers = await a_chain(ledger, service), KeyFolder(tmp_path)
    strangers.create(("ledger",))
    async with ledger.network.superuser("ledger") as connection:
        await recompute(connection, site)
    return Recomputed(site, Signer(strangers.service_key_file("ledger")).signed)


async def test_a_recomputed_chain_is_found_at_the_next_seal(ledger: Ledger, recomputed: Recomputed) -> None:
    account = await verified(ledger, recomputed.site)
    assert [(each.kind, each.first, each.witness) for each in account.findings] == [
        (Kind.RECOMPUTED_CHAIN, 8, "the stream"),
        (Kind.RECOMPUTED_CHAIN, 8, "a seal"),
    ]


@pytest.mark.parametrize("forged", ["signed by a stranger", "with the old signatures"])
async def test_a_recomputed_chain_with_forged_seals_is_found(
    ledger: Ledger, recomputed: Recomputed, forged: str
) -> None:
    async with ledger.network.superuser("ledger") as connection:
        await reseal(connection, recomputed.site, recomputed.stranger if forged == "signed by a stranger" else None)
    account = await verified(ledger, recomputed.site)
    assert found(account) >= {(Kind.RECOMPUTED_CHAIN, 8, 8), (Kind.FORGED_SEAL, 8, 8), (Kind.FORGED_SEAL, 12, 12)}


async def test_a_recomputed_chain_without_its_seals_is_found(ledger: Ledger, recomputed: Recomputed) -> None:
    ledger.sql(f"DELETE FROM audit_seal WHERE site = '{recomputed.site}' AND seq > 4")
    account = await verified(ledger, recomputed.site)
    assert found(account) == {(Kind.RECOMPUTED_CHAIN, 8, 8), (Kind.UNSIGNED_ROW, 5, 12)}


async def test_the_sealer_puts_its_name_to_no_chain_that_was_recomputed(
    ledger: Ledger, service: Service, recomputed: Recomputed
) -> None:
    async with ledger.network.superuser("ledger") as connection:
        await reseal(connection, recomputed.site, recomputed.stranger)
    await write(ledger.database(pool_size=1), recomputed.site)
    with pytest.raises(seals.SealForged):
        await service.sealer.seal(recomputed.site)


async def test_a_tail_that_was_replaced_and_sealed_again_is_found(ledger: Ledger, service: Service) -> None:
    site = await a_chain(ledger, service)
    ledger.sql(f"DELETE FROM audit WHERE site = '{site}' AND seq > 8")
    ledger.sql(f"DELETE FROM audit_seal WHERE site = '{site}' AND seq > 8")
    await write(ledger.database(pool_size=1), site, rows=4)
    await service.sealer.seal(site)
    assert found(await witnessed(ledger, site, 12)) == {(Kind.RECOMPUTED_CHAIN, 12, 12)}


async def test_what_others_put_on_the_stream_does_not_count(
    ledger: Ledger, service: Service, recomputed: Recomputed
) -> None:
    site = await a_chain(ledger, service, seals=1, rows=1)
    seal = Seal("ledger", site, 9, bytes(32), utc_now(), complete=True)
    care = Signer(ledger.network.platform.keys.service_key_file("care")).signed
    bodies = [json.dumps({"head": sign(seal)}).encode() for sign in (recomputed.stranger, care)]
    await publish(ledger, f"evt.v1.{site}.general.ledger.audit_sealed", *bodies, b"no json", b"[]", b"{}")
    verified = await audits.verify({"ledger": ledger.url("keeper")}, admin(ledger), keys(ledger), site)
    assert (verified.uncounted, verified.touched) == (5, False)
    assert verified.accounts[0].on_stream == 1
    assert audits.lines(verified) == ["5 messages on the stream claim to be seals; no service has signed them"]


async def publish(ledger: Ledger, subject: str, *bodies: bytes) -> None:
    async with ledger.network.broker() as client:
        for body in bodies:
            await client.jetstream().publish(subject, body)


async def test_a_role_of_the_service_can_write_no_number_and_no_time(ledger: Ledger) -> None:
    for column, value in (("seq", 1), ("hash", b""), ("at", utc_now()), ("id", uuid4())):
        async with ledger.database(pool_size=1).engine.connect() as connection:
            raw = await connection.get_raw_connection()
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await raw.driver_connection.execute(f"INSERT INTO audit (site, {column}) VALUES ('x', $1)", value)  # type: ignore[union-attr]
