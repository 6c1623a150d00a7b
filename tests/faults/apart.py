"""Databases of the same shape that no running service looks at, and what a service does with them, in this process."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from stepway_chassis import migrations, telemetry
from stepway_chassis.app import utc_now
from stepway_chassis.database import Database
from stepway_chassis.deliveries import Deliveries
from stepway_chassis.settings import PREFIX, Settings
from stepway_cli import sites
from stepway_cli.bring_up import migrations_of
from stepway_cli.local.platform import Platform
from stepway_cli.services import SERVICES
from stepway_cli.sites import SiteRecord, read_sites
from tests.data import REPOSITORY
from tests.faults.observed import Row

EASTBAY, WESTBAY = "eastbay", "westbay"  # sites of the intake apart, which no running consumer pulls for
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
_MOVING = (
    "audit, audit_seal, outbox, outbox_blocked, event_head, inbox, dead_letter, delivery_failure, work, person_label,"
    " person_alias"
)
_OWN = {
    "intake": (
        "imported, risk_flag, assessment, workup, content_pack, transfer, admission, hand_off_attempt, hand_off,"
        " level_of_care_decision, level_of_care_suggestion, consent, party, family_member, referral, person_key,"
        " patient"
    ),
    "scheduling": "enrollment, track",
    "care": "treatment_plan",
    "family": "consent_link, patient, invitation, family_group",
    "notifications": "message, escalation, taken_flag, family_member, patient",
}
MAX_FAILURES = 5
_OF_EVERY_SERVICE = {PREFIX + item.name.upper() for item in fields(Settings)} - {"STEPWAY_TRACE_FILE"}


@dataclass(frozen=True)
class Apart:
    platform: Platform

    def name(self, service: str) -> str:
        return f"apart_{service}"

    def url(self, service: str, role: str) -> str:
        return self.platform.database_url(service, role).replace(f"/stepway_{service}", f"/{self.name(service)}")

    def empty(self, service: str) -> None:
        self.platform.postgres.run_sql(f"TRUNCATE {_MOVING}, {_OWN[service]}", database=self.name(service))

    def rows(self, service: str, query: str) -> list[Row]:
        return self.platform.postgres.query(query, database=self.name(service))

    def sql(self, service: str, script: str) -> None:
        self.platform.postgres.run_sql(script, database=self.name(service))

    @asynccontextmanager
    async def database(self, service: str) -> AsyncIterator[Database]:
        database = Database(self.url(service, "app"), service=service, cell="shared", pool_size=10)
        try:
            yield database
        finally:
            await database.close()

    def deliveries(self, database: Database, service: str = "intake") -> Deliveries:
        return Deliveries(database, telemetry.start(service, ratio=0.0), utc_now, max_failures=MAX_FAILURES)

    def environment(self, service: str, **changes: str) -> dict[str, str]:
        """For a service of this process: what the running one is told as every service is, with the databases apart."""
        told = {name: value for name, value in self.platform.environment(service).items() if name in _OF_EVERY_SERVICE}
        urls = {
            "STEPWAY_DATABASE_URL": self.url(service, "app"),
            "STEPWAY_RELAY_DATABASE_URL": self.url(service, "relay"),
            "STEPWAY_KEEPER_DATABASE_URL": self.url(service, "keeper"),
        }
        return {**told, **urls, "STEPWAY_LISTEN": "127.0.0.1:0", "STEPWAY_METRICS_LISTEN": "", **changes}


async def made(platform: Platform) -> Apart:
    apart = Apart(platform)
    records = read_sites([REPOSITORY / "deploy" / "sites"])
    elsewhere = [replace(records[0], site=site) for site in (EASTBAY, WESTBAY)]
    for service in SERVICES:
        await _make(apart, service, [*records, *elsewhere] if service == "intake" else records)
    return apart


async def _make(apart: Apart, service: str, records: Iterable[SiteRecord]) -> None:
    apart.platform.postgres.run_sql(f"CREATE DATABASE {apart.name(service)} OWNER {service}_owner")
    await migrations.upgrade(apart.url(service, "owner"), migrations_of(service))
    await sites.apply(apart.url(service, "registrar"), records)


def only(rows: list[Row]) -> Any:
    assert len(rows) == 1, rows
    return rows[0]
