"""What the demo has checked about the programme: seats, plans, consents, pages, and the one trace through all of it."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain

from stepway_cli import trace
from stepway_cli.demo.network import Network
from stepway_cli.demo.programme import Programme
from stepway_cli.demo.promises import Promise
from stepway_cli.demo.trials import AT_ONCE, Returned, Trials, Withdrawn

UNTRIED = "nobody came in with whom it could be tried"
AFTER_REVOKING = "INVITATION_NOT_FOUND"
LONGEST_REVOKING = 1.0  # seconds


async def check(network: Network, programme: Programme, trials: Trials) -> list[Promise]:
    return [
        await _seated(network, programme),
        await _seats(network, trials.returned),
        _withdrawn(trials.withdrawn),
        _paged(trials.paged_seconds),
        await _passed_on(network),
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
    return Promise("each admission led to one enrolment, each seat to one plan", kept, evidence)


async def _seats(network: Network, returned: Returned | None) -> Promise:
    text = "a seat is never sold twice, and a freed one goes to the first in line"
    tracks = await network.rows("scheduling", "SELECT id, seats, seats_taken FROM track")
    held = await network.rows("scheduling", "SELECT track_id FROM enrollment WHERE status = 'confirmed'")
    sold = Counter(row["track_id"] for row in held)
    kept = all(sold[track["id"]] == track["seats_taken"] <= track["seats"] for track in tracks)
    evidence = f"{sum(track['seats'] for track in tracks)} seats, {len(held)} held"
    if returned is None:
        return Promise(text, kept, evidence)
    moved = returned.waited_before - returned.waited_after
    kept = kept and returned.answered == 1 and moved == min(1, returned.waited_before)
    return Promise(
        text, kept, f"{evidence}; given back {AT_ONCE} times at once: {returned.answered} taken, {moved} moved up"
    )


def _withdrawn(withdrawn: Withdrawn | None) -> Promise:
    text = "from the answer to a revocation nothing is read and nothing sent"
    if withdrawn is None:
        return Promise(text, True, UNTRIED)
    read = withdrawn.read_before == "" and withdrawn.read_after == AFTER_REVOKING
    sent = withdrawn.withheld_after >= withdrawn.queued_before > 0
    evidence = (
        f"read before, {withdrawn.read_after or 'READ'} after {withdrawn.seconds:.2f} s;"
        f" {withdrawn.queued_before} queued, {withdrawn.withheld_after} withheld"
    )
    return Promise(text, read and sent and withdrawn.seconds <= LONGEST_REVOKING, evidence)


def _paged(seconds: float | None) -> Promise:
    text = "a sign of danger is paged with NATS stopped"
    return Promise(text, True, UNTRIED if seconds is None else f"a channel had the page after {seconds:.1f} s")


async def _passed_on(network: Network) -> Promise:
    rows = await network.rows("notifications", "SELECT clinicians, acknowledged_by FROM escalation")
    further = [row for row in rows if len(row["clinicians"]) > 1]
    taken = [row for row in rows if row["acknowledged_by"] in row["clinicians"]]
    evidence = f"{len(rows)} risks, {len(further)} of them went on to the next, {len(taken)} taken by somebody paged"
    return Promise("a page that nobody answers goes to the next on call", len(taken) == len(rows), evidence)


def _one_trace(spans: Sequence[trace.Span], services: Sequence[str]) -> Promise:
    seen = [{span.service for span in found} & set(services) for found in trace.traces(spans).values()]
    most = max(seen, key=len, default=set())
    evidence = f"{len(most)} services in one trace: {', '.join(name for name in services if name in most)}"
    everywhere = set(chain.from_iterable(seen)) >= set(services)
    return Promise("one trace tells the whole story", everywhere and len(most) == len(services), evidence)
