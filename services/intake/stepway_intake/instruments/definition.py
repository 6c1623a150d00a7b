"""What an instrument is: its items, its cut-offs and its rules, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Band(StrEnum):
    """How severe a total is."""

    MINIMAL = "minimal"
    MILD = "mild"
    MODERATE = "moderate"
    MODERATELY_SEVERE = "moderately_severe"
    SEVERE = "severe"


class Licence(StrEnum):
    """What the holder allows to be shipped."""

    PUBLIC = "public"
    FREE_WITH_NOTICE = "free_with_notice"
    PERMISSION_REQUIRED = "permission_required"


@dataclass(frozen=True)
class Item:
    """One question: its number on the form, the values it takes and its LOINC code."""

    number: int
    values: tuple[int, ...]
    loinc: str


@dataclass(frozen=True)
class Syndrome:
    """A diagnostic algorithm that counts endorsed items; it is read only when every item is answered."""

    endorsed_from: int
    endorsed_from_in: Mapping[int, int]  # items with a threshold of their own
    core_items: frozenset[int]  # one of them has to be endorsed
    major_from: int
    other_from: int


@dataclass(frozen=True)
class Definition:
    """One instrument, ready to be scored."""

    name: str
    rule: str  # changes whenever the same answers could score differently
    items: tuple[Item, ...]
    bands: tuple[tuple[int, Band], ...]  # lowest total of each band, ascending
    proratable: int  # how many items may be unanswered before there is no total
    panel_loinc: str
    total_loinc: str
    licence: Licence
    risk_item: int | None = None
    syndrome: Syndrome | None = None
    answer_codes: Mapping[str, int] = field(default_factory=dict)  # by LOINC answer code
