"""What the databases themselves keep apart: sites from each other, roles from what is not theirs."""

from typing import Any

import asyncpg
import pytest

from stepway_chassis.schema import EXEMPT, OWN_SITE
from stepway_cli.local.roles import ROLES, role_of
from tests.network import LAKESIDE, NORTHSIDE, Network
from tests.roles import connected, entered, every_database, sites_seen

pytestmark = pytest.mark.usefixtures("both_sites_have_records")

OWN_TABLES = {
    "intake": {
        *("patient", "person_key", "referral", "assessment", "workup", "content_pack", "risk_flag"),
        *("level_of_care_suggestion", "level_of_care_decision", "hand_off", "hand_off_attempt"),
        *("family_member", "consent", "admission", "party", "transfer", "imported"),
    },
    "scheduling": {"track", "enrollment"},
    "care": {"treatment_plan"},
    "family": {"consent_link", "patient", "family_group", "invitation"},
    "notifications": {"patient", "message", "escalation", "family_member", "taken_flag"},
}
CHASSIS_TABLES = {
    *("event_head", "outbox", "outbox_blocked", "inbox", "delivery_failure", "dead_letter", "idempotency", "audit"),
    *("person_label", "person_alias", "audit_seal"),
}
SITE_DOES_NOT_LEAD = {
    "alembic_version_pkc",  # one row, of no site
    "outbox_pkey",  # the identity key: the order in which the relay publishes
    "outbox_unpublished",  # the relay reads every site, shard by shard
    "work_pkey",  # a loop reads every site that is due
    "work_due",
}
READS = {
    "keeper": {"outbox", "outbox_blocked", "inbox", "dead_letter", "idempotency", "audit", "site", "work"}
    | {"audit_seal", "event_head"},
    "relay": {"outbox", "outbox_blocked", "site"},
    "registrar": {"site"},
}
WRITES = {
    "keeper": {
        "outbox": "ID",
        "outbox_blocked": "D",
        "inbox": "D",
        "dead_letter": "U",
        "idempotency": "D",
        "work": "IUD",
        "audit": "U",
        "audit_seal": "I",
        "event_head": "IU",
    },
    "relay": {"outbox": "U", "outbox_blocked": "IU"},
    "registrar": {"site": "IU"},
}
CHASSIS_WRITES = {
    "event_head": "IU",
    "outbox": "I",
    "inbox": "I",
    "delivery_failure": "IUD",
    "dead_letter": "IUD",
    "idempotency": "IU",
    "audit": "I",
    "person_label": "IUD",
    "person_alias": "I",
    "work": "IUD",
}
APP_WRITES = {
    "intake": {
        "patient": "IU",
        "person_key": "ID",
        "referral": "IU",
        "assessment": "IU",
        "workup": "IU",
        "content_pack": "I",
        "risk_flag": "IU",
        "level_of_care_suggestion": "IU",
        "level_of_care_decision": "IU",
        "hand_off": "IU",
        "hand_off_attempt": "I",
        "family_member": "IU",
        "consent": "IU",
        "admission": "IU",
        "party": "IU",
        "transfer": "IU",
        "imported": "I",
    },
    "scheduling": {"track": "IU", "enrollment": "IU"},
    "care": {"treatment_plan": "IU"},
    "family": {"consent_link": "IU", "patient": "IUD", "family_group": "IU", "invitation": "IU"},
    "notifications": {"patient": "IUD", "message": "IU", "escalation": "IU", "family_member": "IU", "taken_flag": "I"},
}
every_role = pytest.mark.parametrize("role", ROLES)


def tables(service: str) -> set[str]:
    return OWN_TABLES[service] | CHASSIS_TABLES


def catalogue(network: Network, service: str, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in network.rows(service, query)]


@every_database
def test_every_table_has_a_site_and_is_closed_by_it_unless_it_is_named_here(network: Network, service: str) -> None:
    found = catalogue(
        network,
        service,
        "SELECT relname, relrowsecurity AND relforcerowsecurity AS closed, EXISTS (SELECT FROM pg_attribute"
        " WHERE attrelid = pg_class.oid AND attname = 'site' AND attnotnull) AS has_site"
        " FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace",
    )
    assert {name for name, closed, _ in found if closed} == tables(service)
    assert {name for name, closed, _ in found if not closed} == EXEMPT == {"alembic_version", "site", "work"}
    assert {name for name, _, has_site in found if not has_site} == {"alembic_version"}


@every_database
def test_the_policies_are_these_and_no_others(network: Network, service: str) -> None:
    found = network.rows(
        service,
        "SELECT tablename, policyname, permissive, roles, cmd, qual, with_check FROM pg_policies"
        " WHERE schemaname = 'public'",
    )
    own = [each for each in found if each["policyname"] == "own_site"]
    assert {each["tablename"] for each in own} == tables(service)
    assert {(*each["roles"], each["cmd"], _bare(each["qual"]), _bare(each["with_check"])) for each in own} == {
        ("public", "ALL", _bare(OWN_SITE), _bare(OWN_SITE))
    }
    others = [tuple(map(str, each.values())) for each in found if each not in own]
    relay = f"['{role_of(service, 'relay')}']"
    assert sorted(others) == [
        (table, "relay_all", "PERMISSIVE", relay, "ALL", "true", "true") for table in ("outbox", "outbox_blocked")
    ]


def _bare(expression: str) -> str:
    """Without what PostgreSQL adds to an expression when it shows it."""
    return "".join(letter for letter in expression.replace("::text", "") if letter not in "() ")


@every_database
def test_the_site_leads_every_index_and_key_unless_it_is_named_here(network: Network, service: str) -> None:
    found = catalogue(
        network,
        service,
        "SELECT relname, attname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " LEFT JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]"
        " WHERE relnamespace = 'public'::regnamespace",
    )
    assert {name for name, first in found if first != "site"} == SITE_DOES_NOT_LEAD


@every_database
def test_the_site_leads_every_foreign_key(network: Network, service: str) -> None:
    found = catalogue(
        network,
        service,
        "SELECT conname, attname FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]"
        " WHERE contype = 'f'",
    )
    assert found
    assert {first for _, first in found} == {"site"}


@every_database
@every_role
def test_no_role_can_step_around_a_policy(network: Network, service: str, role: str) -> None:
    name = role_of(service, role)
    powers = network.rows(
        service,
        "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication,"
        " EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid) AS of_another,"
        f" has_schema_privilege('{name}', 'public', 'CREATE') AS creates FROM pg_roles WHERE rolname = '{name}'",
    )
    nothing = dict.fromkeys(
        ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb", "rolreplication", "of_another"), False
    )
    assert powers == [nothing | {"creates": role == "owner"}]


@every_database
def test_nothing_runs_with_the_rights_of_another_and_no_view_is_in_between(network: Network, service: str) -> None:
    functions = "SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
    views = "SELECT relname FROM pg_class WHERE relkind IN ('v', 'm', 'f') AND relnamespace = 'public'::regnamespace"
    assert (network.rows(service, functions), network.rows(service, views)) == ([], [])


@every_role
async def test_a_role_of_one_service_cannot_open_the_database_of_another(network: Network, role: str) -> None:
    url = network.platform.database_url("intake", role).replace("/stepway_intake", "/stepway_notifications")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(url)


def readable(service: str, role: str) -> set[str]:
    if role == "owner":
        return tables(service) | EXEMPT
    return (tables(service) | {"site", "work"}) if role == "app" else READS[role]


def writable(service: str, role: str) -> dict[str, str]:
    if role == "owner":
        return dict.fromkeys(tables(service) | EXEMPT, "IUD")
    return CHASSIS_WRITES | APP_WRITES[service] if role == "app" else WRITES[role]


@every_database
@every_role
@pytest.mark.parametrize("site", [None, NORTHSIDE, LAKESIDE])
async def test_a_role_sees_one_site_at_most_and_nothing_without_one(
    network: Network, service: str, role: str, site: str | None
) -> None:
    for table in sorted(readable(service, role) & tables(service)):
        async with entered(network, service, role, site) as connection:
            seen = await sites_seen(connection, table)
        assert role == "relay" or seen <= {site}, table


@every_database
@pytest.mark.parametrize("role", ["owner", "app"])
@pytest.mark.parametrize("site", [NORTHSIDE, LAKESIDE])
async def test_what_a_site_wrote_it_sees(network: Network, service: str, role: str, site: str) -> None:
    async with entered(network, service, role, site) as connection:
        for table in OWN_TABLES[service] | {"outbox", "audit", "inbox"} - ({"inbox"} if service == "intake" else set()):
            assert await sites_seen(connection, table) == {site}, table


@every_database
async def test_the_relay_sees_the_outbox_of_every_site(network: Network, service: str) -> None:
    async with connected(network, service, "relay") as connection:
        assert await sites_seen(connection, "outbox") >= {NORTHSIDE, LAKESIDE}


@every_database
@every_role
async def test_a_role_can_read_these_tables_and_no_others(network: Network, service: str, role: str) -> None:
    refused = set()
    for table in sorted(tables(service) | EXEMPT):
        async with entered(network, service, role, NORTHSIDE) as connection:
            try:
                await connection.fetch(f"SELECT 1 FROM {table} LIMIT 1")
            except asyncpg.InsufficientPrivilegeError:
                refused.add(table)
    assert (tables(service) | EXEMPT) - refused == readable(service, role)


@every_database
@every_role
def test_a_role_can_write_these_tables_and_no_others(network: Network, service: str, role: str) -> None:
    name = role_of(service, role)
    found = network.rows(
        service,
        f"SELECT relname, has_any_column_privilege('{name}', oid, 'INSERT') AS \"I\","
        f" has_any_column_privilege('{name}', oid, 'UPDATE') AS \"U\","
        f" has_table_privilege('{name}', oid, 'DELETE') AS \"D\""
        " FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace",
    )
    rights = {row["relname"]: "".join(right for right in "IUD" if row[right]) for row in found}
    assert {table: right for table, right in rights.items() if right} == writable(service, role)


@every_database
@every_role
def test_only_the_keeper_numbers_the_audit_and_it_can_change_nothing_else(
    network: Network, service: str, role: str
) -> None:
    found = catalogue(
        network,
        service,
        "SELECT attname FROM pg_attribute WHERE attrelid = 'audit'::regclass AND attnum > 0"
        f" AND has_column_privilege('{role_of(service, role)}', attrelid, attnum, 'UPDATE')",
    )
    changed = {name for (name,) in found}
    assert role == "owner" or changed == ({"seq", "hash"} if role == "keeper" else set())


@every_database
@pytest.mark.parametrize("role", ["app", "keeper", "relay"])
async def test_only_the_registrar_writes_the_register_of_sites(network: Network, service: str, role: str) -> None:
    for statement in (
        "UPDATE site SET state = 'draining'",
        "DELETE FROM site",
        "INSERT INTO site (site, zone, settings, revision) VALUES ('eastside', 'UTC', '{}', 1)",
    ):
        async with entered(network, service, role, NORTHSIDE) as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


@every_database
async def test_no_row_can_be_written_into_another_site(network: Network, service: str) -> None:
    tried = set()
    for table in sorted(tables(service)):
        statement = _copy_into(network, service, table, LAKESIDE)
        async with entered(network, service, "owner", NORTHSIDE) as connection:
            if not await sites_seen(connection, table):
                continue
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                await connection.execute(statement)
        tried.add(table)
    assert tried >= OWN_TABLES[service] | {"event_head", "outbox", "audit"}


def _copy_into(network: Network, service: str, table: str, site: str) -> str:
    """SQL that copies one row that the role sees, changed to be another site's."""
    columns = catalogue(
        network,
        service,
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND is_identity = 'NO'"
        f" AND is_generated = 'NEVER' AND column_name <> 'site' AND table_name = '{table}'",
    )
    others = ", ".join(name for (name,) in columns)
    return f"INSERT INTO {table} (site, {others}) SELECT '{site}', {others} FROM {table} LIMIT 1"
