"""From nothing to a serving Stepway on this machine: servers, stream, migrations, sites, services."""

import asyncio
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from stepway_chassis import migrations
from stepway_chassis.broker import ensure_stream
from stepway_cli import sites
from stepway_cli.local.platform import Platform
from stepway_cli.sites import SiteRecord


def migrations_of(service: str) -> Path:
    """The folder of a service's migrations, beside its package."""
    found = find_spec(f"stepway_{service}")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent.parent / "migrations"


async def prepare(platform: Platform, records: Iterable[SiteRecord]) -> None:
    """Everything that an operator does once, before the services start. `platform` is started."""
    await ensure_stream(*platform.nats_admin)
    for service in platform.services:
        await migrations.upgrade(platform.database_url(service, "owner"), migrations_of(service))
        await sites.apply(platform.database_url(service, "registrar"), records, keep_newer=True)


def bring_up(platform: Platform, records: Iterable[SiteRecord]) -> None:
    platform.start()
    asyncio.run(prepare(platform, list(records)))
    platform.start_services()
