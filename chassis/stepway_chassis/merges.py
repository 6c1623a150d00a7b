"""Who somebody is by now: of whose records one was made, which each service keeps."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from stepway_chassis.transaction import Tx

_CURRENT = text("SELECT current_person(:site, :person)")
_MERGE = text("SELECT merge_person(:site, :gone, :kept, :at)")


async def current(tx: Tx, person: UUID) -> UUID:
    """The id by which this person's records are kept; it stays that until the commit."""
    found = await tx.execute(_CURRENT, {"site": tx.site.name, "person": person})
    return UUID(str(found.scalar_one()))


async def merge(tx: Tx, gone: UUID, kept: UUID, *, at: datetime) -> UUID:
    """From now on `gone` means `kept`, whatever comes for it and in whichever order merges are heard of.

    Waits for everybody who writes under `gone`, so that the caller moves all of it. Returns the id to move it to: that
    of `kept`, or of whom `kept` was merged into. The higher label is kept.
    """
    found = await tx.execute(_MERGE, {"site": tx.site.name, "gone": gone, "kept": kept, "at": at})
    return UUID(str(found.scalar_one()))
