"""A patient handed over between two sites in two cells: by consent, once, audited at both."""

import asyncio
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from stepway.intake.v1 import consent_pb2
from stepway.intake.v1 import transfer_service_pb2 as messages
from stepway.intake.v1.admission_service_pb2 import GetAdmissionRequest
from stepway.intake.v1.person_service_pb2 import FindPeopleRequest
from stepway.intake.v1.referral_pb2 import REFERRAL_SOURCE_OTHER_PROGRAM, REFERRAL_STATUS_DECLINED
from stepway.intake.v1.referral_service_pb2 import CloseReferralRequest, GetReferralRequest
from stepway.scheduling.v1.track_pb2 import DAYPART_EVENING, DAYPART_WEEKEND
from stepway_chassis.errors import Conflict, NotFound
from tests.calls import service_token
from tests.cases import At, a_consent, a_track
from tests.network import LAKESIDE, NORTHSIDE, Network
from tests.transfers import (
    CROSSING,
    ENDED,
    NAME,
    Somebody,
    announced,
    asked,
    decide,
    is_handed_over,
    offer,
    revoke,
    seat,
    sits,
    somebody,
    stands,
    status_of,
)
from tests.waiting import until

TRANSFERS = "stepway.intake.v1.TransferService"


async def transfer_at(network: Network, transfer: str, site: str) -> Any:
    return (await asked(network, "GetTransfer", messages.GetTransferRequest(transfer_id=transfer), site)).transfer


async def test_a_patient_is_offered_accepted_imported_and_closed(sites_apart: Network) -> None:
    network = sites_apart
    who = await somebody(network)
    until_then = {"expires_at": None, "expires_with": "CONSENT_EXPIRY_END_OF_TREATMENT"}
    uncle = await At(network, NORTHSIDE).call(
        "intake", "ConsentService/GrantConsent", a_consent(who.patient, **until_then)
    )
    transfer = await offer(network, who)
    await stands(network, transfer, "offered", "offered")
    shown = await transfer_at(network, transfer, LAKESIDE)
    assert (shown.other_site, shown.patient_id, shown.course.weekly_hours) == (NORTHSIDE, "", 12)
    assert not shown.course.HasField("authorization")
    await decide(network, "Accept", transfer, LAKESIDE)
    admission = await is_handed_over(network, who, transfer)
    assert announced(network, "consent", uncle.consent.id) == ENDED
    asked_for = GetAdmissionRequest(admission_id=admission)
    here = (await At(network, LAKESIDE).call("intake", "AdmissionService/GetAdmission", asked_for)).admission
    assert here.patient_id != who.patient
    assert (here.transfer_id, here.course.weekly_hours) == (transfer, 12)
    assert here.label == 2  # lakeside is no Part 2 programme, but northside is
    assert not here.course.HasField("authorization")  # no consent covers billing
    query = f"SELECT id::text, version, notice_version FROM consent WHERE recipient = 'site/{LAKESIDE}'"
    (covers,) = network.rows("intake", f"{query} AND patient_id = '{who.patient}'")
    for site in (NORTHSIDE, LAKESIDE):
        shown = await transfer_at(network, transfer, site)
        assert [shown.consent_id, shown.consent_version, shown.redisclosure_notice_version] == [*covers.values()]
    known = network.rows("intake", f"SELECT site FROM patient WHERE person->>'family_name' = '{NAME}' ORDER BY site")
    assert {row["site"] for row in known} == {LAKESIDE, NORTHSIDE}
    by_name = FindPeopleRequest(name=f"Quillan {NAME}", page_size=100)
    found = (await At(network, LAKESIDE).call("intake", "PersonService/FindPeople", by_name)).people
    assert here.patient_id in {each.patient_id for each in found}
    asked = GetReferralRequest(referral_id=here.referral_id)
    led = (await At(network, LAKESIDE).call("intake", "ReferralService/GetReferral", asked)).referral
    assert announced(network, "referral", here.referral_id)[0] == (LAKESIDE, "ReferralMoved")
    assert (led.source, led.HasField("admitted_at")) == (REFERRAL_SOURCE_OTHER_PROGRAM, True)


async def a_seat(network: Network, daypart: int) -> None:
    track = a_track(daypart=daypart, seats=1)
    await At(network, NORTHSIDE).call("scheduling", "TrackService/CreateTrack", track, role="site_lead")


async def handed_over(network: Network, who: Somebody) -> None:
    transfer = await offer(network, who)
    await stands(network, transfer, "offered", "offered")
    await decide(network, "Accept", transfer, LAKESIDE)
    await is_handed_over(network, who, transfer)


async def test_the_seat_of_whoever_is_handed_over_goes_to_the_first_in_line(sites_apart: Network) -> None:
    network = sites_apart
    await a_seat(network, DAYPART_WEEKEND)
    goes = await somebody(network, comes=DAYPART_WEEKEND)
    await sits(network, goes, "confirmed")
    waits = await somebody(network, comes=DAYPART_WEEKEND)
    await sits(network, waits, "waitlisted")
    await handed_over(network, goes)
    await sits(network, goes, "ended")
    assert seat(network, waits) == "confirmed"
    said = "SELECT 1 FROM outbox WHERE subject LIKE '%.enrollment_ended' AND headers->>'ce-correlationid' = '{}'"
    referral = network.rows("intake", f"SELECT referral_id FROM admission WHERE id = '{goes.admission}'")[0]
    assert len(network.rows("scheduling", said.format(referral["referral_id"]))) == 1


async def test_whoever_is_gone_before_scheduling_hears_that_they_came_takes_nobodys_seat(sites_apart: Network) -> None:
    network, scheduling = sites_apart, sites_apart.platform.process("scheduling")
    await a_seat(network, DAYPART_EVENING)
    scheduling.pause()
    try:
        goes = await somebody(network, comes=DAYPART_EVENING)
        await handed_over(network, goes)
    finally:
        scheduling.resume()
    await sits(network, goes, "ended")
    comes = await somebody(network, comes=DAYPART_EVENING)
    await sits(network, comes, "confirmed")


async def test_everything_that_crosses_is_audited_at_both_sites(sites_apart: Network) -> None:
    network = sites_apart
    who = await somebody(network)
    transfer = await offer(network, who)
    await stands(network, transfer, "offered", "offered")
    await decide(network, "Accept", transfer, LAKESIDE)
    await is_handed_over(network, who, transfer)
    new = (await transfer_at(network, transfer, LAKESIDE)).patient_id

    def audited(person: str, site: str) -> Counter[str]:
        query = f"SELECT action FROM audit WHERE site = '{site}' AND '{person}' = ANY (people) AND outcome = 'DONE'"
        return Counter(row["action"].rpartition("/")[2] for row in network.rows("intake", query))

    sent, received = audited(who.patient, NORTHSIDE), audited(new, LAKESIDE)
    assert (sent["OfferTransfer"], sent["ReleaseTransfer"], sent["CloseTransfer"]) == (1, 1, 1)
    assert received["handing_over"] == 2  # imported, closed
    assert audited(who.patient, LAKESIDE) == audited(new, NORTHSIDE) == Counter()


async def test_who_pays_crosses_where_a_consent_covers_that(sites_apart: Network) -> None:
    network = sites_apart
    who = await somebody(network, categories=[*CROSSING, consent_pb2.CONSENT_CATEGORY_BILLING])
    transfer = await offer(network, who)
    await stands(network, transfer, "offered", "offered")
    await decide(network, "Accept", transfer, LAKESIDE)
    admission = GetAdmissionRequest(admission_id=await is_handed_over(network, who, transfer))
    here = (await At(network, LAKESIDE).call("intake", "AdmissionService/GetAdmission", admission)).admission
    assert here.course.authorization.units == 20


@pytest.mark.parametrize(
    "changes", [{"categories": CROSSING[:2]}, {"recipient_site": "hillside"}], ids=["part 2", "another site"]
)
async def test_without_a_consent_that_covers_it_nobody_is_offered(
    sites_apart: Network, changes: dict[str, Any]
) -> None:
    who = await somebody(sites_apart, **changes)
    with pytest.raises(Conflict) as refused:
        await offer(sites_apart, who)
    assert refused.value.reason == "TRANSFER_NOT_CONSENTED"


async def test_a_site_that_there_is_not_is_offered_nobody(sites_apart: Network) -> None:
    who = await somebody(sites_apart)
    request = messages.OfferTransferRequest(
        request_id=str(uuid4()), admission_id=who.admission, receiving_site="atlantis"
    )
    with pytest.raises(NotFound) as refused:
        await asked(sites_apart, "OfferTransfer", request, NORTHSIDE)
    assert refused.value.reason == "RECEIVING_SITE_NOT_FOUND"


async def test_a_patient_is_handed_over_to_one_site_at_a_time(sites_apart: Network) -> None:
    network = sites_apart
    who = await somebody(network)
    offers = await asyncio.gather(*(offer(network, who) for _ in range(4)), return_exceptions=True)
    assert Counter(getattr(each, "reason", "offered") for each in offers) == {"offered": 1, "TRANSFER_UNDER_WAY": 3}


@pytest.mark.parametrize("accepts", [False, True])
async def test_a_consent_that_is_revoked_before_the_record_has_crossed_keeps_it_here(
    sites_apart: Network, accepts: bool
) -> None:
    """The other site forgets what it was offered, whether it takes the patient at that moment or not."""
    network = sites_apart
    who = await somebody(network)
    transfer = await offer(network, who)
    await stands(network, transfer, "offered", "offered")
    revoking = asyncio.create_task(revoke(network, who))
    await until(partial(_has_ended, network, who.consent))
    if accepts:
        with suppress(Conflict):  # it may have heard by then
            await decide(network, "Accept", transfer, LAKESIDE)
    await revoking
    await stands(network, transfer, "withdrawn", "withdrawn")
    shown = await transfer_at(network, transfer, LAKESIDE)
    assert (shown.course.weekly_hours, list(shown.availability)) == (0, [])
    assert network.rows("intake", f"SELECT 1 FROM admission WHERE transfer_id = '{transfer}'") == []
    assert await status_of(network, who) != "ended"


async def _has_ended(network: Network, consent: str) -> bool:
    rows = network.rows("intake", f"SELECT revoked_at FROM consent WHERE id = '{consent}'")
    return rows[0]["revoked_at"] is not None


async def test_whoever_has_left_meanwhile_is_not_handed_over(sites_apart: Network) -> None:
    network = sites_apart
    who = await somebody(network, comes=DAYPART_WEEKEND)

    async def waits() -> bool:
        return await status_of(network, who) == "waitlisted"

    await until(waits)
    transfer = await offer(network, who)
    await stands(network, transfer, "offered", "offered")
    (admission,) = network.rows("intake", f"SELECT referral_id FROM admission WHERE id = '{who.admission}'")
    declined = CloseReferralRequest(
        request_id=str(uuid4()),
        referral_id=admission["referral_id"],
        outcome=REFERRAL_STATUS_DECLINED,
        reason="has moved away",
    )
    await At(network, NORTHSIDE).call("intake", "ReferralService/CloseReferral", declined)
    await decide(network, "Accept", transfer, LAKESIDE)
    await stands(network, transfer, "withdrawn", "withdrawn")
    assert network.rows("intake", f"SELECT 1 FROM admission WHERE transfer_id = '{transfer}'") == []


@pytest.mark.parametrize(("verb", "site"), [("Decline", LAKESIDE), ("Withdraw", NORTHSIDE)])
async def test_a_patient_who_is_not_taken_or_not_given_stays(sites_apart: Network, verb: str, site: str) -> None:
    network = sites_apart
    who = await somebody(network)
    transfer = await offer(network, who)
    await stands(network, transfer, "offered", "offered")
    await decide(network, verb, transfer, site)
    ended = "declined" if verb == "Decline" else "withdrawn"
    await stands(network, transfer, ended, ended)
    assert await status_of(network, who) != "ended"
    last = f"Transfer{ended.capitalize()}"
    expected = [(each, event) for each in (LAKESIDE, NORTHSIDE) for event in ("TransferOffered", last)]
    assert announced(network, "transfer", transfer) == expected
    assert announced(network, "consent", who.consent) == ENDED
    with pytest.raises(Conflict) as refused:
        await offer(network, who)
    assert refused.value.reason == "TRANSFER_NOT_CONSENTED"


async def test_only_the_other_site_of_a_transfer_is_told_anything_of_it(sites_apart: Network) -> None:
    network = sites_apart
    transfer = await offer(network, await somebody(network))
    intake = network.holding(service_token(network, "intake"))
    request = messages.ReleaseTransferRequest(request_id=str(uuid4()), transfer_id=transfer, receiving_site="hillside")
    with pytest.raises(NotFound):
        await intake.call(f"{TRANSFERS}/ReleaseTransfer", request, site=NORTHSIDE)
