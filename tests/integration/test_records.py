"""What every store builds on: records of one site, added, found, saved and listed, and labels that only rise."""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Column, MetaData, Text

from stepway_chassis import labels, records
from stepway_chassis.ids import uuid7
from stepway_chassis.pages import Page
from stepway_chassis.transaction import Tx
from tests.ledger import OTHER_SITE, Ledger

ACCOUNT = records.records(
    "account", MetaData(), Column("colour", Text), Column("note", Text), Column("entered_by", Text)
)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Account:
    id: UUID
    colour: Colour
    note: str | None = None


def an_account() -> Account:
    return Account(uuid7(datetime.now(UTC)), Colour.RED)


async def kept(tx: Tx, account: Account) -> Account:
    await records.add(tx, ACCOUNT, account, entered_by="tester")
    return account


async def test_a_record_comes_back_as_it_was_added(ledger: Ledger) -> None:
    async with ledger.transaction(ledger.database()) as tx:
        account = await kept(tx, an_account())
        row = await records.find(tx, ACCOUNT, account.id)
    assert row is not None
    assert records.read(Account, row) == account
    assert isinstance(records.read(Account, row).colour, Colour)
    assert row["entered_by"] == "tester"


async def test_a_record_of_another_site_is_not_found(ledger: Ledger) -> None:
    database = ledger.database()
    async with ledger.transaction(database) as tx:
        account = await kept(tx, an_account())
    async with ledger.transaction(database, OTHER_SITE) as tx:
        assert await records.find(tx, ACCOUNT, account.id) is None
        assert await records.lock(tx, ACCOUNT, account.id) is None
        await records.save(tx, ACCOUNT, replace(account, colour=Colour.BLUE), "colour")
    assert ledger.rows(f"SELECT colour FROM account WHERE id = '{account.id}'") == [{"colour": "red"}]


async def test_only_the_named_fields_are_saved(ledger: Ledger) -> None:
    async with ledger.transaction(ledger.database()) as tx:
        account = await kept(tx, an_account())
        await records.save(tx, ACCOUNT, replace(account, colour=Colour.BLUE, note="unsaid"), "colour")
    found = ledger.rows(f"SELECT colour, note FROM account WHERE id = '{account.id}'")
    assert found == [{"colour": "blue", "note": None}]


async def test_a_locked_record_waits_for_nobody_else_to_change_it(ledger: Ledger) -> None:
    database = ledger.database()
    async with ledger.transaction(database) as tx:
        account = await kept(tx, an_account())

    async def paint() -> None:
        async with ledger.transaction(database) as tx:
            await records.lock(tx, ACCOUNT, account.id)
            await records.save(tx, ACCOUNT, replace(account, colour=Colour.BLUE), "colour")

    async with ledger.transaction(database) as tx:
        await records.lock(tx, ACCOUNT, account.id)
        painting = asyncio.create_task(paint())
        done, _ = await asyncio.wait({painting}, timeout=0.2)
        assert not done
    await painting


async def test_a_page_holds_the_newest_and_one_more(ledger: Ledger) -> None:
    async with ledger.transaction(ledger.database()) as tx:
        made = sorted([(await kept(tx, an_account())).id for _ in range(4)])
        first = [row["id"] for row in await _rows(tx, Page(None, 2))]
        second = [row["id"] for row in await _rows(tx, Page(made[2], 2))]
    assert first == [made[3], made[2], made[1]]
    assert second[:2] == [made[1], made[0]]


async def _rows(tx: Tx, page: Page) -> list[dict[str, UUID]]:
    return [dict(row) for row in (await tx.execute(records.newest(tx, ACCOUNT, page))).mappings()]


@pytest.mark.parametrize("heard", [["general", "part2"], ["part2", "general"], ["part2"]])
async def test_the_highest_label_heard_of_a_person_stays(ledger: Ledger, heard: list[str]) -> None:
    person = uuid4()
    async with ledger.transaction(ledger.database()) as tx:
        for label in heard:
            await labels.keep(tx, person, label)
        assert await labels.of(tx, person) == "part2"


async def test_somebody_unknown_is_part_2_and_a_label_is_of_one_site(ledger: Ledger) -> None:
    person, database = uuid4(), ledger.database()
    async with ledger.transaction(database) as tx:
        await labels.keep(tx, person, "general")
        assert await labels.of(tx, person) == "general"
    async with ledger.transaction(database, OTHER_SITE) as tx:
        assert await labels.of(tx, person) == "part2"
