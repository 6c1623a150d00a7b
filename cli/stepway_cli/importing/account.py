"""What became of everything that an import has read."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from stepway_cli.findings import Note, Place, Refused


@dataclass(frozen=True)
class Taken:
    """What one person's record is in intake; in a dry run there may be no ids yet."""

    name: str
    site: str
    referral_id: str
    assessment_ids: tuple[str, ...]
    place: Place


@dataclass
class Count:
    new: int = 0
    known: int = 0  # it was there before

    @property
    def all(self) -> int:
        return self.new + self.known


@dataclass
class Account:
    """`stopped` says why an import has not come to its end; it goes on where it was when it is started again."""

    site: str
    dry_run: bool
    read: int = 0
    referrals: Count = field(default_factory=Count)
    assessments: Count = field(default_factory=Count)
    taken: list[Taken] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    stopped: str = ""

    def add(self, refused: Sequence[Refused], notes: Sequence[Note]) -> None:
        self.refused += refused
        self.notes += notes
