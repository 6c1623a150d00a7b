"""Pages climb the ladder until somebody takes them, and go out by call when no event can."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from stepway.intake.v1.risk_service_pb2 import AcknowledgeRiskFlagRequest
from stepway.notifications.v1.escalation_service_pb2 import (
    AcknowledgeEscalationRequest,
    ListEscalationsRequest,
    RaiseEscalationRequest,
)
from stepway_chassis.errors import Denied, NotFound
from stepway_cli.sites import apply, read_sites
from stepway_intake.watchdog import MOST
from tests.calls import service_token
from tests.cases import IN_DANGER, At
from tests.data import REPOSITORY
from tests.network import NORTHSIDE, Network, a_referral, phq_9
from tests.waiting import until

SITE = "stairside"
FIRST, SECOND, THIRD = "staff-2041", "staff-2088", "staff-3000"
ESCALATIONS = "stepway.notifications.v1.EscalationService"
RISK = "stepway.intake.v1.RiskService"


@pytest.fixture(scope="module")
async def stairside(network: Network) -> Network:
    """A site whose pages go on after a second."""
    northside = read_sites([REPOSITORY / "deploy" / "sites" / "1-northside.yaml"])[0]
    record = replace(northside, site=SITE, settings={**northside.settings, "page_again_seconds": 1})
    for service in network.platform.services:
        await apply(network.platform.database_url(service, "registrar"), [record])
    return network


async def in_danger(network: Network, site: str = SITE) -> str:
    """The id of a flag."""
    at = At(network, site)
    referral = (await at.call("intake", "ReferralService/ReceiveReferral", a_referral())).referral
    answer = await at.call("intake", "AssessmentService/RecordAssessment", phq_9(referral.id, IN_DANGER))
    return str(answer.risk_flag_id)


async def page(network: Network, flag: str, clinician: str, site: str = SITE) -> Any:
    answer = await network.call(
        f"{ESCALATIONS}/ListEscalations", ListEscalationsRequest(), role="clinician", subject=clinician, site=site
    )
    return next((each for each in answer.escalations if each.risk_flag_id == flag), None)


async def take(network: Network, escalation: str, clinician: str) -> Any:
    request = AcknowledgeEscalationRequest(request_id=str(uuid4()), escalation_id=escalation)
    return await network.call(
        f"{ESCALATIONS}/AcknowledgeEscalation", request, role="clinician", subject=clinician, site=SITE
    )


async def test_a_page_that_nobody_takes_goes_to_the_next_who_may_take_it(stairside: Network) -> None:
    flag = await in_danger(stairside)
    raised = await until(lambda: page(stairside, flag, SECOND))
    assert list(raised.clinicians) == [FIRST, SECOND]
    with pytest.raises(NotFound):
        await take(stairside, raised.id, "staff-9")
    await take(stairside, raised.id, SECOND)

    async def known() -> Any:
        return stairside.rows("intake", f"SELECT 1 FROM risk_flag WHERE id = '{flag}' AND acknowledged_by = '{SECOND}'")

    await until(known)


async def test_it_begins_again_from_the_first_and_ends_when_the_first_takes_it(stairside: Network) -> None:
    flag = await in_danger(stairside)

    async def three_pages() -> Any:
        return stairside.rows(
            "notifications", f"SELECT id FROM escalation WHERE risk_flag_id = '{flag}' AND pages >= 3"
        )

    (row,) = await until(three_pages)
    await take(stairside, row["id"], FIRST)
    (ended,) = stairside.rows(
        "notifications", f"SELECT pages, next_page_at FROM escalation WHERE risk_flag_id = '{flag}'"
    )
    assert ended["next_page_at"] is None
    announced = stairside.rows(
        "notifications",
        f"SELECT 1 AS one FROM outbox WHERE aggregate_id = '{row['id']}' AND subject LIKE '%escalation_advanced'",
    )
    assert len(announced) == ended["pages"] - 1


async def test_twenty_calls_and_an_event_about_one_flag_make_one_escalation_and_one_page(network: Network) -> None:
    flag = await in_danger(network, NORTHSIDE)
    about = network.rows("intake", f"SELECT patient_id, referral_id FROM risk_flag WHERE id = '{flag}'")[0]
    intake = network.holding(service_token(network, "intake"))

    async def raised() -> str:
        request = RaiseEscalationRequest(request_id=str(uuid4()), risk_flag_id=flag, **about)
        return str((await intake.call(f"{ESCALATIONS}/RaiseEscalation", request, site=NORTHSIDE)).escalation.id)

    (id,) = set(await asyncio.gather(*(raised() for _ in range(20))))
    assert network.rows("notifications", f"SELECT id FROM escalation WHERE risk_flag_id = '{flag}'") == [{"id": id}]
    pages = network.rows("notifications", f"SELECT 1 AS one FROM message WHERE escalation_id = '{id}'")
    assert len(pages) == 1


async def test_whoever_takes_the_flag_in_intake_stops_its_page_and_hears_no_echo(stairside: Network) -> None:
    flag = await in_danger(stairside)
    await until(lambda: page(stairside, flag, SECOND))
    await stairside.call(f"{RISK}/AcknowledgeRiskFlag", _taken(flag), role="clinician", subject=THIRD, site=SITE)
    escalation = await until(lambda: _rests(stairside, flag))
    assert (escalation["acknowledged_by"], escalation["next_page_at"]) == (THIRD, None)
    queued = f"SELECT 1 FROM message WHERE escalation_id = '{escalation['id']}' AND status = 'queued'"

    async def nothing_waits() -> bool:
        return not stairside.rows("notifications", queued)

    await until(nothing_waits)  # what was on its way already, too
    echo = f"SELECT event_id FROM outbox WHERE aggregate_id = '{escalation['id']}' AND subject LIKE '%acknowledged'"
    (said,) = stairside.rows("notifications", echo)

    async def heard() -> Any:
        return stairside.rows("intake", f"SELECT 1 FROM inbox WHERE event_id = '{said['event_id']}'")

    await until(heard)
    announced = f"SELECT 1 AS one FROM outbox WHERE aggregate_id = '{flag}' AND subject LIKE '%risk_flag_acknowledged'"
    assert len(stairside.rows("intake", announced)) == 1


async def test_a_page_that_is_heard_of_after_its_flag_was_taken_goes_to_nobody(stairside: Network) -> None:
    """Of a flag that asks for a review, so that nothing but this call asks for a page."""
    at = At(stairside, SITE)
    referral = (await at.call("intake", "ReferralService/ReceiveReferral", a_referral())).referral
    answers = phq_9(referral.id, [1] * 8 + [None])
    flag = (await at.call("intake", "AssessmentService/RecordAssessment", answers)).risk_flag_id
    await stairside.call(f"{RISK}/AcknowledgeRiskFlag", _taken(flag), role="clinician", subject=THIRD, site=SITE)

    async def heard() -> Any:
        return stairside.rows("notifications", f"SELECT 1 FROM taken_flag WHERE id = '{flag}'")

    await until(heard)
    about = {"risk_flag_id": flag, "patient_id": referral.patient_id, "referral_id": referral.id}
    request = RaiseEscalationRequest(request_id=str(uuid4()), **about)
    intake = stairside.holding(service_token(stairside, "intake"))
    raised = (await intake.call(f"{ESCALATIONS}/RaiseEscalation", request, site=SITE)).escalation
    assert raised.acknowledged_by == THIRD
    pages = stairside.rows("notifications", f"SELECT status FROM message WHERE escalation_id = '{raised.id}'")
    assert pages == [{"status": "expired"}]


async def _rests(network: Network, flag: str) -> Any:
    taken = f"SELECT * FROM escalation WHERE risk_flag_id = '{flag}' AND acknowledged_at IS NOT NULL"
    return next(iter(network.rows("notifications", taken)), None)


async def test_nobody_but_intake_raises_an_escalation(network: Network) -> None:
    request = RaiseEscalationRequest(
        request_id=str(uuid4()), risk_flag_id=str(uuid4()), patient_id=str(uuid4()), referral_id=str(uuid4())
    )
    with pytest.raises(Denied):
        await network.call(f"{ESCALATIONS}/RaiseEscalation", request, role="site_lead")


async def test_however_many_flags_wait_for_a_page_each_is_asked_for(network: Network) -> None:
    """More than fit into a round, without an event, at a site whose mail is never taken."""
    northside = read_sites([REPOSITORY / "deploy" / "sites" / "1-northside.yaml"])[0]
    site, nobody = "longside", [{"clinician": FIRST, "email": "busy@example.org"}]
    record = replace(northside, site=site, settings={**northside.settings, "on_call": nobody})
    for service in network.platform.services:
        await apply(network.platform.database_url(service, "registrar"), [record])
    referral = (await At(network, site).call("intake", "ReferralService/ReceiveReferral", a_referral())).referral
    flags = 2 * MOST + 1
    network.platform.postgres.run_sql(
        "INSERT INTO risk_flag (site, id, patient_id, referral_id, urgency, raised_at)"
        f" SELECT '{site}', uuidv7(), '{referral.patient_id}', '{referral.id}', 'page', now()"
        f" FROM generate_series(1, {flags});"
        f"INSERT INTO work (site, loop, due_at) VALUES ('{site}', 'watchdog', now());",
        database="stepway_intake",
    )

    async def all_asked_for() -> bool:
        raised = network.rows("notifications", f"SELECT count(*) AS n FROM escalation WHERE site = '{site}'")
        return bool(raised[0]["n"] == flags)

    await until(all_asked_for)
    paged = network.rows("intake", f"SELECT 1 AS one FROM risk_flag WHERE site = '{site}' AND paged_at IS NOT NULL")
    assert paged == []
    for service, all_over in (
        ("intake", "risk_flag SET acknowledged_at = now(), acknowledged_by = 'nobody'"),
        ("notifications", "escalation SET next_page_at = NULL"),
        ("notifications", "message SET status = 'expired'"),
    ):
        done = f"UPDATE {all_over} WHERE site = '{site}'"
        network.platform.postgres.run_sql(done, database=f"stepway_{service}")


async def test_a_page_goes_out_with_nats_stopped_and_the_event_changes_nothing_later(network: Network) -> None:
    nats = network.platform.process("nats")
    nats.stop()
    try:
        flag = await in_danger(network, NORTHSIDE)

        async def paged() -> Any:
            return network.rows("intake", f"SELECT 1 FROM risk_flag WHERE id = '{flag}' AND paged_at IS NOT NULL")

        await until(paged)
    finally:
        nats.start()

    (announced,) = network.rows(
        "intake", f"SELECT event_id FROM outbox WHERE aggregate_id = '{flag}' AND subject LIKE '%risk_flagged'"
    )

    async def heard() -> Any:
        return network.rows("notifications", f"SELECT 1 FROM inbox WHERE event_id = '{announced['event_id']}'")

    await until(heard)
    assert len(network.rows("notifications", f"SELECT 1 AS one FROM escalation WHERE risk_flag_id = '{flag}'")) == 1


async def test_with_notifications_away_the_sites_emergency_address_is_written_to_once_and_paged_later(
    stairside: Network,
) -> None:
    address = f"lead-{uuid4().hex}@example.org"
    site = await _with_emergency_address(stairside, address)
    notifications = stairside.platform.process("notifications")
    notifications.stop()
    try:
        flag = await in_danger(stairside, site)

        async def warned() -> Any:
            return stairside.rows("intake", f"SELECT 1 FROM risk_flag WHERE id = '{flag}' AND fallback_at IS NOT NULL")

        await until(warned)
        (mail,) = _mails_to(stairside, address)
    finally:
        notifications.start()
    assert "Somebody needs you now" in mail
    assert not any(word in mail for word in ("Quillan", "Vexmoor", "risk", "suicid", "patient"))

    async def paged() -> Any:
        return stairside.rows("intake", f"SELECT 1 FROM risk_flag WHERE id = '{flag}' AND paged_at IS NOT NULL")

    await until(paged)
    assert len(_mails_to(stairside, address)) == 1


async def test_a_warning_that_no_mailbox_takes_is_sent_again_until_one_does(stairside: Network) -> None:
    address = f"lead-{uuid4().hex}@example.org"
    site = await _with_emergency_address(stairside, "busy@example.org", on_call="busy@example.org")
    flag = await in_danger(stairside, site)
    escalated = f"SELECT 1 FROM escalation WHERE risk_flag_id = '{flag}'"

    async def asked() -> Any:
        return stairside.rows("notifications", escalated)

    await until(asked)
    await _with_emergency_address(stairside, address, on_call="busy@example.org", revision=1000)

    async def warned() -> Any:
        return stairside.rows("intake", f"SELECT 1 FROM risk_flag WHERE id = '{flag}' AND fallback_at IS NOT NULL")

    await until(warned)
    assert len(_mails_to(stairside, address)) == 1
    await At(stairside, site).call("intake", "RiskService/AcknowledgeRiskFlag", _taken(flag))


def _taken(flag: str) -> AcknowledgeRiskFlagRequest:
    return AcknowledgeRiskFlagRequest(request_id=str(uuid4()), risk_flag_id=flag)


async def _with_emergency_address(network: Network, address: str, *, on_call: str = "", revision: int = 1) -> str:
    """A site of its own, by its pager's address."""
    northside = read_sites([REPOSITORY / "deploy" / "sites" / "1-northside.yaml"])[0]
    site = "hillside" if on_call else "brookside"
    settings = {**northside.settings, "emergency_email": address}
    if on_call:
        settings["on_call"] = [{"clinician": FIRST, "email": on_call}]
    record = replace(northside, site=site, settings=settings, revision=revision)
    for service in network.platform.services:
        await apply(network.platform.database_url(service, "registrar"), [record])
    return site


def _mails_to(network: Network, address: str) -> list[str]:
    mails = [mail.read_text() for mail in sorted(network.platform.mails.glob("*.eml"))]
    return [mail for mail in mails if f"Delivered-To: {address}\n" in mail]
