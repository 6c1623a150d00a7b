"""The terminal that commands write to, and how they show what they have found."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from stepway_cli import report
from stepway_cli.place import PlaceError
from stepway_cli.services import SERVICES

out = Console(highlight=False, soft_wrap=True)


def chosen(service: str) -> tuple[str, ...]:
    """That one, or all. Raises PlaceError."""
    if service and service not in SERVICES:
        raise PlaceError(f"no such service; one of {', '.join(SERVICES)}")
    return (service,) if service else SERVICES


def show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=2, default=str))
    else:
        out.print(report.table(rows))


def show_lines(rows: list[dict[str, Any]], line: Callable[[Mapping[str, Any]], str], as_json: bool) -> None:
    """One a line, each as wide as it is."""
    if as_json or not rows:
        show(rows, as_json)
    else:
        print("\n".join(map(line, rows)))
