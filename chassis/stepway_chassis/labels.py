"""How confidential somebody's records are: the highest label heard of them, which each service keeps."""

from uuid import UUID

from sqlalchemy import text

from stepway_chassis.transaction import Tx

HIGHEST = "part2"  # 42 CFR Part 2; whoever is unknown is taken for it

_KEEP = text(  # in the alphabet part2 comes after general
    "INSERT INTO person_label AS known (site, person, label)"
    " VALUES (:site, current_person(:site, :person), :label)"
    " ON CONFLICT (site, person) DO UPDATE SET label = GREATEST(known.label, excluded.label) RETURNING known.person"
)
_OF = text("SELECT label FROM person_label WHERE site = :site AND person = (SELECT current_person(:site, :person))")


async def keep(tx: Tx, person: UUID, label: str) -> UUID:
    """Remember the label of something that was heard about this person, unless a higher one is known.

    Returns the id by which the person's records are kept: another one once they were merged.
    """
    kept = await tx.execute(_KEEP, {"site": tx.site.name, "person": person, "label": label})
    return UUID(str(kept.scalar_one()))


async def of(tx: Tx, person: UUID) -> str:
    """The label of whatever is announced about this person."""
    found = await tx.execute(_OF, {"site": tx.site.name, "person": person})
    return found.scalar_one_or_none() or HIGHEST
