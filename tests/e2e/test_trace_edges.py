"""Who calls whom and who feeds whom, read off the spans of one whole journey: these edges and no others."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

from stepway.intake.v1.consent_service_pb2 import RevokeConsentRequest
from stepway.notifications.v1.escalation_service_pb2 import AcknowledgeEscalationRequest
from stepway.scheduling.v1.enrollment_service_pb2 import EndEnrollmentRequest, ListEnrollmentsRequest
from stepway.scheduling.v1.track_pb2 import DAYPART_WEEKEND
from stepway_cli import trace
from stepway_cli.services import SERVICES
from stepway_cli.trace import Link, Span
from tests.cases import At, Case, a_case, a_decision, an_admission
from tests.network import NORTHSIDE, PATIENT, Network, a_referral, phq_9
from tests.waiting import until

Edge = tuple[str, str, str]
ACKNOWLEDGE = "stepway.notifications.v1.EscalationService/AcknowledgeEscalation"
NOBODY = "nobody"

CALLS: set[Edge] = {
    ("intake", "notifications", "EscalationService/RaiseEscalation"),
    ("scheduling", "intake", "AdmissionService/GetAdmission"),
    ("family", "intake", "ConsentService/CheckConsents"),
    ("notifications", "intake", "ReferralService/GetPatientContact"),
    ("notifications", "intake", "ConsentService/GetFamilyMemberContact"),
    ("notifications", "scheduling", "EnrollmentService/GetEnrollment"),
    ("intake", "scheduling", "EnrollmentService/GetEnrollment"),
}
ALSO_CALLS: set[Edge] = {("notifications", "intake", "ConsentService/CheckConsents")}
"""Only within the hours in which the site writes to people, or when a revocation finds something queued."""
FEEDS: set[Edge] = {
    ("intake", "notifications", "ReferralReceived"),
    ("intake", "notifications", "RiskFlagged"),
    ("intake", "notifications", "RiskFlagAcknowledged"),
    ("intake", "scheduling", "PatientAdmitted"),
    ("intake", "scheduling", "AdmissionEnded"),
    ("intake", "family", "PatientAdmitted"),
    ("intake", "family", "ConsentGranted"),
    ("intake", "family", "ConsentRevoked"),
    ("intake", "notifications", "ConsentRevoked"),
    ("scheduling", "care", "EnrollmentConfirmed"),
    ("scheduling", "intake", "EnrollmentConfirmed"),
    ("scheduling", "intake", "EnrollmentWaitlisted"),
    ("scheduling", "intake", "EnrollmentEnded"),
    ("scheduling", "notifications", "EnrollmentConfirmed"),
    ("scheduling", "notifications", "EnrollmentWaitlisted"),
    ("family", "notifications", "FamilyMemberInvited"),
    ("notifications", "intake", "EscalationAcknowledged"),
}


async def test_these_services_call_and_feed_each_other_and_no_others_do(network: Network) -> None:
    traced, began_ns = Network(network.platform, trace_ratio=1.0, seconds=PATIENT), time.time_ns()
    await _finish(traced, await a_case(traced))
    await _wait_in_line(traced)

    def read() -> tuple[set[Edge], set[Edge]]:
        spans = trace.load(network.platform.folder.path)
        return set(_calls(spans, began_ns)) - ALSO_CALLS, set(_feeds(spans, began_ns))

    async def as_told() -> bool:
        return read() == (CALLS, FEEDS)

    with suppress(AssertionError):  # a busy service writes late what it has made, and who heard of it is there first
        await until(as_told)
    assert read() == (CALLS, FEEDS)


def test_an_event_whose_creation_is_not_named_feeds_nobody() -> None:
    """So that the reading above is known to miss a context that was lost on the way."""
    made = _span("intake", "SERVER", "1")
    event = {"cloudevents.event_type": "stepway.intake.v1.PatientAdmitted"}
    heard = replace(_span("family", "CONSUMER", "2"), attributes=event)
    linked = replace(heard, links=(Link("t", "1"),))
    assert list(_feeds([made, linked])) == [("intake", "family", "PatientAdmitted")]
    assert list(_feeds([made, replace(linked, parent_id="1")])) == [("intake", "family", "PatientAdmitted")]
    assert list(_feeds([made, heard])) == [(NOBODY, "family", "PatientAdmitted")]
    assert list(_feeds([made, replace(linked, parent_id="3")])) == [(NOBODY, "family", "PatientAdmitted")]
    assert list(_feeds([made, replace(linked, links=(Link("t", "4"),))])) == [(NOBODY, "family", "PatientAdmitted")]


def _span(service: str, kind: str, id: str) -> Span:
    return Span("t", id, "", service, kind.lower(), kind, 0, 1, {}, (), failed=False)


async def test_one_trace_crosses_all_five_services(network: Network) -> None:
    traced = Network(network.platform, trace_ratio=1.0, seconds=PATIENT)
    case = await a_case(traced)

    async def crossed() -> bool:
        found = trace.traces(trace.load(network.platform.folder.path)).values()
        return any({span.service for span in spans} >= set(SERVICES) for spans in found)

    assert case.invitation
    assert await until(crossed)


async def _finish(network: Network, case: Case) -> None:
    """The page is taken, the consent withdrawn, the seat given back."""
    at = At(network, case.site)
    taken = AcknowledgeEscalationRequest(request_id=str(uuid4()), escalation_id=case.escalation)
    await network.call(ACKNOWLEDGE, taken, role="clinician", subject="staff-2041", site=case.site)
    revoked = RevokeConsentRequest(request_id=str(uuid4()), consent_id=case.consent)
    await at.call("intake", "ConsentService/RevokeConsent", revoked)
    ended = EndEnrollmentRequest(request_id=str(uuid4()), enrollment_id=case.enrollment)
    await at.call("scheduling", "EnrollmentService/EndEnrollment", ended)


async def _wait_in_line(network: Network, site: str = NORTHSIDE) -> None:
    """Somebody who can come at a time at which nothing is offered."""
    at = At(network, site)
    referral = (await at.call("intake", "ReferralService/ReceiveReferral", a_referral())).referral
    await at.call("intake", "AssessmentService/RecordAssessment", phq_9(referral.id, [1] * 8 + [0]))
    await at.call("intake", "LevelOfCareService/DecideLevelOfCare", a_decision(referral.id))
    await at.call("intake", "AdmissionService/AdmitPatient", an_admission(referral.id, availability=[DAYPART_WEEKEND]))
    await at.listed("scheduling", "EnrollmentService/ListEnrollments", ListEnrollmentsRequest(), referral.patient_id)


def _calls(spans: list[Span], since_ns: int) -> Iterator[Edge]:
    """From the service that asks to the one that has answered since then."""
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        asking = by_id.get(span.parent_id)
        if (
            span.kind == "SERVER"
            and span.start_ns >= since_ns
            and asking
            and {asking.service, span.service} <= set(SERVICES)
        ):
            yield asking.service, span.service, span.name.removeprefix(f"stepway.{span.service}.v1.")


def _feeds(spans: list[Span], since_ns: int = 0) -> Iterator[Edge]:
    """From the service that made an event to each that handled it since then, by what the handling is linked to.

    While the hop is short, that is its parent as well. What began in a trace that was not sampled is left out.
    """
    by_id, sampled = {span.span_id: span for span in spans}, {span.trace_id for span in spans}
    for span in spans:
        unsampled = span.links and not sampled & {link.trace_id for link in span.links}
        if span.kind == "CONSUMER" and span.service in SERVICES and span.start_ns >= since_ns and not unsampled:
            yield _maker(by_id, span), span.service, str(span.attributes["cloudevents.event_type"]).rpartition(".")[2]


def _maker(by_id: Mapping[str, Span], handled: Span) -> str:
    """The one service that both link and parent lead to."""
    made = [link.span_id for link in handled.links] + ([handled.parent_id] if handled.parent_id else [])
    makers = {by_id[id].service if id in by_id else NOBODY for id in made}
    return makers.pop() if handled.links and len(makers) == 1 else NOBODY
