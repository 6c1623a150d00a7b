"""What the demo tries to break: a seat given back by eight at once, a consent revoked, danger with NATS stopped."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from stepway.family.v1.invitation_pb2 import Invitation
from stepway.family.v1.invitation_service_pb2 import GetInvitationRequest, ListInvitationsRequest
from stepway.intake.v1.assessment_pb2 import INSTRUMENT_PHQ_9
from stepway.intake.v1.assessment_service_pb2 import RecordAssessmentRequest
from stepway.intake.v1.consent_service_pb2 import RevokeConsentRequest
from stepway.intake.v1.referral_pb2 import Referral
from stepway.scheduling.v1.enrollment_pb2 import ENROLLMENT_STATUS_CONFIRMED, ENROLLMENT_STATUS_WAITLISTED, Enrollment
from stepway.scheduling.v1.enrollment_service_pb2 import EndEnrollmentRequest, ListEnrollmentsRequest
from stepway_chassis.errors import TimedOut, Unavailable
from stepway_cli.demo.journey import RECORD, all_pages, take_pages
from stepway_cli.demo.network import Network, if_ever, until
from stepway_cli.demo.programme import Named, Programme
from stepway_cli.sites import SiteRecord

LIST_SEATS = "stepway.scheduling.v1.EnrollmentService/ListEnrollments"
END = "stepway.scheduling.v1.EnrollmentService/EndEnrollment"
LIST_INVITATIONS = "stepway.family.v1.InvitationService/ListInvitations"
GET_INVITATION = "stepway.family.v1.InvitationService/GetInvitation"
REVOKE = "stepway.intake.v1.ConsentService/RevokeConsent"
UNCONFIRMED = "CONSENT_UNCONFIRMED"  # intake has not said in time whether a consent covers it
AT_ONCE = 8
IN_DANGER = {1: 1, 2: 2, 3: 1, 4: 1, 5: 0, 6: 1, 7: 0, 8: 0, 9: 2}


@dataclass(frozen=True)
class Returned:
    """What came of `AT_ONCE` calls that give one seat back: how many were answered, who waited and who still does.

    The ids of enrolments, the first in line first.
    """

    answered: int
    waited_before: Sequence[str]
    waited_after: Sequence[str]


@dataclass(frozen=True)
class Withdrawn:
    """A consent that was revoked: what its family member could read, and what became of a message that waited."""

    read_before: str
    read_after: str
    seconds: float
    queued_before: int
    withheld_after: int


@dataclass(frozen=True)
class Endangered:
    """Seconds from the answers to a page that a channel has taken, and events that waited for the stream by then."""

    paged_seconds: float | None
    unpublished: int


@dataclass(frozen=True)
class Trials:
    """None of what the run has nobody to try it with."""

    returned: Returned | None
    withdrawn: Withdrawn | None
    endangered: Endangered | None


async def tried(
    network: Network, records: Sequence[SiteRecord], programme: Programme, referral: Referral | None
) -> Trials:
    """Each of them where the run has somebody to try it with."""
    opened, closed = records
    return Trials(
        await _give_back(network, opened.site, programme),
        await _withdraw(network, opened.site, closed.site, programme),
        await _endanger(network, opened, referral) if referral else None,
    )


async def _give_back(network: Network, site: str, programme: Programme) -> Returned | None:
    admitted = sum(where == site for where, _ in programme.admissions)
    if not admitted:
        return None
    seated = await until(f"seats at {site}", lambda: _seated(network, site, admitted))
    waited = await _line(network, site)
    ends = [EndEnrollmentRequest(request_id=str(uuid4()), enrollment_id=seated[-1].id) for _ in range(AT_ONCE)]
    desk = network.caller(site, "front_desk")
    refusals = await asyncio.gather(*(network.refused(desk, END, end, site=site) for end in ends))
    return Returned(refusals.count(""), waited, await _line(network, site))


async def _line(network: Network, site: str) -> list[str]:
    waiting = await _enrollments(network, site, ENROLLMENT_STATUS_WAITLISTED)
    return [each.id for each in sorted(waiting, key=lambda each: (each.admitted_at.ToNanoseconds(), each.id))]


async def _seated(network: Network, site: str, admitted: int) -> list[Enrollment]:
    """Once everybody has a seat or waits for one."""
    seated = await _enrollments(network, site, ENROLLMENT_STATUS_CONFIRMED)
    waiting = await _enrollments(network, site, ENROLLMENT_STATUS_WAITLISTED)
    return seated if len(seated) + len(waiting) == admitted else []


async def _enrollments(network: Network, site: str, status: int) -> list[Enrollment]:
    """Of one status, the newest first, however many pages there are."""
    desk, found, token = network.caller(site, "front_desk"), list[Enrollment](), ""
    while True:
        request = ListEnrollmentsRequest(page_size=100, page_token=token, status=status)  # type: ignore[arg-type]
        answer = await desk.call(LIST_SEATS, request, site=site)
        found += answer.enrollments
        token = answer.next_page_token
        if not token:
            return found


async def _withdraw(network: Network, opened: str, closed: str, programme: Programme) -> Withdrawn | None:
    """At the open site what was readable is read again; at the closed one a message waits."""
    reader, reached = (next((each for each in programme.named if each.site == site), None) for site in (opened, closed))
    if reader is None or reached is None:
        return None
    invitation = await until("an invitation", lambda: _invitation(network, reader))
    assert invitation is not None
    before = await _read(network, reader, invitation)
    queued = await until("a queued invitation", lambda: _messages(network, reached, "queued"))
    began = time.monotonic()
    await _revoke(network, reader)
    seconds = time.monotonic() - began
    after = await _read(network, reader, invitation)
    await _revoke(network, reached)
    withheld = await if_ever(lambda: _messages(network, reached, "withheld"))
    return Withdrawn(before, after, seconds, queued, withheld)


async def _invitation(network: Network, named: Named) -> Invitation | None:
    member = network.caller(named.site, "family_member", named.consent.family_member_id)
    try:
        answer = await member.call(LIST_INVITATIONS, ListInvitationsRequest(), site=named.site)
    except (Unavailable, TimedOut):
        return None
    return next(iter(answer.invitations), None)


async def _read(network: Network, named: Named, invitation: Invitation) -> str:
    """The reason with which the family member's own invitation is refused, or ""; asked until intake has said."""
    member = network.caller(named.site, "family_member", named.consent.family_member_id)
    request = GetInvitationRequest(invitation_id=invitation.id)

    async def said() -> list[str]:
        reason = await network.refused(member, GET_INVITATION, request, site=named.site)
        return [] if reason == UNCONFIRMED else [reason]

    return (await if_ever(said) or [UNCONFIRMED])[0]


async def _messages(network: Network, named: Named, status: str) -> int:
    rows = await network.rows("notifications", "SELECT family_member_id, status FROM message")
    return sum((row["family_member_id"], row["status"]) == (named.consent.family_member_id, status) for row in rows)


async def _revoke(network: Network, named: Named) -> None:
    request = RevokeConsentRequest(request_id=str(uuid4()), consent_id=named.consent.id)
    await network.caller(named.site, "front_desk").call(REVOKE, request, site=named.site)


async def _endanger(network: Network, record: SiteRecord, referral: Referral) -> Endangered:
    """Somebody's answers speak of danger with NATS stopped all the while, until a channel has taken a page."""
    on_call = record.settings["on_call"][0]["clinician"]
    await asyncio.to_thread(network.platform.process("nats").stop)
    try:
        flag, began = await _answer(network, record.site, referral), time.monotonic()
        paged = await if_ever(lambda: _paged(network, record.site, on_call, flag))
        seconds = time.monotonic() - began if paged else None
        unpublished = await network.everywhere("SELECT 1 FROM outbox WHERE published_at IS NULL")
    finally:
        await asyncio.to_thread(network.platform.process("nats").start)
    await take_pages(network, record.site, on_call, {flag}, lambda: None)
    return Endangered(seconds, len(unpublished))


async def _answer(network: Network, site: str, referral: Referral) -> str:
    request = RecordAssessmentRequest(
        request_id=str(uuid4()),
        referral_id=referral.id,
        instrument=INSTRUMENT_PHQ_9,
        answers=[{"item": item, "value": value} for item, value in IN_DANGER.items()],
    )
    answer = await network.caller(site, "clinician").call(RECORD, request, site=site)
    return str(answer.risk_flag_id)


async def _paged(network: Network, site: str, on_call: str, flag: str) -> bool:
    pages = await all_pages(network, site, on_call)
    return any(page.risk_flag_id == flag and page.HasField("paged_at") for page in pages)
