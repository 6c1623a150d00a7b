"""What the demo has checked, on what the run has really left behind."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

from stepway.intake.v1.referral_pb2 import Person, RelatedPerson
from stepway.intake.v1.referral_service_pb2 import GetReferralRequest
from stepway_chassis.broker import Stored
from stepway_chassis.seals import SealKeys
from stepway_cli import audits, scrape
from stepway_cli import stream as streams
from stepway_cli.demo.inputs import Inputs
from stepway_cli.demo.journey import Recorded
from stepway_cli.demo.network import Network
from stepway_cli.demo.programme import private_words
from stepway_cli.listeners import wanted
from stepway_cli.referrals import Sent
from stepway_cli.sites import SiteRecord

GET = "stepway.intake.v1.ReferralService/GetReferral"
SHORTEST_CANARY = 4
UNTRIED = "nobody came in with whom it could be tried"


@dataclass(frozen=True)
class Promise:
    """`kept` is None where the run had nobody to try it with."""

    text: str
    kept: bool | None
    evidence: str


async def check(
    network: Network,
    inputs: Inputs,
    records: Sequence[SiteRecord],
    sent: Sequence[Sent],
    recorded: Sequence[Recorded],
    refused: int,
) -> list[Promise]:
    stream = await network.stream()
    return [
        _nothing_dropped(inputs, sent, recorded, refused),
        await _in_the_stream_once(network, stream),
        _in_order(stream),
        await _applied_once(network, stream),
        await _no_crossing(network, sent),
        await _held(network, records),
        await _taken(network),
        await _no_canary(network, inputs, stream),
        await _sealed(network),
    ]


def _nothing_dropped(inputs: Inputs, sent: Sequence[Sent], recorded: Sequence[Recorded], refused: int) -> Promise:
    reading, answers = inputs.reading, inputs.answers
    noted = sum(note.resources for note in reading.notes)
    resources = sum(len(ready.made_of) for ready in reading.referrals) + len(reading.refused) + noted
    wanted = sum(len(each.answers.answers) for each in inputs.participants if each.answers)
    unsent = [each for each in sent if not each.referral and not each.refused]
    lost_answers = sum(
        len(each.answers.answers)
        for each, got in zip(inputs.participants, sent, strict=True)
        if each.answers and not got.referral
    )
    kept = resources == reading.read and not unsent and len(recorded) + refused + lost_answers == wanted
    evidence = f"{reading.read} resources, {len(answers.people)} rows: each is taken, refused by name or set aside"
    return Promise("nothing that came in was dropped", kept, evidence)


async def _in_the_stream_once(network: Network, stream: Sequence[Stored]) -> Promise:
    outbox = {row["event_id"] for row in await network.everywhere("SELECT event_id FROM outbox")}
    copies = Counter(message.headers.get("ce-id", "") for message in stream)
    kept = set(copies) == outbox and all(count == 1 for count in copies.values()) and bool(outbox)
    return Promise(
        "every outbox row is in the stream exactly once", kept, f"{len(outbox)} rows, {len(stream)} messages"
    )


def _in_order(stream: Sequence[Stored]) -> Promise:
    last: dict[str, int] = {}
    wrong = 0
    for message in stream:
        source, number = message.headers["ce-source"], int(message.headers["ce-sequence"])
        wrong += number != last.get(source, 0) + 1
        last[source] = number
    return Promise(
        "each record's events are in order, without a gap", not wrong, f"{len(last)} records, {wrong} breaks"
    )


async def _applied_once(network: Network, stream: Sequence[Stored]) -> Promise:
    expected = {(*who, message.headers["ce-id"]) for message in stream for who in wanted(message.headers["ce-type"])}
    applied = [
        (service, row["consumer"], row["event_id"])
        for service in network.platform.services
        for row in await network.rows(service, "SELECT consumer, event_id FROM inbox")
    ]
    letters = await network.everywhere("SELECT 1 FROM dead_letter")
    kept = set(applied) == expected and len(applied) == len(expected) and not letters and bool(applied)
    evidence = f"{len(expected)} events to handle, {len(applied)} handled, {len(letters)} dead letters"
    return Promise("every consumer applied each event once", kept, evidence)


async def _no_crossing(network: Network, sent: Sequence[Sent]) -> Promise:
    mine, theirs = (next((each for each in sent if each.site == site and each.referral), None) for site in _sites(sent))
    if mine is None or theirs is None or theirs.referral is None:
        return Promise("a token of one site reads nothing of the other", None, UNTRIED)
    caller, request = network.caller(mine.site, "front_desk"), GetReferralRequest(referral_id=theirs.referral.id)
    there = await network.refused(caller, GET, request, site=theirs.site)
    here = await network.refused(caller, GET, request, site=mine.site)
    kept = there == "NO_ROLE_AT_SITE" and here == "REFERRAL_NOT_FOUND"
    text = f"a {mine.site} token cannot read a {theirs.site} referral"
    return Promise(text, kept, f"asked there: {there or 'ANSWERED'}; asked here: {here or 'ANSWERED'}")


def _sites(sent: Sequence[Sent]) -> tuple[str, str]:
    first, second = dict.fromkeys(each.site for each in sent) if len({each.site for each in sent}) == 2 else ("", "")
    return first, second


async def _held(network: Network, records: Sequence[SiteRecord]) -> Promise:
    to_people = "SELECT site, status, delivered_at FROM message WHERE template <> 'escalation_page'"
    messages = await network.rows("notifications", to_people)
    by_site = {record.site: record for record in records}
    gone = [message for message in messages if message["delivered_at"]]
    outside = [message for message in gone if not _within_hours(message["delivered_at"], by_site[message["site"]])]
    waiting = [message for message in messages if message["status"] == "queued"]
    evidence = f"{len(gone)} delivered, {len(waiting)} wait for their site to open, {len(outside)} outside"
    return Promise("patients and families were written to only in their site's hours", not outside, evidence)


def _within_hours(delivered_at: str, record: SiteRecord) -> bool:
    opens, closes = record.settings["sending_window"]
    return bool(opens <= f"{datetime.fromisoformat(delivered_at).astimezone(ZoneInfo(record.zone)):%H:%M}" < closes)


async def _taken(network: Network) -> Promise:
    flags = await network.rows("intake", "SELECT id, acknowledged_by FROM risk_flag WHERE urgency = 'page'")
    pages = await network.rows("notifications", "SELECT risk_flag_id FROM escalation WHERE acknowledged_at IS NOT NULL")
    by_flag = Counter(row["risk_flag_id"] for row in pages)
    kept = all(row["acknowledged_by"] and by_flag[row["id"]] == 1 for row in flags)
    text = "every sign of danger was paged once and taken"
    return Promise(text, kept if flags else None, f"{len(flags)} flags, {len(pages)} acknowledged pages")


async def _no_canary(network: Network, inputs: Inputs, stream: Sequence[Stored]) -> Promise:
    text = "names, addresses and reasons are nowhere outside the databases"
    words = canaries(inputs) | private_words()
    written = {form for word in words for form in (word, json.dumps(word)[1:-1], quote(word))}
    pattern = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, sorted(written))) + r")(?!\w)")
    places = {
        "stream": [f"{each.subject} {each.headers} {each.payload!r}" for each in stream],
        "stored stream": _texts(network.platform.folder.path / "nats"),
        "logs": _texts(network.platform.folder.path / "logs"),
        "traces": _texts(network.platform.folder.path / "traces"),
        "metrics": [scrape.page(network.platform.metrics_address(each)) for each in network.platform.services],
        "messages": [row["body"] for row in await network.rows("notifications", "SELECT body FROM message")],
        "dead letters": [str(row) for row in await network.everywhere("SELECT headers, payload FROM dead_letter")],
        "errors": network.refusals,
    }
    found = [name for name, texts in places.items() if any(pattern.search(text) for text in texts)]
    evidence = f"{len(words)} canaries in {', '.join(places)}: " + (f"FOUND IN {', '.join(found)}" if found else "none")
    return Promise(text, not found, evidence)


async def _sealed(network: Network) -> Promise:
    platform = network.platform
    keepers = {service: platform.database_url(service, "keeper") for service in platform.services}
    keys = SealKeys(platform.keys.jwks_file.read_text(encoding="utf-8"))
    verified = await audits.verify(keepers, streams.Admin(*platform.nats_admin), keys)
    sealed, unsealed = (sum(getattr(each, kind) for each in verified.accounts) for kind in ("sealed", "unsealed"))
    kept = not verified.touched and sealed > 0
    evidence = f"{sealed} rows sealed, {unsealed} not yet; {len(audits.lines(verified))} findings"
    return Promise("the audit is what was sealed, and the stream agrees", kept, evidence)


def canaries(inputs: Inputs) -> set[str]:
    """Every name, address and reason of the people who came in, unless it is too short to mean anybody."""
    words: set[str] = set()
    for ready in inputs.reading.referrals:
        request = ready.request
        words |= {request.reason}
        people: list[Person | RelatedPerson] = [request.person, *request.related_people]
        for someone in people:
            words |= {someone.given_name, someone.family_name, *someone.given_name.split()}
            words |= {point.phone or point.email for point in someone.contact_points}
    return {word for word in words if len(word) >= SHORTEST_CANARY}


def _texts(folder: Path) -> list[str]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [file.read_bytes().decode("utf-8", errors="replace") for file in files]
