"""Transactions in a site: who is let in, what is seen from there, and what has to wait until they have left."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from tests.calls import send
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral
from tests.roles import connected, entered, sites_seen
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("both_sites_have_records")


async def test_a_row_of_another_site_cannot_be_changed(network: Network) -> None:
    for site, other in ((NORTHSIDE, LAKESIDE), (LAKESIDE, NORTHSIDE)):
        async with entered(network, "intake", "app", site) as connection:
            changed = await connection.execute("UPDATE referral SET status = 'screening' WHERE site = $1", other)
        assert changed == "UPDATE 0"


@pytest.mark.parametrize("ending", ["commit", "rollback"])
async def test_a_site_that_was_set_ends_with_its_transaction(network: Network, ending: str) -> None:
    async with connected(network, "intake", "app") as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT zone FROM enter_site($1, 'shared')", NORTHSIDE)
        assert await sites_seen(connection, "referral") == {NORTHSIDE}
        await getattr(transaction, ending)()
        assert await connection.fetchval("SELECT current_setting('app.site', true)") == ""
        assert await sites_seen(connection, "referral") == set()


@pytest.mark.parametrize("setting", ["", "northside'", "NORTHSIDE", "northside ", "%", "northside,lakeside"])
async def test_a_setting_that_is_no_site_shows_nothing(network: Network, setting: str) -> None:
    async with entered(network, "intake", "app", setting) as connection:
        assert await sites_seen(connection, "referral") == set()


@pytest.fixture
def unusual_sites(network: Network) -> Iterator[None]:
    """A site of another cell and one that is being moved; no service of this cell serves either."""
    run_sql = network.platform.postgres.run_sql
    run_sql(
        "INSERT INTO site (site, zone, settings, revision, cell, state) VALUES"
        " ('of-another-cell', 'UTC', '{}', 1, 'other', 'active'), ('draining', 'UTC', '{}', 1, 'shared', 'draining')",
        database="stepway_intake",
    )
    yield
    run_sql("DELETE FROM site WHERE site IN ('of-another-cell', 'draining')", database="stepway_intake")


@pytest.mark.usefixtures("unusual_sites")
@pytest.mark.parametrize(
    ("site", "sqlstate"), [("westside", "SW001"), ("", "SW001"), ("of-another-cell", "SW002"), ("draining", "SW003")]
)
async def test_a_site_that_is_not_to_be_entered_is_not(network: Network, site: str, sqlstate: str) -> None:
    async with connected(network, "intake", "app") as connection:
        with pytest.raises(asyncpg.PostgresError) as refused:
            await connection.execute("SELECT zone FROM enter_site($1, 'shared')", site)
        assert refused.value.sqlstate == sqlstate


@pytest.mark.usefixtures("unusual_sites")
@pytest.mark.parametrize(
    ("site", "refusal"),
    [("of-another-cell", ("UNAVAILABLE", "WRONG_CELL")), ("draining", ("UNAVAILABLE", "SITE_DRAINING"))],
)
async def test_a_call_to_a_site_that_is_not_to_be_entered_is_refused(
    network: Network, site: str, refusal: tuple[str, str]
) -> None:
    token = network.token("desk-1", **{site: ["front_desk"]})
    answer = send(network, "stepway.intake.v1.ReferralService/ReceiveReferral", a_referral(), token=token, site=site)
    assert answer.refusal == refusal


async def test_a_site_cannot_be_moved_while_a_transaction_is_in_it(network: Network) -> None:
    exclusive = "SELECT pg_try_advisory_xact_lock(hashtextextended('site/' || $1, 0))"
    async with connected(network, "intake", "app") as inside, connected(network, "intake", "registrar") as mover:
        async with inside.transaction():
            await inside.execute("SELECT zone FROM enter_site($1, 'shared')", LAKESIDE)
            assert await mover.fetchval(exclusive, LAKESIDE) is False
            assert await mover.fetchval(exclusive, "westside") is True

        async def free() -> bool:
            return bool(await mover.fetchval(exclusive, LAKESIDE))

        assert await until(free)


async def test_two_transactions_can_be_in_a_site_at_once(network: Network) -> None:
    enter = "SELECT zone FROM enter_site($1, 'shared')"
    async with entered(network, "intake", "app", None) as one, entered(network, "intake", "app", None) as other:
        await one.execute(enter, LAKESIDE)
        await asyncio.wait_for(other.execute(enter, LAKESIDE), 5)
