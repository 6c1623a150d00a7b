"""What waits for a family member goes only while a consent covers it, whether or not anybody has heard of its end."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from stepway.intake.v1.consent_pb2 import CONSENT_CATEGORY_ATTENDANCE, CONSENT_CATEGORY_SCHEDULE
from stepway.intake.v1.consent_service_pb2 import RevokeConsentRequest
from stepway.notifications.v1.message_service_pb2 import StopMessagesRequest
from stepway_cli.sites import apply, read_sites
from tests.cases import At, Case, a_case, a_consent
from tests.data import REPOSITORY
from tests.integration.test_sending import closed_window
from tests.network import Network
from tests.waiting import until

ZONE = ZoneInfo("America/New_York")  # northside's
STOP = "stepway.notifications.v1.MessageService/StopMessages"
MESSAGE = (
    "SELECT id, status, attempts, claimed_until FROM message WHERE site = '{site}' AND family_member_id = '{member}'"
)
NOW_DUE = """
    UPDATE message SET release_at = now(), next_attempt_at = now()
     WHERE site = '{site}' AND family_member_id = '{member}' AND status = 'queued';
    INSERT INTO work (site, loop, due_at) VALUES ('{site}', 'sending', now())
     ON CONFLICT (loop, site) DO UPDATE SET due_at = now()"""

RUN_OUT = """
    UPDATE consent SET expires_at = now(), due_at = now() WHERE id = '{consent}';
    INSERT INTO work (site, loop, due_at) VALUES ('{site}', 'expiring', now())
     ON CONFLICT (loop, site) DO UPDATE SET due_at = now()"""


async def a_waiting_message(network: Network, site: str) -> Case:
    """At a site that writes to nobody at this hour, to an uncle with a telephone."""
    await open_hours(network, site, 1, closed_window(datetime.now(ZONE)))
    case = await a_case(network, site)
    await until(lambda: statuses(network, case))
    assert await statuses(network, case) == ["queued"]
    return case


async def open_hours(network: Network, site: str, revision: int, window: list[str]) -> None:
    northside = read_sites([REPOSITORY / "deploy" / "sites" / "1-northside.yaml"])[0]
    record = replace(northside, site=site, revision=revision, settings={**northside.settings, "sending_window": window})
    for service in network.platform.services:
        await apply(network.platform.database_url(service, "registrar"), [record])


async def its_time_comes(network: Network, case: Case) -> None:
    await open_hours(network, case.site, 2, ["00:00", "24:00"])
    script = NOW_DUE.format(site=case.site, member=case.family_member)
    network.platform.postgres.run_sql(script, database="stepway_notifications")


async def statuses(network: Network, case: Case) -> list[str]:
    rows = network.rows("notifications", MESSAGE.format(site=case.site, member=case.family_member))
    return [row["status"] for row in rows]


async def becomes(network: Network, case: Case, status: str) -> None:
    async def look() -> Any:
        return await statuses(network, case) == [status]

    await until(look)


def texts(network: Network, case: Case) -> list[str]:
    """What the file channel holds for the family member."""
    folder = network.platform.texts / case.site
    return [file.name for file in folder.glob("*.txt") if "meeting" in file.read_text()] if folder.exists() else []


async def revoke(network: Network, case: Case) -> None:
    request = RevokeConsentRequest(request_id=str(uuid4()), consent_id=case.consent)
    await At(network, case.site).call("intake", "ConsentService/RevokeConsent", request)


async def run_out(network: Network, case: Case) -> None:
    script = RUN_OUT.format(site=case.site, consent=case.consent)
    network.platform.postgres.run_sql(script, database="stepway_intake")


async def replace_by(network: Network, case: Case, category: int) -> None:
    """Another consent for the same uncle takes the place of this one."""
    who = {"family_member_id": case.family_member, "supersedes_consent_id": case.consent}
    request = a_consent(case.patient, categories=[category], **who)
    await At(network, case.site).call("intake", "ConsentService/GrantConsent", request)


async def narrow(network: Network, case: Case) -> None:
    """The uncle may still know of attendance, and of no schedule."""
    await replace_by(network, case, CONSENT_CATEGORY_ATTENDANCE)


async def family_heard_of_the_end(network: Network, case: Case) -> None:
    """Nobody is invited on the strength of this consent any more."""
    link = f"SELECT 1 FROM consent_link WHERE id = '{case.consent}' AND revoked IS NOT NULL"

    async def look() -> Any:
        return network.rows("family", link)

    await until(look)


ENDINGS = {"revoked": revoke, "expired": run_out, "superseded": narrow}
Ending = Callable[[Network, Case], Awaitable[None]]
each_ending = pytest.mark.parametrize(("ending", "end"), ENDINGS.items(), ids=ENDINGS.keys())


@each_ending
async def test_a_queued_message_is_withheld_as_soon_as_its_consent_has_ended(
    network: Network, ending: str, end: Ending
) -> None:
    case = await a_waiting_message(network, f"eveside-{ending}")
    await end(network, case)
    await becomes(network, case, "withheld")
    await family_heard_of_the_end(network, case)
    assert texts(network, case) == []


async def test_it_goes_on_waiting_when_another_consent_that_covers_it_takes_the_place_of_its_own(
    network: Network,
) -> None:
    case = await a_waiting_message(network, "renewside")
    await replace_by(network, case, CONSENT_CATEGORY_SCHEDULE)
    heard = f"SELECT 1 FROM inbox WHERE site = '{case.site}' AND consumer = 'withhold_superseded'"

    async def look() -> Any:
        return network.rows("notifications", heard)

    await until(look)
    assert await statuses(network, case) == ["queued"]


@each_ending
async def test_it_is_not_sent_either_when_nobody_has_heard_that_its_consent_has_ended(
    network: Network, ending: str, end: Ending
) -> None:
    case = await a_waiting_message(network, f"muteside-{ending}")
    nats = network.platform.process("nats")
    nats.stop()
    try:
        await end(network, case)
        assert await statuses(network, case) == ["queued"]
        await its_time_comes(network, case)
        await becomes(network, case, "withheld")
    finally:
        nats.start()
    assert texts(network, case) == []


async def test_without_an_answer_about_the_consent_it_waits_and_goes_later(network: Network) -> None:
    case = await a_waiting_message(network, "waitside")
    intake = network.platform.process("intake")
    intake.pause()
    try:
        await its_time_comes(network, case)

        async def tried() -> Any:
            (row,) = network.rows("notifications", MESSAGE.format(site=case.site, member=case.family_member))
            return row["attempts"] >= 1 and row["claimed_until"] is None

        await until(tried)
        assert texts(network, case) == []
    finally:
        intake.resume()
    await becomes(network, case, "delivered")
    assert len(texts(network, case)) == 1


async def test_a_family_member_stops_what_is_sent_to_them_and_nothing_else(network: Network) -> None:
    case = await a_waiting_message(network, "stopside")
    member = network.holding(network.token(case.family_member, "family", **{case.site: ["family_member"]}))
    request = StopMessagesRequest(request_id=str(uuid4()), family_member_id=case.family_member)
    assert (await member.call(STOP, request, site=case.site)).withheld == 1
    assert await statuses(network, case) == ["withheld"]
    patients = network.rows(
        "notifications",
        f"SELECT status FROM message WHERE site = '{case.site}' AND template = 'referral_received'",
    )
    assert {row["status"] for row in patients} == {"queued"}
