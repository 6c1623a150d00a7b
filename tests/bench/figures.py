"""What the bench says: figures with all their rounds, and ratios of figures that took turns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    min: float
    median: float
    max: float


def spread(rounds: Sequence[float]) -> Spread:
    return Spread(min(rounds), float(median(rounds)), max(rounds))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


@dataclass(frozen=True)
class Aim:
    """A ratio is to be at least, or at most, so much."""

    least: float | None = None
    most: float | None = None

    def met(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        return f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"


@dataclass(frozen=True)
class Figure:
    """A measured value of each round."""

    name: str
    unit: str
    rounds: Sequence[float]
    aim: Aim | None = None


@dataclass(frozen=True)
class Ratio:
    """One figure divided by another, round by round: what else the machine did meanwhile, it did to both."""

    name: str
    rounds: Sequence[float]
    aim: Aim | None = None


def ratio(above: Figure, below: Figure, *, name: str = "", aim: Aim | None = None) -> Ratio:
    pairs = zip(above.rounds, below.rounds, strict=True)
    return Ratio(name or f"{above.name} ÷ {below.name}", [one / other for one, other in pairs], aim)


def share(whole: Figure, rest: Figure, *, name: str) -> Ratio:
    """How many hundredths of `whole` are missing in `rest`."""
    pairs = zip(whole.rounds, rest.rounds, strict=True)
    return Ratio(name, [100 * (1 - less / all_of_it) for all_of_it, less in pairs])


@dataclass(frozen=True)
class Findings:
    """What one part of the bench has found."""

    ratios: Sequence[Ratio] = ()
    figures: Sequence[Figure] = ()
