"""An operator's look at the audit of one service at one site, which leaves a row as any other look does."""

from datetime import datetime
from getpass import getuser
from typing import Any
from uuid import UUID

from stepway_chassis import audit
from stepway_chassis.call import Caller, Kind
from stepway_cli.keeper import inside


async def at_audit(
    url: str, service: str, site: str, *, person: UUID | None, since: datetime | None, limit: int
) -> list[dict[str, Any]]:
    """The newest rows; the look itself is about whoever was asked about, or everybody in them.

    As the role `app`, since no other may write to the audit. Raises NotFound (SITE_UNKNOWN).
    """
    async with inside(url, service, site, "audit list") as tx:
        rows = await audit.listed(tx, person=person, since=since, limit=limit)
        tx.caller = Caller(f"operator-{getuser()}", Kind.STAFF)
        tx.concerns(*({person} if person else {each for row in rows for each in row["people"]}))
        await audit.record(tx, "DONE")
    return [{"service": service, **row} for row in rows]
