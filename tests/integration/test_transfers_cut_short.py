"""Transfers of which a site is killed at any step, or which something else crosses: they come to the one end."""

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any
from uuid import uuid4

import pytest

from stepway.intake.v1.person_service_pb2 import MergePeopleRequest
from stepway_chassis.errors import TimedOut, Unavailable
from stepway_intake import handing_over
from stepway_intake.domain.admissions import Course
from tests.cases import At
from tests.holding import is_behind, is_free, is_stopped, stopping
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral
from tests.transfers import WEST, decide, is_handed_over, offer, revoke, sits, somebody, stands, status_of, statuses
from tests.waiting import until


async def test_of_an_offer_that_ends_before_the_other_site_has_heard_of_it_that_site_hears_no_more_than_that(
    sites_apart: Network,
) -> None:
    network, west = sites_apart, sites_apart.platform.process(WEST)
    thinks_better, is_kept = await somebody(network), await somebody(network)
    await asyncio.to_thread(west.kill)
    tried, began = postponed(network), time.monotonic()
    try:
        offers = [await offer(network, each) for each in (thinks_better, is_kept)]
        await revoke(network, thinks_better)
        await decide(network, "Withdraw", offers[1], NORTHSIDE)
        assert 0 < postponed(network) - tried < 20 + time.monotonic() - began  # each waits before it tries again
    finally:
        await asyncio.to_thread(west.start)
    await asyncio.to_thread(network.platform.wait_until_serving, WEST)
    nothing = json.loads(json.dumps(asdict(Course())))
    for transfer in offers:
        await stands(network, transfer, "withdrawn", "withdrawn")
        told = f"SELECT course, availability FROM transfer WHERE id = '{transfer}' AND site = '{LAKESIDE}'"
        assert network.rows("intake", told) == [{"course": nothing, "availability": []}]


def postponed(network: Network) -> int:
    return network.platform.process("intake").log_file.read_text().count("transfer.postponed")


async def test_of_two_sites_that_decide_at_once_one_gets_its_way_and_the_other_hears_which(
    sites_apart: Network,
) -> None:
    network = sites_apart
    for _ in range(3):
        who = await somebody(network)
        transfer = await offer(network, who)
        await stands(network, transfer, "offered", "offered")
        await asyncio.gather(
            decide(network, "Withdraw", transfer, NORTHSIDE),
            decide(network, "Accept", transfer, LAKESIDE),
            return_exceptions=True,
        )
        end = await until(lambda transfer=transfer: _both_ended(network, transfer))  # type: ignore[misc]
        assert end in ({"closed"}, {"withdrawn"})
        assert (await status_of(network, who) == "ended") is (end == {"closed"})


async def _both_ended(network: Network, transfer: str) -> set[str] | None:
    found = set(statuses(network, transfer).values())
    return found if len(found) == 1 and found <= {"closed", "withdrawn", "declined"} else None


STEPS = [
    ("intake", "sending", "offered", "NOT new.told"),
    (WEST, "receiving", "offered", "true"),
    ("intake", "sending", "offered", "new.told"),
    (WEST, "receiving", "accepted", "true"),
    ("intake", "sending", "accepted", "true"),
    (WEST, "receiving", "imported", "true"),
    ("intake", "sending", "closed", "true"),
    (WEST, "receiving", "closed", "true"),
]
LAPSED = "UPDATE work SET due_at = now() WHERE loop = '{loop}' AND site = '{site}'"
"""As 15 seconds later, when nobody has heard of whoever had taken the site."""


async def sent_again(call: Any) -> Any:
    """As a client does whose call was cut off: the same request_id, until it is answered."""
    while True:
        with suppress(Unavailable, TimedOut):
            return await call()
        await asyncio.sleep(0.2)


@pytest.mark.parametrize(("victim", "side", "status", "also"), STEPS, ids=lambda part: str(part))
async def test_a_transfer_whose_site_is_killed_in_the_middle_of_any_step_comes_to_the_one_end(
    sites_apart: Network, victim: str, side: str, status: str, also: str
) -> None:
    network, process = sites_apart, sites_apart.platform.process(victim)
    who = await somebody(network)

    async def hand_over() -> str:
        request_ids = [str(uuid4()), str(uuid4())]
        transfer: str = await sent_again(lambda: offer(network, who, request_ids[0]))

        async def accept() -> Any:
            await until(lambda: _is_there(network, transfer))
            return await decide(network, "Accept", transfer, LAKESIDE, request_ids[1])

        await sent_again(accept)
        return transfer

    async with stopping(network, "transfer", f"new.side = '{side}' AND new.status = '{status}' AND {also}"):
        moving = asyncio.create_task(hand_over())
        await until(lambda: is_stopped(network))
        await asyncio.to_thread(process.kill)
    await asyncio.to_thread(process.start)
    await asyncio.to_thread(network.platform.wait_until_serving, victim)
    lapsed = LAPSED.format(loop=handing_over.LOOP, site=NORTHSIDE if victim == "intake" else LAKESIDE)
    network.platform.postgres.run_sql(lapsed, database="stepway_intake")
    await is_handed_over(network, who, await moving)


async def test_a_merge_of_the_record_and_the_end_of_the_transfer_wait_for_each_other_in_one_order(
    sites_apart: Network,
) -> None:
    network, at = sites_apart, At(sites_apart, NORTHSIDE)
    who = await somebody(network)
    await sits(network, who, "waitlisted")
    await at.enrolled(who.admission)
    other = (await at.call("intake", "ReferralService/ReceiveReferral", a_referral())).referral.patient_id
    transfer = await offer(network, who)
    await stands(network, transfer, "offered", "offered")
    request = MergePeopleRequest(request_id=str(uuid4()), patient_id=other, merged_patient_id=who.patient)
    async with stopping(network, "admission", f"old.patient_id = '{who.patient}'", event="UPDATE"):
        merging = asyncio.create_task(at.call("intake", "PersonService/MergePeople", request))
        await until(lambda: is_stopped(network))
        await decide(network, "Accept", transfer, LAKESIDE)
        await until(lambda: is_behind(network))
        assert is_free(network, "transfer", transfer)
    await merging
    await is_handed_over(network, who, transfer)
    kept = network.rows("intake", f"SELECT patient_id FROM transfer WHERE id = '{transfer}' AND site = '{NORTHSIDE}'")
    assert kept == [{"patient_id": other}]


async def _is_there(network: Network, transfer: str) -> bool:
    return LAKESIDE in statuses(network, transfer)
