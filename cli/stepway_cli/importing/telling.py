"""How an import says what it has done: on the screen, to a script, and in a report file that holds nothing private."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from stepway_cli.findings import Note, Place, Refused
from stepway_cli.importing.account import Account, Taken
from stepway_cli.report import table

LISTED = 40  # of more the screen shows the kinds, and the report file each


def tables(account: Account) -> Group:
    taken = [{"taken": each.name, "site": each.site, "referral": each.referral_id or "-"} for each in account.taken]
    parts: list[RenderableType] = [Text(line) for line in _counts(account)]
    if taken and len(taken) <= LISTED:
        parts.append(table(taken))
    parts += [_refused(account.refused), _notes(account.notes)]
    if account.stopped:
        parts.append(Text(f"Stopped: {account.stopped}. Start it again: it goes on where it was.", "bold red"))
    return Group(*parts)


def _counts(account: Account) -> list[str]:
    would = "would be " if account.dry_run else ""
    heading = ["Nothing was changed: this was a dry run."] if account.dry_run else []
    return [
        *heading,
        f"{account.read} resources and rows read, {len(account.refused)} refused",
        f"referrals: {account.referrals.new} {would}taken, {account.referrals.known} were there before",
        f"assessments: {account.assessments.new} {would}recorded, {account.assessments.known} were there before",
    ]


def _refused(refused: Sequence[Refused]) -> RenderableType:
    if len(refused) <= LISTED:
        rows = [{"refused": each.name, "why": each.reason, "what to do": each.message} for each in refused]
        return table(rows) if rows else Text("")
    first = {each.reason: each for each in reversed(refused)}
    numbers = Counter(each.reason for each in refused).most_common()
    return table(
        [
            {"refused": number, "why": reason, "first": first[reason].name, "what to do": first[reason].message}
            for reason, number in numbers
        ]
    )


def _notes(notes: Sequence[Note]) -> RenderableType:
    rows = [{"left out": each.name, "note": each.message} for each in notes[:LISTED]]
    more = len(notes) - len(rows)
    return Group(table(rows), Text(f"and {more} more notes" if more else "")) if rows else Text("")


def for_scripts(account: Account) -> dict[str, Any]:
    """What --json prints, with names as the sender gave them."""
    return {
        "read": account.read,
        "dry_run": account.dry_run,
        "referrals": asdict(account.referrals),
        "assessments": asdict(account.assessments),
        "taken": [{"name": each.name, "site": each.site, **_ids(each)} for each in account.taken],
        "refused": [{"name": each.name, "reason": each.reason, "message": each.message} for each in account.refused],
        "notes": [{"name": each.name, "message": each.message} for each in account.notes],
        "stopped": account.stopped,
    }


def write(file: Path, account: Account) -> None:
    """Every row by its place alone: file, number in it, kind of resource; no id or value of the sender's."""
    document = {
        "site": account.site,
        "dry_run": account.dry_run,
        "stopped": account.stopped,
        "read": account.read,
        "referrals": asdict(account.referrals),
        "assessments": asdict(account.assessments),
        "refused_by_reason": dict(Counter(each.reason for each in account.refused).most_common()),
        "refused": [
            {**_place(each.place), "reason": each.reason, "message": each.message} for each in _in_order(account)
        ],
        "notes": [{**_place(each.place), "message": each.message} for each in account.notes],
        "taken": [{**_place(each.place), **_ids(each)} for each in account.taken],
    }
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _in_order(account: Account) -> list[Refused]:
    """By file and row: what a reader refuses and what intake does, several rows at a time, come as they come."""
    placed = [(each.place or Place(""), each) for each in account.refused]
    return [each for _, each in sorted(placed, key=lambda pair: (pair[0].file, pair[0].index or 0))]


def _ids(taken: Taken) -> dict[str, Any]:
    return {"referral_id": taken.referral_id, "assessment_ids": taken.assessment_ids}


def _place(place: Place | None) -> dict[str, Any]:
    found = place or Place("")
    return {"file": found.file, "index": found.index, "resource": found.kind, "path": found.path}
