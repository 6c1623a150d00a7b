"""The findings as a table to read and as JSON to keep."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from rich import box
from rich.table import Table

from tests.bench.figures import Aim, Figure, Findings, Ratio, spread


def document(findings: Mapping[str, Findings], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Everything of a run, ratios first, each with all its rounds."""
    return {
        "ratios": [_kept(part, ratio, "") for part, found in findings.items() for ratio in found.ratios],
        "figures": [_kept(part, figure, figure.unit) for part, found in findings.items() for figure in found.figures],
        "facts": dict(facts),
    }


def _kept(part: str, row: Figure | Ratio, unit: str) -> dict[str, Any]:
    aim = {"aim": str(row.aim), "met": row.aim.met(spread(row.rounds).median)} if row.aim else {}
    return {"part": part, "name": row.name, "unit": unit, **asdict(spread(row.rounds)), **aim, "rounds": [*row.rounds]}


def tables(findings: Mapping[str, Findings]) -> tuple[Table, Table]:
    ratios = [(part, ratio, "") for part, found in findings.items() for ratio in found.ratios]
    figures = [(part, figure, figure.unit) for part, found in findings.items() for figure in found.figures]
    return _table("ratio", ratios), _table("figure", figures)


def _table(kind: str, rows: Iterable[tuple[str, Figure | Ratio, str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("part", kind):
        table.add_column(column)
    for column in ("min", "median", "max"):
        table.add_column(column, justify="right")
    for column in ("unit", "aim", ""):
        table.add_column(column)
    for part, row, unit in rows:
        seen = spread(row.rounds)
        values = (shown(value) for value in (seen.min, seen.median, seen.max))
        table.add_row(part, row.name, *values, unit, *_judged(row.aim, seen.median))
    return table


def _judged(aim: Aim | None, value: float) -> tuple[str, str]:
    return (str(aim), "met" if aim.met(value) else "missed") if aim else ("", "")


def shown(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
