"""The story that the demo tells: referrals come in, answers are scored, somebody is paged and takes it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import NAMESPACE_URL, uuid5

from stepway.intake.v1.assessment_service_pb2 import RecordAssessmentRequest, RecordAssessmentResponse
from stepway.intake.v1.referral_pb2 import Referral
from stepway.notifications.v1.escalation_pb2 import Escalation
from stepway.notifications.v1.escalation_service_pb2 import AcknowledgeEscalationRequest, ListEscalationsRequest
from stepway_chassis.errors import Refusal
from stepway_cli import referrals
from stepway_cli.demo.inputs import Participant
from stepway_cli.demo.network import Network, if_ever, until
from stepway_cli.findings import Refused
from stepway_cli.listeners import wanted
from stepway_cli.referrals import IN_FLIGHT, Sent

RECORD = "stepway.intake.v1.AssessmentService/RecordAssessment"
PAGES = "stepway.notifications.v1.EscalationService/ListEscalations"
TAKE = "stepway.notifications.v1.EscalationService/AcknowledgeEscalation"

Told = Callable[[], None]


@dataclass(frozen=True)
class Recorded:
    """One instrument's answers, as intake has scored them."""

    site: str
    answer: RecordAssessmentResponse


async def receive(network: Network, participants: Sequence[Participant], told: Told) -> list[Sent]:
    """In the order of the participants; each site's front desk sends its own."""
    pairs = [(each.site, each.ready) for each in participants]
    return await referrals.send(lambda site: network.caller(site, "front_desk"), pairs, told)


async def record(
    network: Network, participants: Sequence[Participant], sent: Sequence[Sent], told: Told
) -> tuple[list[Recorded], list[Refused]]:
    """Each person's answers, one call an instrument."""
    slots = asyncio.Semaphore(IN_FLIGHT)
    calls = [
        _record(network, slots, each.site, got.referral, number, request, told)
        for each, got in zip(participants, sent, strict=True)
        if each.answers and got.referral
        for number, request in _requests(each, got.referral)
    ]
    outcomes = await asyncio.gather(*calls)
    done = [outcome for outcome in outcomes if isinstance(outcome, Recorded)]
    return done, [outcome for outcome in outcomes if isinstance(outcome, Refused)]


def _requests(participant: Participant, referral: Referral) -> list[tuple[int, RecordAssessmentRequest]]:
    assert participant.answers is not None
    row = participant.answers.row_number
    return [
        (
            row,
            RecordAssessmentRequest(
                request_id=str(uuid5(NAMESPACE_URL, f"{referral.id}:{row}:{instrument}")),
                referral_id=referral.id,
                instrument=instrument,
                answers=[{"item": item, "value": value} for item, value in values.items()],
            ),
        )
        for instrument, values in participant.answers.answers.items()
    ]


async def _record(
    network: Network,
    slots: asyncio.Semaphore,
    site: str,
    referral: Referral,
    row: int,
    request: RecordAssessmentRequest,
    told: Told,
) -> Recorded | Refused:
    async with slots:
        try:
            answer = await network.caller(site, "clinician").call(RECORD, request, site=site)
        except Refusal as refusal:
            return Refused(f"answers row {row}", refusal.reason, refusal.message)
        finally:
            told()
    return Recorded(site, answer)


async def take_pages(network: Network, site: str, on_call: str, flags: set[str], told: Told) -> None:
    """Somebody on call at a site waits until they were paged about each flag, and takes what they were paged about."""
    pages: list[Escalation] = []

    async def paged() -> bool:
        pages[:] = [page for page in await all_pages(network, site, on_call) if page.risk_flag_id in flags]
        return len(pages) == len(flags)

    await if_ever(paged)
    for page in pages:
        request = AcknowledgeEscalationRequest(
            request_id=str(uuid5(NAMESPACE_URL, f"take:{page.id}")), escalation_id=page.id
        )
        await network.caller(site, "clinician", on_call).call(TAKE, request, site=site)
        told()


async def all_pages(network: Network, site: str, on_call: str) -> list[Escalation]:
    clinician = network.caller(site, "clinician", on_call)
    found: list[Escalation] = []
    token = ""
    while True:
        answer = await clinician.call(PAGES, ListEscalationsRequest(page_size=100, page_token=token), site=site)
        found += answer.escalations
        token = answer.next_page_token
        if not token:
            return found


async def quiet(network: Network) -> None:
    """Wait until every event is handled, every message that may go has gone, and all is sealed and published.

    Looked at in the order of causes, and twice: what is done while one looks may leave something to do.
    """
    quiet_before = False

    async def quiet_twice() -> bool:
        nonlocal quiet_before
        looks = (_unhandled, _unsent, _unsealed, _unpublished)
        quiet_now = not any([await look(network) for look in looks])
        both, quiet_before = quiet_before and quiet_now, quiet_now
        return both

    await until("everything handled, sent, sealed and published", quiet_twice)


async def _unhandled(network: Network) -> bool:
    """Whether an event waits for somebody who listens to it."""
    announced = await network.everywhere("SELECT event_id, headers ->> 'ce-type' AS type FROM outbox")
    waiting = {(*who, event["event_id"]) for event in announced for who in wanted(event["type"])}
    for service in network.platform.services:
        done = await network.rows(
            service, "SELECT consumer, event_id FROM inbox UNION SELECT consumer, event_id FROM dead_letter"
        )
        waiting -= {(service, row["consumer"], row["event_id"]) for row in done}
    return bool(waiting)


async def _unsent(network: Network) -> bool:
    return bool(
        await network.rows("notifications", "SELECT 1 FROM message WHERE status = 'queued' AND release_at <= now()")
    )


async def _unsealed(network: Network) -> bool:
    return bool(await network.everywhere("SELECT 1 FROM audit WHERE seq IS NULL LIMIT 1"))


async def _unpublished(network: Network) -> bool:
    return bool(await network.everywhere("SELECT 1 FROM outbox WHERE published_at IS NULL"))
