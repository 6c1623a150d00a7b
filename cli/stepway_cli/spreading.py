"""The register of sites as everybody may watch it: one key a service and site, without what only services may read."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import nats
import nats.errors

from stepway_chassis.broker import SITES

CONNECT_SECONDS = 3.0
_PUBLIC = ("site", "zone", "revision", "cell", "epoch", "state")


async def spread(admin: tuple[str, str, str], rows: Mapping[str, list[dict[str, Any]]]) -> bool:
    """Put the rows of each service's register into the bucket; its services look at their tables when they hear of it.

    False when NATS does not answer: the services see the change with their next reading.
    """
    url, user, password = admin
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            client = await nats.connect(url, user=user, password=password, error_cb=_passed_over)
    except (nats.errors.Error, OSError, TimeoutError):
        return False
    try:
        bucket = await client.jetstream().key_value(SITES)
        for service, sites in rows.items():
            for row in sites:
                await bucket.put(f"{service}.{row['site']}", _value(row))
    except (nats.errors.Error, OSError, TimeoutError):
        return False
    finally:
        await client.close()
    return True


async def _passed_over(_: Exception) -> None:
    """Whether NATS answers is all that is told."""


def _value(row: Mapping[str, Any]) -> bytes:
    return json.dumps({name: row[name] for name in _PUBLIC}).encode()
