"""What records of other systems have become here, so that none is taken in twice."""

from dataclasses import dataclass
from uuid import UUID

from stepway_chassis.errors import Conflict


@dataclass(frozen=True)
class Imported:
    """`id` and `content` are the sender's: which record it is, and what it says.

    A record that became a referral has no assessment.
    """

    id: UUID
    referral_id: UUID
    assessment_id: UUID | None = None
    content: UUID | None = None


def repeated(came: Imported, before: Imported) -> Imported:
    """What a record that came again became before. Raises Conflict (IMPORT_ID_REUSED)."""
    if (came.assessment_id is None) is not (before.assessment_id is None):
        raise Conflict("IMPORT_ID_REUSED", "Another kind of record came with this import_id; derive one for each.")
    return before
