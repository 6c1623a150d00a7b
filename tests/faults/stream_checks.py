"""What holds of outboxes, the stream and inboxes, whatever the events are about."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from stepway_chassis.contracts import event_rule
from stepway_cli.listeners import handlers
from tests.faults.history import History
from tests.faults.observed import Event, Observed, Row


@dataclass(frozen=True)
class Buried:
    """A dead letter that a row expects."""

    service: str
    site: str
    consumer: str
    event_id: str
    reason: str


def faults(history: History, seen: Observed, letters: Collection[Buried]) -> Iterator[str]:
    yield from _outboxes(seen)
    yield from _order(history, seen)
    yield from _inboxes(seen, letters)
    yield from _letters(seen, letters)
    yield from _failures(seen)


def _outboxes(seen: Observed) -> Iterator[str]:
    """The stream holds each event of an outbox exactly once, where the outbox says, and nothing else."""
    for service, tables in seen.tables.items():
        yield from (f"{service}: {row['aggregate_id']} is blocked: {row['reason']}" for row in tables["outbox_blocked"])
        kept = {row["event_id"]: row for row in tables["outbox"]}
        stored = [event for event in seen.stream if event.service == service]
        times = Counter(event.id for event in stored)
        yield from (f"{service}: {id} was committed and is not in the stream" for id in kept.keys() - times.keys())
        yield from (f"{service}: {id} is in the stream and in no outbox" for id in times.keys() - kept.keys())
        yield from (f"{service}: {id} is in the stream {count} times" for id, count in times.items() if count > 1)
        yield from _marks(service, kept, stored)


def _marks(service: str, kept: dict[str, Row], stored: Iterable[Event]) -> Iterator[str]:
    places = {event.id: event.seq for event in stored}
    for id, row in kept.items():
        if row["published_at"] is None:
            yield f"{service}: {id} is not marked as published"
        elif row["stream_seq"] != places.get(id):
            yield f"{service}: {id} is marked at {row['stream_seq']} and lies at {places.get(id)}"


def _order(history: History, seen: Observed) -> Iterator[str]:
    """Each aggregate's events lie in the stream as 1, 2, 3, ..., as many as its head has counted.

    When the stream was filled again from the outboxes, what it had kept comes first and what it had lost after that,
    each in order: so the numbers may fall back once for every time that the stream was restored, and never else.
    """
    chains: dict[str, list[int]] = defaultdict(list)
    for event in seen.stream:
        chains[event.aggregate].append(event.sequence)
    for aggregate, numbers in chains.items():
        falls = sum(later < earlier for earlier, later in pairwise(numbers))
        if sorted(numbers) != list(range(1, len(numbers) + 1)) or falls > history.restored:
            yield f"{aggregate}: its events lie in the stream as {numbers}"
    for service, tables in seen.tables.items():
        for head in tables["event_head"]:
            aggregate = f"/sites/{head['site']}/{service}/{head['aggregate_type']}/{head['aggregate_id']}"
            if len(chains[aggregate]) != head["seq"]:
                yield f"{aggregate}: its head counts {head['seq']} events, the stream {len(chains[aggregate])}"


def _inboxes(seen: Observed, letters: Collection[Buried]) -> Iterator[str]:
    """Each consumer has handled every event that it listens to, and no other."""
    for service, tables in seen.tables.items():
        handled = {(row["site"], row["consumer"], row["event_id"]) for row in tables["inbox"]}
        buried = {(each.site, each.consumer, each.event_id) for each in letters if each.service == service}
        heard = _heard(service, seen) - buried
        yield from (f"{service}: {what} was never handled" for what in heard - handled)
        yield from (f"{service}: {what} was handled and is not in the stream" for what in handled - heard)


def _heard(service: str, seen: Observed) -> set[tuple[str, str, str]]:
    heard = set()
    for handler in handlers()[service]:
        rule = event_rule(handler.event.DESCRIPTOR)
        heard |= {(event.site, handler.name, event.id) for event in seen.announced(rule.service, rule.token)}
    return heard


def _letters(seen: Observed, letters: Collection[Buried]) -> Iterator[str]:
    found = Counter(
        Buried(service, row["site"], row["consumer"], row["event_id"], row["reason"])
        for service, tables in seen.tables.items()
        for row in tables["dead_letter"]
    )
    for letter in found.keys() | set(letters):
        if found[letter] != (1 if letter in letters else 0):
            yield f"{letter}: there {found[letter]} times"


def _failures(seen: Observed) -> Iterator[str]:
    """Nothing is remembered as failing once it was handled."""
    for service, tables in seen.tables.items():
        yield from (f"{service}: still counts a failure of {row}" for row in tables["delivery_failure"])
