"""How the demo shows what has happened: events, texts, one trace, promises."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.text import Text

from stepway.intake.v1.referral_pb2 import Referral
from stepway.intake.v1.risk_flag_pb2 import RiskFlag
from stepway_chassis.broker import Stored
from stepway_cli import report, trace
from stepway_cli.demo.inputs import Inputs
from stepway_cli.demo.promises import Promise
from stepway_cli.demo.work import Flags, Queues, action, step
from stepway_cli.findings import Refused
from stepway_cli.sites import SiteRecord
from stepway_cli.trace import Span

SEAL = ".audit_sealed"
MOST_EVENTS = 24
SHOWN = {
    True: Text("kept", "bold green"),
    False: Text("BROKEN", "bold red"),
    None: Text("untried", "bold yellow"),
}
TO = {"escalation_page": "clinician", "family_invitation": "family"}


def tell_inputs(out: Console, inputs: Inputs, refused: Sequence[Refused]) -> None:
    """Whatever was not taken, by name."""
    all_refused = [*inputs.reading.refused, *inputs.answers.refused, *refused]
    out.rule("[bold]What came in", align="left")
    out.print(
        f"{inputs.reading.read} FHIR resources: {len(inputs.reading.referrals)} referrals;"
        f" {len(inputs.answers.people)} rows of answers; {len(all_refused)} refused"
    )
    if all_refused:
        out.print(report.table([{"refused": r.name, "why": r.reason, "what to do": r.message} for r in all_refused]))
    notes = [{"left out": note.name, "note": note.message} for note in inputs.reading.notes]
    if notes:
        out.print(report.table(notes))
    if inputs.answers.ignored_columns:
        out.print(f"columns of the answers that were not read: {', '.join(inputs.answers.ignored_columns)}")


def tell_events(out: Console, stream: Sequence[Stored], records: Sequence[SiteRecord]) -> None:
    by_site: dict[str, list[Stored]] = defaultdict(list)
    for message in stream:
        by_site[message.subject.split(".")[2]].append(message)
    for record in records:
        events = [each for each in by_site[record.site] if not each.subject.endswith(SEAL)]
        seals = len(by_site[record.site]) - len(events)
        count = f"its {len(events)} events as stored, besides {seals} seals of audits"
        out.rule(f"[bold]{record.site}[/]: {count} ({record.zone})", align="left")
        out.print(report.table(list(_shown(events, ZoneInfo(record.zone)))))


def _shown(events: Sequence[Stored], zone: ZoneInfo) -> Iterator[Mapping[str, Any]]:
    """All of them, or the first and the last when there are many."""
    half = MOST_EVENTS // 2
    for number, event in enumerate(events):
        if len(events) > MOST_EVENTS and number == half:
            yield {"at": "…", "event": f"{len(events) - MOST_EVENTS} more", "record": "", "label": ""}
        if half <= number < len(events) - half and len(events) > MOST_EVENTS:
            continue
        _, _, _, label, service, name = event.subject.split(".")
        at = datetime.fromisoformat(event.headers["ce-time"]).astimezone(zone)
        noun = event.headers["ce-source"].split("/")[-2]
        yield {
            "at": f"{at:%H:%M:%S.%f}"[:-3],
            "event": f"{service}.{name}",
            "record": f"{noun} …{event.headers['ce-subject'][-6:]}",
            "label": label,
        }


def tell_texts(out: Console, messages: Sequence[Mapping[str, Any]], records: Sequence[SiteRecord]) -> None:
    """Alike ones together: how many, and when those that wait will go."""
    zones = {record.site: ZoneInfo(record.zone) for record in records}
    alike: Counter[tuple[str, str, str, str]] = Counter()
    for message in messages:
        release = datetime.fromisoformat(message["release_at"]).astimezone(zones[message["site"]])
        waits = f"waits until {release:%a %H:%M %Z}" if message["status"] == "queued" else message["status"]
        to = TO.get(message["template"], "patient")
        alike[message["site"], to, message["channel"], waits] += 1
    out.rule("[bold]Texts and emails", align="left")
    rows = [
        {"site": site, "to": to, "by": by, "how many": str(count), "": waits}
        for (site, to, by, waits), count in alike.items()
    ]
    out.print(report.table(rows))
    for words in dict.fromkeys(message["body"] for message in messages):
        out.print(f"  “{words}”")


def tell_work(out: Console, waiting: Queues, flags: Flags, records: Sequence[SiteRecord], now: datetime) -> None:
    """What is due first stands first, be it about a referral or about a risk flag."""
    out.rule("[bold]Who needs what next", align="left")
    steps = sorted(
        (at, id, what, record.site, _due(at, ZoneInfo(record.zone), now))
        for record in records
        for at, id, what in _steps(waiting[record.site], flags[record.site])
    )
    rows = [{"site": site, "referral": f"…{id[-6:]}", "next": what, "due": due} for _, id, what, site, due in steps]
    out.print(report.table(rows[:MOST_EVENTS]))


def _steps(queue: Sequence[Referral], flags: Sequence[RiskFlag]) -> Iterator[tuple[datetime, str, str]]:
    yield from ((each.due_at.ToDatetime(UTC), each.id, action(each)) for each in queue)
    yield from ((each.due_at.ToDatetime(UTC), each.referral_id, step(each)) for each in flags)


def _due(at: datetime, zone: ZoneInfo, now: datetime) -> str:
    return f"{at.astimezone(zone):%a %d %b %H:%M %Z}{', overdue' if at < now else ''}"


def fullest_trace(spans: Sequence[Span]) -> list[str]:
    """The trace that crosses most services; of several the one that tells most."""
    known = trace.traces(spans)
    return sorted(known, key=lambda id: (-len({span.service for span in known[id]}), -len(known[id])))[:1]


def tell_trace(out: Console, spans: Sequence[Span], trace_id: str, run: str) -> None:
    out.rule("[bold]One trace, from a call to everything that it caused", align="left")
    found = trace.find(spans, trace_id)
    out.print(trace.waterfall(found))
    out.print(f"  again, with every statement: .venv/bin/stepway trace {trace_id[:8]} --run {run} --detail")


def tell_promises(out: Console, promises: Sequence[Promise]) -> None:
    out.rule("[bold]Promises, checked on this run", align="left")
    rows = [
        {
            "": SHOWN[promise.kept],
            "promise": promise.text,
            "evidence": promise.evidence,
        }
        for promise in promises
    ]
    out.print(report.table(rows))
