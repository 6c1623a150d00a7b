"""The register of sites: read from files, checked, and written into every service's database."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import asyncpg
import yaml

from stepway_care.domain import plan_due
from stepway_chassis.database import json_connection
from stepway_chassis.errors import Refusal
from stepway_intake.domain import rule_sets
from stepway_intake.domain.admissions import floor_of
from stepway_intake.domain.authority import ages_of
from stepway_intake.domain.referrals import pace_of
from stepway_intake.domain.site_rules import rules_of
from stepway_notifications.domain.policy import policy_of

SETTINGS = frozenset(
    {
        *("short_name", "phone", "email", "sending_window", "on_call", "page_again_seconds"),  # notifications
        *("part2_program", "referral_due_hours", "level_of_care"),  # intake
        *("instrument_versions", "risk_minutes", "emergency_email"),  # intake
        *("age_of_majority", "minor_consents_from", "weekly_hours_floor"),  # intake
        "plan_due_hours",  # care
    }
)
NAME = re.compile(r"[a-z][a-z0-9-]{1,30}")

_APPLY = """
    INSERT INTO site (site, zone, settings, revision) VALUES ($1, $2, $3, $4)
    ON CONFLICT (site) DO UPDATE SET zone = excluded.zone, settings = excluded.settings, revision = excluded.revision
     WHERE site.revision < excluded.revision
    RETURNING 1"""
_SAME = "SELECT zone = $2 AND settings = $3 AND revision = $4 FROM site WHERE site = $1"
_NEWER = "SELECT revision > $2 FROM site WHERE site = $1"
_CELL = "SELECT cell FROM site WHERE site = $1"
_LIST = "SELECT site, zone, revision, cell, epoch, state FROM site ORDER BY site"


class SiteError(Exception):
    """A site's record cannot be taken; the message names the file and the field."""


@dataclass(frozen=True)
class SiteRecord:
    site: str
    zone: str
    revision: int
    settings: Mapping[str, Any]


def read_sites(paths: Iterable[Path]) -> list[SiteRecord]:
    """One record a file, each checked by the services that will read it. Raises SiteError."""
    records = [_read(file) for path in paths for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
    names = [record.site for record in records]
    if not records:
        raise SiteError("no site: give a .yaml file, or a folder of them")
    if len(set(names)) < len(names):
        raise SiteError("two files describe the same site; keep one")
    return records


def _read(file: Path) -> SiteRecord:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SiteError(f"{file}: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError):
        raise SiteError(f"{file.name}: cannot be read as YAML") from None
    if not isinstance(content, dict):
        raise SiteError(f"{file.name}: write site, revision, zone and settings")
    try:
        record = SiteRecord(**content)
    except TypeError:
        raise SiteError(f"{file.name}: write site, revision, zone and settings, and nothing else") from None
    check(record, file.name)
    return record


def check(record: SiteRecord, name: str) -> None:
    """Raises SiteError naming `name` and the field."""
    if not isinstance(record.site, str) or not NAME.fullmatch(record.site):
        raise SiteError(f"{name}: site: two to thirty-one lower-case letters, digits and hyphens, a letter first")
    if not isinstance(record.revision, int) or record.revision < 1:
        raise SiteError(f"{name}: revision: a whole number from 1")
    try:
        ZoneInfo(record.zone)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise SiteError(f"{name}: zone: an IANA time zone, for example America/New_York") from None
    if not isinstance(record.settings, dict):
        raise SiteError(f"{name}: settings: names and values")
    unknown = sorted(set(record.settings) - SETTINGS, key=str)
    if unknown:
        raise SiteError(f"{name}: settings.{unknown[0]}: unknown; the settings are {', '.join(sorted(SETTINGS))}")
    if not isinstance(record.settings.get("part2_program", True), bool):
        raise SiteError(f"{name}: settings.part2_program: true or false")
    try:
        policy_of(record.settings, record.zone)
        plan_due(record.settings)
        pace_of(record.settings)
        rule_sets.check(record.settings)
        rules_of(record.settings)
        ages_of(record.settings)
        floor_of(record.settings)
    except Refusal as refusal:
        raise SiteError(f"{name}: settings.{refusal.field}: {refusal.message}") from None


async def apply(url: str, records: Iterable[SiteRecord], *, keep_newer: bool = False) -> dict[str, str]:
    """Write the records as the role `registrar`, all or none: "applied", "unchanged" or "kept newer" for each.

    Raises SiteError when a record differs from what is registered at the same revision, or is older (unless
    `keep_newer`: a start takes what the files say only where nothing newer was registered since).
    """
    async with json_connection(url) as connection, connection.transaction():
        return {record.site: await _apply(connection, record, keep_newer) for record in records}


async def _apply(connection: asyncpg.Connection, record: SiteRecord, keep_newer: bool) -> str:
    row = (record.site, record.zone, dict(record.settings), record.revision)
    if await connection.fetchval(_APPLY, *row):
        return "applied"
    if await connection.fetchval(_SAME, *row):
        return "unchanged"
    if keep_newer and await connection.fetchval(_NEWER, record.site, record.revision):
        return "kept newer"
    raise SiteError(f"{record.site}: revision {record.revision} is not newer than what is registered; raise it")


async def cell_of(url: str, site: str) -> str:
    """The cell that runs the site, or "" of a site that there is not."""
    async with json_connection(url) as connection:
        return str(await connection.fetchval(_CELL, site) or "")


async def listed(url: str) -> list[dict[str, Any]]:
    async with json_connection(url) as connection:
        return [dict(row) for row in await connection.fetch(_LIST)]
