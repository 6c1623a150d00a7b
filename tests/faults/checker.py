"""The invariants: what a history of commands must have left behind once everything is quiet."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from datetime import datetime

from tests.faults import audit_checks, journey_checks, message_checks, stream_checks
from tests.faults.history import History, Kind, Outcome
from tests.faults.observed import Observed, Row
from tests.faults.stream_checks import Buried

_TIMES = {Outcome.ACKNOWLEDGED: {1}, Outcome.UNKNOWN: {0, 1}, Outcome.REFUSED: {0}}
_DEFECTS = {"INTERNAL", "UNKNOWN", "ANOTHER_ANSWER", "REQUEST_ID_REUSED"}
Effects = Iterator[tuple[str, str, str]]  # the site, the mark, and the id of what was made or changed


def faults(history: History, seen: Observed, letters: Collection[Buried] = ()) -> list[str]:
    """Every broken invariant in words; empty when all hold."""
    return [
        *_commands(history, seen),
        *_of_no_command(history, seen),
        *stream_checks.faults(history, seen, letters),
        *journey_checks.faults(history, seen),
        *message_checks.faults(history, seen),
        *audit_checks.faults(seen),
    ]


def _commands(history: History, seen: Observed) -> Iterator[str]:
    """An acknowledged command's effect is there once, one with an unknown outcome's at most once."""
    effects = {kind: _effects(seen, kind) for kind in Kind}
    for command in history.commands:
        found = effects[command.kind].get((command.site, command.mark), [])
        if len(found) not in _TIMES[command.outcome]:
            yield f"{command}: its effect is there {len(found)} times"
        if command.ids and found and command.ids["id"] != found[0]:
            yield f"{command}: the answer named {command.ids['id']}, there is {found[0]}"
        if _DEFECTS & set(command.heard):
            yield f"{command}: the caller heard of a defect"
        if command.outcome is Outcome.REFUSED:
            yield f"{command}: a good command was refused"


def _of_no_command(history: History, seen: Observed) -> Iterator[str]:
    sent = {(command.kind, command.site, command.mark) for command in history.commands}
    for kind in Kind:
        for site, mark in _effects(seen, kind):
            if (kind, site, mark) not in sent:
                yield f"{kind} {mark} at {site}: nobody sent this command"


def _effects(seen: Observed, kind: Kind) -> dict[tuple[str, str], list[str]]:
    """What lies there, by site and mark."""
    effects: dict[tuple[str, str], list[str]] = defaultdict(list)
    for site, mark, id in _EFFECTS[kind](seen):
        effects[site, mark].append(id)
    return effects


def _rows(service: str, table: str, mark: Callable[[Row], str]) -> Callable[[Observed], Effects]:
    """A command that makes a record leaves its mark in it."""
    return lambda seen: ((row["site"], mark(row), row["id"]) for row in seen.tables[service][table])


def _events(service: str, token: str) -> Callable[[Observed], Effects]:
    """By the announcement, since a record that was changed twice would look as if it was changed once."""

    def found(seen: Observed) -> Effects:
        for row in seen.tables[service]["outbox"]:
            if row["subject"].endswith(f".{token}"):
                yield row["site"], row["aggregate_id"], row["aggregate_id"]

    return found


def _time(column: str) -> Callable[[Row], str]:
    return lambda row: datetime.fromisoformat(row[column]).isoformat()


def _text(column: str) -> Callable[[Row], str]:
    return lambda row: str(row[column])


_EFFECTS: dict[Kind, Callable[[Observed], Effects]] = {
    Kind.OPEN_TRACK: _rows("scheduling", "track", _text("name")),
    Kind.PLAN_GROUP: _rows("family", "family_group", _time("starts_at")),
    Kind.RECEIVE: _rows("intake", "referral", _text("reason")),
    Kind.ASSESS: _rows("intake", "assessment", _time("answered_at")),
    Kind.DECIDE: _rows("intake", "level_of_care_decision", _text("rationale")),
    Kind.GRANT: _rows("intake", "consent", _text("purpose")),
    Kind.ADMIT: _rows("intake", "admission", _text("referral_id")),
    Kind.REVOKE: _events("intake", "consent_revoked"),
    Kind.END: _events("scheduling", "enrollment_ended"),
    Kind.ACKNOWLEDGE: _events("notifications", "escalation_acknowledged"),
}


def summary(history: History) -> str:
    """How many commands of each kind were acknowledged."""
    counts = Counter(command.kind for command in history.commands if command.done)
    return ", ".join(f"{counts[kind]} × {kind}" for kind in Kind)
