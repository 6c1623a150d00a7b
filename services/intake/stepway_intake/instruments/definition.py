"""What an instrument is: its items, its scales, its cut-offs and its signs of danger, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

TOTAL = "total"


class Band(StrEnum):
    """How severe a total is, or which category the answers fall into."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MILD = "mild"
    MODERATE = "moderate"
    MODERATELY_SEVERE = "moderately_severe"
    SUBSTANTIAL = "substantial"
    SEVERE = "severe"
    HIGH = "high"
    ZONE_1 = "zone_1"
    ZONE_2 = "zone_2"
    ZONE_3 = "zone_3"
    ZONE_4 = "zone_4"


class Licence(StrEnum):
    """What the holder allows to be shipped."""

    PUBLIC = "public"
    FREE_WITH_NOTICE = "free_with_notice"
    PERMISSION_REQUIRED = "permission_required"


class Risk(StrEnum):
    """What answers say about danger, from the least to the worst."""

    NONE = "none"
    LOW = "low"
    UNANSWERED = "unanswered"  # never taken for a no
    MODERATE = "moderate"
    PRESENT = "present"  # one item says so; nobody has asked how much yet
    HIGH = "high"

    @property
    def rank(self) -> int:
        return list(Risk).index(self)


class Sex(StrEnum):
    """As cut-offs know it; whoever has said nothing else is unknown."""

    FEMALE = "female"
    MALE = "male"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Item:
    """One question: its number on the form, the values it takes, its LOINC code, and whether it has to be answered."""

    number: int
    values: tuple[int, ...]
    loinc: str = ""
    required: bool = True


@dataclass(frozen=True)
class Condition:
    """Whether something lies in a range: a scale, a sum of items, or a count of those that reach a threshold.

    Or, with `sexes` alone, whether the person is one of them.
    """

    items: tuple[int, ...] = ()
    scale: str = ""
    sexes: frozenset[Sex] = frozenset()
    counted_from: int | None = None
    counted_from_in: Mapping[int, int] = field(default_factory=dict)  # items with a threshold of their own
    at_least: int | None = None
    at_most: int | None = None


When = tuple[tuple[Condition, ...], ...]
"""Alternatives, each of conditions that have to hold together."""


@dataclass(frozen=True)
class Scale:
    """Items that are added up, and the cut-offs of what they add up to."""

    name: str
    items: tuple[int, ...]
    reversed: frozenset[int] = frozenset()  # items that count the other way round
    proratable: int = 0  # how many of them may be unanswered before there is no total
    bands: tuple[tuple[int, Band], ...] = ()  # lowest total of each band, ascending
    percent: bool = False  # whether the total is also told as a share of the highest


@dataclass(frozen=True)
class Finding:
    """A rule that names what it finds: the first case that holds, or what remains; never a diagnosis."""

    name: str
    cases: tuple[tuple[str, When], ...]
    otherwise: str


@dataclass(frozen=True)
class Skip:
    """Questions that the form passes over: unanswered, they count as nought."""

    when: When
    items: tuple[int, ...]


@dataclass(frozen=True)
class Definition:
    """One version of one instrument, ready to be scored."""

    name: str
    version: str
    rule: str  # changes whenever the same answers could score differently
    title: str
    window_days: int  # what the questions ask about; 0 is a whole life
    licence: Licence
    credit: str
    current: bool
    items: tuple[Item, ...]
    scales: tuple[Scale, ...] = ()
    findings: tuple[Finding, ...] = ()
    risks: tuple[tuple[Risk, When], ...] = ()  # the worst first
    banded_by_risk: bool = False
    skips: tuple[Skip, ...] = ()
    substance_use: When = ()  # when answers to it make a record one of substance use
    lifted: When = ()  # when the total is treated as one band higher
    panel_loinc: str = ""
    total_loinc: str = ""
    answer_codes: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def by_number(self) -> Mapping[int, Item]:
        return {item.number: item for item in self.items}

    @cached_property
    def risk_items(self) -> frozenset[int]:
        """The questions about danger."""
        conditions = (each for _, when in self.risks for alternative in when for each in alternative)
        return frozenset(item for each in conditions for item in each.items)

    @property
    def total(self) -> Scale | None:
        return next((scale for scale in self.scales if scale.name == TOTAL), None)
