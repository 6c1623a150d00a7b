"""What the demo has checked about the programme: seats, plans, consents, pages, and the one trace through all of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from stepway_cli import trace
from stepway_cli.demo.network import Network
from stepway_cli.demo.programme import Programme
from stepway_cli.demo.promises import UNTRIED, Promise
from stepway_cli.demo.trials import AT_ONCE, Endangered, Returned, Trials, Withdrawn
from stepway_cli.sites import SiteRecord

AFTER_REVOKING = "INVITATION_NOT_FOUND"
LONGEST_REVOKING = 2.5  # seconds; half of one it takes on purpose, and a busy machine adds its own
LONGEST_PAGING = 15.0
PAGES = """
    SELECT e.site, risk_flag_id, clinicians, acknowledged_by,
           coalesce(json_agg(m.address) FILTER (WHERE m.status = 'delivered'), '[]') AS delivered_to
      FROM escalation AS e LEFT JOIN message AS m ON m.site = e.site AND m.escalation_id = e.id
     GROUP BY e.site, e.id"""


async def check(
    network: Network, records: Sequence[SiteRecord], programme: Programme, trials: Trials, left: Mapping[str, str]
) -> list[Promise]:
    """`left` says of which site the flags are whose page the first on call did not answer."""
    tracks = await network.rows("scheduling", "SELECT id, seats, seats_taken FROM track")
    held = await network.rows("scheduling", "SELECT track_id FROM enrollment WHERE status = 'confirmed'")
    return [
        await _seated(network, programme),
        seats(tracks, held, trials.returned),
        withdrawn(trials.withdrawn),
        paged(trials.endangered),
        passed_on(records, await network.rows("notifications", PAGES), left),
        _one_trace(trace.load(network.platform.folder.path), network.platform.services),
    ]


async def _seated(network: Network, programme: Programme) -> Promise:
    """Whoever was admitted holds a seat, waits, or has given it back; whoever ever held one has one plan."""
    enrolled = await network.rows("scheduling", "SELECT id, admission_id, confirmed_at FROM enrollment")
    plans = await network.rows("care", "SELECT enrollment_id FROM treatment_plan")
    admitted = Counter(admission.id for _, admission in programme.admissions)
    confirmed = Counter(row["id"] for row in enrolled if row["confirmed_at"])
    kept = admitted == Counter(row["admission_id"] for row in enrolled)
    kept = kept and confirmed == Counter(row["enrollment_id"] for row in plans)
    evidence = (
        f"{programme.decided} decisions, {len(admitted)} admissions, {len(enrolled)} enrolments, {len(plans)} drafts"
    )
    text = "each admission led to one enrolment, each seat to one plan"
    return Promise(text, kept if admitted else None, evidence)


def seats(tracks: Sequence[Mapping[str, Any]], held: Sequence[Mapping[str, Any]], returned: Returned | None) -> Promise:
    text = "a seat is never sold twice, and a freed one goes to the first in line"
    sold = Counter(row["track_id"] for row in held)
    evidence = f"{sum(track['seats'] for track in tracks)} seats, {len(held)} held"
    if not all(sold[track["id"]] == track["seats_taken"] <= track["seats"] for track in tracks):
        return Promise(text, False, evidence)
    if returned is None or not returned.waited_before:
        return Promise(text, None, f"{evidence}; nobody waited for a seat")
    first_moved = returned.waited_after == returned.waited_before[1:]
    moved = "the first in line" if first_moved else "NOT just the first in line"
    return Promise(
        text,
        returned.answered == 1 and first_moved,
        f"{evidence}; given back {AT_ONCE} times at once: {returned.answered} taken, {moved} moved up",
    )


def withdrawn(tried: Withdrawn | None) -> Promise:
    text = "from the answer to a revocation nothing is read and nothing sent"
    if tried is None:
        return Promise(text, None, UNTRIED)
    read = tried.read_before == "" and tried.read_after == AFTER_REVOKING
    sent = tried.withheld_after >= tried.queued_before > 0
    evidence = (
        f"read before, {tried.read_after or 'READ'} after {tried.seconds:.2f} s;"
        f" {tried.queued_before} queued, {tried.withheld_after} withheld"
    )
    return Promise(text, read and sent and tried.seconds <= LONGEST_REVOKING, evidence)


def paged(tried: Endangered | None) -> Promise:
    text = "a sign of danger is paged with NATS stopped"
    if tried is None:
        return Promise(text, None, UNTRIED)
    if tried.paged_seconds is None:
        return Promise(text, False, "no channel ever had a page")
    evidence = f"a channel had the page after {tried.paged_seconds:.1f} s, while {tried.unpublished} events waited"
    return Promise(text, tried.paged_seconds <= LONGEST_PAGING and tried.unpublished > 0, evidence)


def passed_on(records: Sequence[SiteRecord], pages: Sequence[Mapping[str, Any]], left: Mapping[str, str]) -> Promise:
    """Whatever was left to the next was written to both addresses, and taken by the next."""
    text = "a page that nobody answers goes to the next on call"
    ladders = {record.site: record.settings["on_call"][:2] for record in records}
    by_flag = {row["risk_flag_id"]: row for row in pages}
    further = [flag for flag, site in left.items() if _went_on(ladders[site], by_flag.get(flag))]
    evidence = f"{len(pages)} risks, {len(left)} left unanswered, {len(further)} of those taken by the next"
    return Promise(text, len(further) == len(left) if left else None, evidence)


def _went_on(ladder: Sequence[Mapping[str, str]], page: Mapping[str, Any] | None) -> bool:
    first, second = ladder
    return (
        page is not None
        and page["clinicians"][:2] == [first["clinician"], second["clinician"]]
        and {first["email"], second["email"]} <= set(page["delivered_to"])
        and page["acknowledged_by"] == second["clinician"]
    )


def _one_trace(spans: Sequence[trace.Span], services: Sequence[str]) -> Promise:
    seen = [{span.service for span in found} & set(services) for found in trace.traces(spans).values()]
    most = max(seen, key=len, default=set())
    evidence = f"{len(most)} services in one trace: {', '.join(name for name in services if name in most)}"
    everywhere = set(chain.from_iterable(seen)) >= set(services)
    return Promise("one trace tells the whole story", everywhere and len(most) == len(services), evidence)
