"""A database of an earlier version, with rows at two sites, is brought to the newest; nobody is forgotten."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from stepway_chassis import labels, migrations
from stepway_chassis.backfill import Uncounted
from stepway_chassis.database import Database
from stepway_cli.bring_up import migrations_of
from stepway_notifications import store
from tests.network import LAKESIDE, NORTHSIDE, Network

OLD = "2026_11_21_1000"
REGISTER = f"""
    INSERT INTO site (site, zone, settings, revision) VALUES
        ('{NORTHSIDE}', 'UTC', '{{"page_again_seconds": 600}}', 1), ('{LAKESIDE}', 'UTC', '{{}}', 1)"""
PEOPLE = """
    BEGIN;
    CREATE TABLE told AS SELECT site, gen_random_uuid() AS patient, gen_random_uuid() AS escalation, person.*
      FROM site AS of_site (site), (VALUES
        ('just paged', 'general', interval '2 minutes', 'delivered', false),
        ('page still waits', 'part2', interval '1 minute', 'queued', false),
        ('taken', 'general', interval '1 hour', 'delivered', true),
        ('of last month', 'part2', interval '30 days', 'expired', false)
      ) AS person (who, label, ago, page, taken);
    INSERT INTO patient (site, id, label) SELECT site, patient, label FROM told;
    INSERT INTO escalation (site, id, risk_flag_id, patient_id, clinician, raised_at, acknowledged_at, acknowledged_by,
                            correlation)
    SELECT site, escalation, gen_random_uuid(), patient, 'staff-2041', now() - ago,
           CASE WHEN taken THEN now() END, CASE WHEN taken THEN 'staff-2041' END, '' FROM told;
    INSERT INTO message (site, id, patient_id, channel, address, template, body, status, release_at, expires_at,
                         next_attempt_at, attempts, delivered_at, created_at, correlation, causation, trace_context)
    SELECT site, gen_random_uuid(), patient, 'email', '', template, '', page, now(), now(), now(), 1,
           CASE WHEN page = 'delivered' THEN now() END, now() - ago, '', '', '{}'
      FROM told, (VALUES ('escalation_page'), ('referral_received')) AS of_template (template);
    COMMIT"""


@dataclass(frozen=True)
class Scratch:
    """A database of one service that no running service looks at, at an earlier version and with two sites."""

    network: Network
    service: str
    name: str

    def url(self, role: str) -> str:
        url = self.network.platform.database_url(self.service, role)
        return url.replace(f"/stepway_{self.service}", f"/{self.name}")

    def rows(self, query: str) -> list[dict[str, Any]]:
        return self.network.platform.postgres.query(query, database=self.name)

    def sql(self, script: str) -> None:
        self.network.platform.postgres.run_sql(script, database=self.name)

    async def migrate(self, to: str = "head") -> None:
        await migrations.upgrade(self.url("owner"), migrations_of(self.service), to=to)

    async def as_before(self, site: str, statement: str) -> None:
        """What a process of the earlier version still does at a site."""
        connection = await asyncpg.connect(self.url("app"))
        try:
            async with connection.transaction():
                await connection.execute("SELECT enter_site($1, 'shared')", site)
                await connection.execute(statement)
        finally:
            await connection.close()


async def of(service: str, network: Network) -> AsyncIterator[Scratch]:
    scratch = Scratch(network, service, f"scratch_{uuid4().hex}")
    network.platform.postgres.run_sql(f"CREATE DATABASE {scratch.name} OWNER {service}_owner")
    await scratch.migrate(OLD)
    scratch.sql(REGISTER)
    yield scratch
    network.platform.postgres.run_sql(f"DROP DATABASE {scratch.name}")


@pytest.fixture
async def notifications(network: Network) -> AsyncIterator[Scratch]:
    async for scratch in of("notifications", network):
        scratch.sql(PEOPLE)
        yield scratch


@pytest.fixture
async def intake(network: Network) -> AsyncIterator[Scratch]:
    async for scratch in of("intake", network):
        yield scratch


async def test_every_label_moves_at_both_sites_and_stays_readable_to_an_earlier_version(notifications: Scratch) -> None:
    await notifications.migrate()
    told = notifications.rows("SELECT site, patient AS id, label FROM told ORDER BY 1, 2")
    assert notifications.rows("SELECT site, person AS id, label FROM person_label ORDER BY 1, 2") == told
    assert notifications.rows("SELECT site, id, label FROM patient ORDER BY 1, 2") == told


async def test_a_page_that_nobody_has_taken_goes_on_climbing(notifications: Scratch) -> None:
    await notifications.migrate()
    ladder = notifications.rows(
        "SELECT e.site, who, clinicians, pages, paged_at IS NOT NULL AS paged,"
        " extract(epoch FROM next_page_at - raised_at)::int AS again_after"
        " FROM escalation AS e JOIN told ON escalation = e.id ORDER BY 1, 2"
    )
    assert [tuple(row.values()) for row in ladder] == [
        (site, who, ["staff-2041"], 1, paged, again if climbs else None)
        for site, again in ((LAKESIDE, 300), (NORTHSIDE, 600))
        for who, paged, climbs in (
            ("just paged", True, True),
            ("of last month", False, False),
            ("page still waits", False, True),
            ("taken", True, False),
        )
    ]
    due = "SELECT site, min(next_page_at) AS due_at FROM escalation GROUP BY site ORDER BY site"
    assert notifications.rows("SELECT site, due_at FROM work WHERE loop = 'escalating' ORDER BY site") == (
        notifications.rows(due)
    )


async def test_each_page_knows_what_it_is_about(notifications: Scratch) -> None:
    await notifications.migrate()
    about = notifications.rows(
        "SELECT template, escalation_id = escalation AS its_own, count(*) AS pages"
        " FROM message JOIN told ON patient = patient_id GROUP BY 1, 2 ORDER BY 1"
    )
    assert about == [
        {"template": "escalation_page", "its_own": True, "pages": 8},
        {"template": "referral_received", "its_own": None, "pages": 8},
    ]


async def test_what_an_earlier_version_goes_on_writing_is_understood(notifications: Scratch) -> None:
    await notifications.migrate()
    patient, escalation = uuid4(), uuid4()
    await notifications.as_before(
        NORTHSIDE, f"INSERT INTO patient (site, id, label) VALUES ('{NORTHSIDE}', '{patient}', 'general')"
    )
    await notifications.as_before(
        NORTHSIDE,
        "INSERT INTO escalation (site, id, risk_flag_id, patient_id, clinician, raised_at, correlation)"
        f" VALUES ('{NORTHSIDE}', '{escalation}', '{uuid4()}', '{patient}', 'staff-2088', now(), '')",
    )
    query = f"SELECT clinicians, pages, next_page_at - raised_at AS again FROM escalation WHERE id = '{escalation}'"
    assert notifications.rows(query) == [{"clinicians": ["staff-2088"], "pages": 1, "again": "00:10:00"}]
    taken = (
        "UPDATE escalation SET acknowledged_at = now(), acknowledged_by = 'staff-2088' WHERE site = '{}' AND id = '{}'"
    )
    await notifications.as_before(NORTHSIDE, taken.format(NORTHSIDE, escalation))
    assert notifications.rows(query)[0]["again"] is None
    raised = "UPDATE patient SET label = 'part2' WHERE site = '{}' AND id = '{}'"
    await notifications.as_before(NORTHSIDE, raised.format(NORTHSIDE, patient))
    assert notifications.rows(f"SELECT label FROM person_label WHERE person = '{patient}'") == [{"label": "part2"}]


async def test_what_this_version_writes_an_earlier_one_can_read(notifications: Scratch) -> None:
    await notifications.migrate()
    known, new = (
        notifications.rows(f"SELECT patient FROM told WHERE site = '{LAKESIDE}' AND label = 'general'")[0],
        uuid4(),
    )
    database = Database(notifications.url("app"), service="notifications", cell="shared", pool_size=1)
    async with database.transaction(LAKESIDE, "test") as tx:
        await labels.keep(tx, new, "general")
        await store.know_patient(tx, new)
        await labels.keep(tx, known["patient"], "part2")
    await database.close()
    found = notifications.rows(f"SELECT label FROM patient WHERE id IN ('{new}', '{known['patient']}') ORDER BY label")
    assert [row["label"] for row in found] == ["general", "part2"]


async def test_a_row_that_no_registered_site_holds_stops_the_migration_and_nothing_has_changed(
    notifications: Scratch,
) -> None:
    notifications.sql(f"INSERT INTO patient (site, id, label) VALUES ('atlantis', '{uuid4()}', 'general')")
    with pytest.raises(Uncounted, match="patient: 8 rows filled of 9"):
        await notifications.migrate()
    assert notifications.rows("SELECT version_num FROM alembic_version") == [{"version_num": OLD}]
    with pytest.raises(asyncpg.UndefinedColumnError):
        await notifications.as_before(NORTHSIDE, "SELECT clinicians FROM escalation")


async def test_decisions_of_before_stay_as_they_are_and_an_earlier_version_goes_on_deciding(intake: Scratch) -> None:
    await intake.migrate("2026_11_24_2200")
    ids = [uuid4(), uuid4()]
    decided = (
        "INSERT INTO level_of_care_decision"
        " (site, id, referral_id, patient_id, level, rationale, decided_by, decided_at)"
        " VALUES ('{0}', '{1}', '{1}', '{1}', '{2}', 'seen', 'staff-1', now())"
    )
    for id in ids:
        intake.sql(
            f"INSERT INTO patient VALUES ('{LAKESIDE}', '{id}', '{{}}', 'general', now());"
            f"INSERT INTO referral VALUES ('{LAKESIDE}', '{id}', '{id}', 'decided', '[]', '', now())"
        )
    intake.sql(decided.format(LAKESIDE, ids[0], "residential"))
    await intake.migrate()
    await intake.as_before(LAKESIDE, decided.format(LAKESIDE, ids[1], "inpatient"))
    kept = intake.rows(
        "SELECT level, suggestion_id, override_reason, tool_results FROM level_of_care_decision ORDER BY 1"
    )
    nothing = {"suggestion_id": None, "override_reason": None, "tool_results": []}
    assert kept == [{"level": level, **nothing} for level in ("inpatient", "residential")]
    with pytest.raises(asyncpg.CheckViolationError):
        await intake.as_before(LAKESIDE, decided.format(LAKESIDE, uuid4(), "a bed"))


async def test_intake_asks_about_each_flag_of_before_that_nobody_has_taken(intake: Scratch) -> None:
    for site, taken in ((NORTHSIDE, "NULL"), (LAKESIDE, "now()")):
        id = uuid4()
        intake.sql(
            f"INSERT INTO patient VALUES ('{site}', '{id}', '{{}}', 'general', now());"
            f"INSERT INTO referral VALUES ('{site}', '{id}', '{id}', 'screening', '[]', '', now());"
            f"INSERT INTO risk_flag VALUES ('{site}', '{id}', '{id}', '{id}', 'page', now(), {taken}, {taken}::text)"
        )
    await intake.migrate()
    assert intake.rows("SELECT site, loop FROM work") == [{"site": NORTHSIDE, "loop": "watchdog"}]
    assert len(intake.rows("SELECT 1 FROM risk_flag WHERE due_at > now()")) == 2


KNOWN = """
    {"given_name": "José", "family_name": "Vexmoor", "birth_date": "1990", "gender": "", "language": "",
     "contact_points": [{"system": "phone", "value": "+12125550142"}]}"""


async def test_whoever_intake_knew_before_is_found_and_what_is_to_be_done_about_them_is_due(intake: Scratch) -> None:
    await intake.migrate("2026_11_24_2200")
    ids = {status: uuid4() for status in ("received", "screening", "decided", "admitted")}
    for site in (NORTHSIDE, LAKESIDE):
        for status, id in ids.items():
            intake.sql(
                f"INSERT INTO patient VALUES ('{site}', '{id}', '{KNOWN}', 'general', now());"
                f"INSERT INTO referral VALUES ('{site}', '{id}', '{id}', '{status}', '[]', '', now())"
            )
        admission = f"'{site}', '{uuid4()}', '{ids['admitted']}', '{ids['admitted']}', '{{}}', '2026-11-24T12:00Z'"
        intake.sql(f"INSERT INTO admission VALUES ({admission})")
    await intake.migrate()
    known = intake.rows("SELECT kind, value, count(*) AS n FROM person_key GROUP BY kind, value ORDER BY kind")
    assert [(row["kind"], row["value"], row["n"]) for row in known] == [
        ("birth_date", "1990", 8),
        ("name", "jose vexmoor", 8),
        ("phone", "+12125550142", 8),
    ]
    placed = intake.rows(
        "SELECT DISTINCT status, next_action, due_at > now() AS due, admitted_at IS NOT NULL AS admitted FROM referral"
    )
    assert {row["status"]: (row["next_action"], row["due"], row["admitted"]) for row in placed} == {
        "received": ("contact", True, False),
        "screening": ("assess", True, False),
        "decided": ("admit", True, False),
        "admitted": (None, None, True),
    }


async def test_a_referral_of_an_earlier_version_is_on_the_queue(intake: Scratch) -> None:
    await intake.migrate()
    id = uuid4()
    await intake.as_before(NORTHSIDE, f"INSERT INTO patient VALUES ('{NORTHSIDE}', '{id}', '{{}}', 'general', now())")
    statement = f"INSERT INTO referral VALUES ('{NORTHSIDE}', '{id}', '{id}', 'received', '[]', '', now())"
    await intake.as_before(NORTHSIDE, statement)
    assert intake.rows("SELECT next_action, due_at > now() AS due FROM referral") == [
        {"next_action": "contact", "due": True}
    ]


async def test_consents_and_admissions_of_before_stay_what_they_were_and_the_loop_looks_at_those_that_stand(
    intake: Scratch,
) -> None:
    await intake.migrate("2026_11_24_2200")
    for site in (NORTHSIDE, LAKESIDE):
        id, ended = uuid4(), uuid4()
        intake.sql(
            f"INSERT INTO patient VALUES ('{site}', '{id}', '{{}}', 'general', now());"
            f"INSERT INTO referral VALUES ('{site}', '{id}', '{id}', 'admitted', '[]', '', now());"
            f"INSERT INTO admission VALUES ('{site}', '{id}', '{id}', '{id}', '{{morning}}', now());"
            f"INSERT INTO family_member VALUES ('{site}', '{id}', '{id}', '{{}}');"
            f"INSERT INTO consent VALUES ('{site}', '{id}', '{id}', '{id}', '{{plan}}', 'why', now(), now(), now());"
            f"INSERT INTO consent VALUES ('{site}', '{ended}', '{id}', '{id}', '{{plan}}', 'why', now(), now(), now(),"
            " now())"
        )
    await intake.migrate()
    assert intake.rows("SELECT status, ending FROM admission") == [{"status": "admitted", "ending": ""}] * 2
    found = intake.rows("SELECT recipient = family_member_id::text AS its, revoked_at, due_at, version FROM consent")
    assert all(row["its"] and row["version"] == 1 for row in found)
    assert [row["revoked_at"] is None for row in found] == [row["due_at"] is not None for row in found]
    assert intake.rows("SELECT site, loop FROM work ORDER BY site") == [
        {"site": site, "loop": "expiring"} for site in (LAKESIDE, NORTHSIDE)
    ]


async def test_an_earlier_intake_goes_on_granting_and_takes_whatever_has_ended_for_revoked(intake: Scratch) -> None:
    await intake.migrate()
    id = uuid4()
    intake.sql(
        f"INSERT INTO patient VALUES ('{NORTHSIDE}', '{id}', '{{}}', 'general', now());"
        f"INSERT INTO family_member VALUES ('{NORTHSIDE}', '{id}', '{id}', '{{}}')"
    )
    columns = "site, id, patient_id, family_member_id, categories, purpose, signed_at, granted_at, expires_at"
    values = f"'{NORTHSIDE}', '{id}', '{id}', '{id}', '{{plan}}', 'why', now(), now(), now()"
    await intake.as_before(NORTHSIDE, f"INSERT INTO consent ({columns}) VALUES ({values})")
    assert intake.rows("SELECT recipient FROM consent") == [{"recipient": str(id)}]
    await intake.as_before(NORTHSIDE, "UPDATE consent SET revoked_at = now()")
    assert intake.rows("SELECT ending FROM consent") == [{"ending": ""}]
