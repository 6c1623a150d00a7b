"""The invariants: what a history of commands must have left behind once everything is quiet."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stepway_chassis.contracts import event_rule
from stepway_chassis.deliveries import Handler
from stepway_intake import consumers as intake
from stepway_notifications import consumers as notifications
from tests.faults.history import History, Kind, Outcome
from tests.faults.observed import Event, Observed, Row

_TIMES = {Outcome.ACKNOWLEDGED: {1}, Outcome.UNKNOWN: {0, 1}, Outcome.REFUSED: {0}}
_DEFECTS = {"INTERNAL", "UNKNOWN", "ANOTHER_ANSWER", "REQUEST_ID_REUSED"}


@dataclass(frozen=True)
class Buried:
    """A dead letter that a row expects."""

    service: str
    site: str
    consumer: str
    event_id: str
    reason: str


def handlers(service: str) -> list[Handler[Any]]:
    if service == "intake":
        return list(intake.handlers())
    return notifications.handlers(None)  # type: ignore[arg-type]  # nothing is fetched here


def faults(history: History, seen: Observed, letters: Collection[Buried] = ()) -> list[str]:
    """Every broken invariant in words; empty when all hold."""
    return [
        *_commands(history, seen),
        *_of_no_command(history, seen),
        *_outboxes(seen),
        *_order(seen),
        *_inboxes(seen, letters),
        *_announcements(seen),
        *_welcomes(seen),
        *_pages(seen),
        *_acknowledgements(seen),
        *_hand_overs(seen),
        *_letters(seen, letters),
        *_failures(seen),
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


def _effects(seen: Observed, kind: Kind) -> dict[tuple[str, str], list[str]]:
    """What lies there, by site and mark."""
    effects: dict[tuple[str, str], list[str]] = defaultdict(list)
    for site, mark, id in _EFFECTS[kind](seen):
        effects[site, mark].append(id)
    return effects


def _referrals(seen: Observed) -> Iterator[tuple[str, str, str]]:
    return ((row["site"], row["reason"], row["id"]) for row in seen.tables["intake"]["referral"])


def _assessments(seen: Observed) -> Iterator[tuple[str, str, str]]:
    for row in seen.tables["intake"]["assessment"]:
        yield row["site"], datetime.fromisoformat(row["answered_at"]).isoformat(), row["id"]


def _takings(seen: Observed) -> Iterator[tuple[str, str, str]]:
    """By the announcement, since a page that was taken twice would look as if it was taken once."""
    for row in seen.tables["notifications"]["outbox"]:
        if row["subject"].endswith(".escalation_acknowledged"):
            yield row["site"], row["aggregate_id"], row["aggregate_id"]


_EFFECTS: dict[Kind, Callable[[Observed], Iterator[tuple[str, str, str]]]] = {
    Kind.RECEIVE: _referrals,
    Kind.ASSESS: _assessments,
    Kind.ACKNOWLEDGE: _takings,
}


def _of_no_command(history: History, seen: Observed) -> Iterator[str]:
    sent = {(command.kind, command.site, command.mark) for command in history.commands}
    for kind in Kind:
        for site, mark in _effects(seen, kind):
            if (kind, site, mark) not in sent:
                yield f"{kind} {mark} at {site}: nobody sent this command"


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


def _order(seen: Observed) -> Iterator[str]:
    """Each aggregate's events lie in the stream as 1, 2, 3, ..., as many as its head has counted."""
    chains: dict[str, list[int]] = defaultdict(list)
    for event in seen.stream:
        chains[event.aggregate].append(event.sequence)
    for aggregate, numbers in chains.items():
        if numbers != list(range(1, len(numbers) + 1)):
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
    for handler in handlers(service):
        rule = event_rule(handler.event.DESCRIPTOR)
        heard |= {(event.site, handler.name, event.id) for event in seen.announced(rule.service, rule.token)}
    return heard


def _announcements(seen: Observed) -> Iterator[str]:
    """What became true was announced once, and what was announced is true."""
    intake_, notifications_ = seen.tables["intake"], seen.tables["notifications"]
    flags, messages, pages = intake_["risk_flag"], notifications_["message"], notifications_["escalation"]
    yield from _once(seen, "intake", "referral_received", intake_["referral"])
    yield from _once(seen, "intake", "assessment_completed", intake_["assessment"])
    yield from _once(seen, "intake", "risk_flagged", (flag for flag in flags if flag["urgency"] == "page"))
    yield from _once(seen, "intake", "risk_review_requested", (flag for flag in flags if flag["urgency"] == "review"))
    yield from _once(seen, "notifications", "escalation_raised", pages)
    taken = (page for page in pages if page["acknowledged_by"])
    yield from _once(seen, "notifications", "escalation_acknowledged", taken)
    handed_over = (message for message in messages if message["status"] == "delivered")
    yield from _once(seen, "notifications", "message_delivered", handed_over)


def _once(seen: Observed, service: str, token: str, rows: Iterable[Row]) -> Iterator[str]:
    announced = Counter(event.aggregate.rsplit("/", 1)[1] for event in seen.announced(service, token))
    there = {row["id"] for row in rows}
    for id in there | announced.keys():
        if announced[id] != (1 if id in there else 0):
            yield f"{token} of {id}: announced {announced[id]} times, and it is {'' if id in there else 'not '}there"


def _welcomes(seen: Observed) -> Iterator[str]:
    """One message for each way to reach the person, for each referral."""
    reach = {row["id"]: _points(row) for row in seen.tables["intake"]["patient"]}
    patients = {row["id"]: row["patient_id"] for row in seen.tables["intake"]["referral"]}
    written = _written(seen, "referral_received")
    for event in seen.announced("intake", "referral_received"):
        wanted = reach.get(patients.get(event.aggregate.rsplit("/", 1)[1], ""), Counter())
        if written[event.id] != wanted:
            yield f"referral_received {event.id}: wanted {len(wanted)} messages, found {written[event.id].total()}"


def _points(patient: Row) -> Counter[tuple[str, str]]:
    channel = {"phone": "sms", "email": "email"}
    return Counter({(channel[each["system"]], each["value"]) for each in patient["person"]["contact_points"]})


def _written(seen: Observed, template: str) -> dict[str, Counter[tuple[str, str]]]:
    written: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for row in seen.tables["notifications"]["message"]:
        if row["template"] == template:
            written[row["causation"]][row["channel"], row["address"]] += 1
    return written


def _pages(seen: Observed) -> Iterator[str]:
    """One escalation and one page for each flag that must not wait."""
    raised = Counter(row["risk_flag_id"] for row in seen.tables["notifications"]["escalation"])
    written = _written(seen, "escalation_page")
    for event in seen.announced("intake", "risk_flagged"):
        flag = event.aggregate.rsplit("/", 1)[1]
        if (raised[flag], written[event.id].total()) != (1, 1):
            yield f"flag {flag}: {raised[flag]} escalations, {written[event.id].total()} pages"


def _acknowledgements(seen: Observed) -> Iterator[str]:
    """A flag knows who has taken its page, and only then."""
    takers = {row["risk_flag_id"]: row["acknowledged_by"] for row in seen.tables["notifications"]["escalation"]}
    for flag in seen.tables["intake"]["risk_flag"]:
        if flag["acknowledged_by"] != takers.get(flag["id"]):
            yield f"flag {flag['id']}: taken by {takers.get(flag['id'])}, and knows of {flag['acknowledged_by']}"


def _hand_overs(seen: Observed) -> Iterator[str]:
    """A text lies there once; a mail was sent, perhaps again, but always under its own Message-ID."""
    messages = seen.tables["notifications"]["message"]
    yield from (f"message {row['id']} is {row['status']}" for row in messages if row["status"] != "delivered")
    for channel, found in (("sms", seen.texts), ("email", seen.mails)):
        wanted = {row["id"] for row in messages if row["channel"] == channel}
        yield from (f"{channel} {id}: delivered, and not there" for id in wanted - set(found))
        yield from (f"{channel} {id}: there, and of no message" for id in set(found) - wanted)
    yield from (f"sms {id}: there {count} times" for id, count in Counter(seen.texts).items() if count > 1)


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
