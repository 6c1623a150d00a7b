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
from stepway_cli.spreading import spread


def migrations_of(service: str) -> Path:
    """The folder of a service's migrations, beside its package."""
    found = find_spec(f"stepway_{service}")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent.parent / "migrations"


async def prepare(platform: Platform, records: Iterable[SiteRecord]) -> set[str]:
    """Everything that an operator does once, before the services start. `platform` is started.

    The cells that have a site, such as "intake@west"; the one without a name is not among them.
    """
    await ensure_stream(*platform.nats_admin)
    register = {}
    for service in platform.services:
        await migrations.upgrade(platform.database_url(service, "owner"), migrations_of(service))
        await sites.apply(platform.database_url(service, "registrar"), records, keep_newer=True)
        register[service] = await sites.listed(platform.database_url(service, "registrar"))
    await spread(platform.nats_admin, register)
    in_use = {f"{service}@{row['cell']}" for service, rows in register.items() for row in rows}
    return {cell for cell in in_use if not cell.endswith("@shared")}


def bring_up(platform: Platform, records: Iterable[SiteRecord], *more: str) -> None:
    """With every cell that has a site, and these."""
    platform.start()
    wanted = asyncio.run(prepare(platform, list(records))) | set(more)
    platform.cells = tuple(sorted({*platform.cells, *wanted}))
    platform.start_services(*platform.services, *sorted(wanted))
