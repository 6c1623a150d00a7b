"""How the command line shows what it has done."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from stepway_cli.status import Part, Row, Status

UNBROKEN = re.compile(r"\S{0,16}|[0-9a-f-]{36}")  # an id is copied whole, or not at all


def audited(row: Mapping[str, Any]) -> str:
    """One entry on one line; --json has the rest: the purpose, the kind of actor, the trace."""
    did = f"{row['service']}.{row['action'].rpartition('/')[2]}"
    outcome = f"{row['outcome']} {row['reason']}".strip()
    return f"{row['at']:%Y-%m-%d %H:%M:%S}  {row['actor']}  {did}  {outcome}  {', '.join(map(str, row['people']))}"


def letter(row: Mapping[str, Any]) -> str:
    """One letter on one line, as `dead-letters retry` wants it named; --json has the rest."""
    at = row["last_at" if row["kind"] == "consumer" else "blocked_at"]
    if row["kind"] == "consumer":
        about = f"{row['consumer']}  {row['reason']}  {row['count']} times, {row['state']}  {row['subject']}"
    else:
        about = f"relay  {row['reason']}  blocks the events of this {row['aggregate_type']}"
    return f"{at:%Y-%m-%d %H:%M:%S}  {row['service']}  {row['id']}  {about}"


COLUMNS: Mapping[str, tuple[str, int]] = {  # heading and width of each
    "site": ("site", 10),
    "service": ("service", 13),
    "cell": ("cell", 7),
    "state": ("state", 8),
    "epoch": ("epoch", 5),
    "lag": ("lag", 5),
    "unpublished": ("outbox", 6),
    "oldest_seconds": ("oldest", 8),
    "blocked": ("blocked", 7),
    "dead_letters": ("dead", 5),
    "open_risk_flags": ("flags", 5),
}

SCREEN = 40  # rows


def status_screen(seen: Status) -> Group:
    """One line for each part, one for each service at each site; what is not well is red.

    Of more rows than a screen has only those are shown that have something to tell.
    """
    rows = seen.rows if len(seen.rows) <= SCREEN else [row for row in seen.rows if row.tells]
    silent = len({row.site for row in seen.rows} - {row.site for row in rows})
    rest = [Text(f"sites of which there is nothing to tell: {silent}")] if silent else []
    heading = Text("  ".join(heading.ljust(width) for heading, width in COLUMNS.values()), "bold")
    verdict = Text("All is well.", "green") if seen.well else Text("Not all is well: see what is red or has a !", "red")
    return Group(*map(_part, seen.parts), "", heading, *map(_row, rows), *rest, "", verdict)


def status_json(seen: Status) -> dict[str, Any]:
    rows = [{**asdict(row), "faults": list(row.faults)} for row in seen.rows]
    return {"well": seen.well, "parts": [asdict(part) for part in seen.parts], "rows": rows}


def _part(part: Part) -> Text:
    return Text(f"{part.name:22} ").append(part.says if part.well else f"! {part.says}", "" if part.well else "red")


def _row(row: Row) -> Text:
    faults = set(row.faults)
    told = asdict(row) | ({} if row.service == "intake" else {"open_risk_flags": "-"})
    return Text("  ").join(_cell(name, value, name in faults) for name, value in told.items())


def _cell(name: str, value: Any, fault: bool) -> Text:
    shown = "?" if value is None else f"{value:.0f} s" if name == "oldest_seconds" else str(value)
    return Text(f"{shown}{' !' if fault else ''}".ljust(COLUMNS[name][1]), "bold red" if fault else "")


def table(rows: Sequence[Mapping[str, Any]], title: str = "") -> Table | Text:
    """Columns as the first row names them."""
    if not rows:
        return Text(f"{title}: none" if title else "none")
    drawn = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold", pad_edge=False)
    for name in rows[0]:
        values = [str(row[name]) for row in rows]
        whole = max(map(len, values)) if all(map(UNBROKEN.fullmatch, values)) else None
        drawn.add_column(name, overflow="fold", min_width=whole)
    for row in rows:
        drawn.add_row(*(value if isinstance(value, Text) else Text(str(value)) for value in row.values()))
    return drawn
