"""A patient handed over between two sites in two cells: by consent, once, whoever is killed at whichever step."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.message import Message

from stepway.intake.v1 import consent_pb2
from stepway.intake.v1 import transfer_service_pb2 as messages
from stepway.intake.v1.admission_service_pb2 import GetAdmissionRequest
from stepway.intake.v1.consent_service_pb2 import RevokeConsentRequest
from stepway.intake.v1.person_service_pb2 import FindPeopleRequest, MergePeopleRequest
from stepway.intake.v1.referral_pb2 import REFERRAL_SOURCE_OTHER_PROGRAM
from stepway.intake.v1.referral_service_pb2 import GetReferralRequest
from stepway.scheduling.v1.track_pb2 import DAYPART_EVENING, DAYPART_MORNING, DAYPART_WEEKEND
from stepway_chassis.errors import Conflict, NotFound, TimedOut, Unavailable
from stepway_cli import moves, sites
from stepway_cli.bring_up import bring_up
from stepway_cli.local.forget import forget
from stepway_cli.local.platform import Platform
from stepway_cli.sites import read_sites
from stepway_cli.spreading import spread
from stepway_intake.domain.admissions import Course
from tests.calls import service_token
from tests.cases import At, a_consent, a_decision, a_track, an_admission
from tests.conftest import OVERRIDES
from tests.data import REPOSITORY
from tests.holding import is_behind, is_free, is_stopped, stopping
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral, phq_9
from tests.waiting import until

WEST = "intake@west"
NAME = "Vexmoor-Transferred"
TRANSFERS = "stepway.intake.v1.TransferService"
CROSSING = [
    consent_pb2.CONSENT_CATEGORY_PLAN,
    consent_pb2.CONSENT_CATEGORY_SCHEDULE,
    consent_pb2.CONSENT_CATEGORY_SUBSTANCE_USE,
]
COURSE = {
    "population": "COURSE_POPULATION_DUAL",
    "weekly_hours": 12,
    "modalities": [{"modality": "cbt", "minutes_a_week": 120}],
    "authorization": {"payer_reference": "A-77", "units": 20, "first_day": "2026-12-01", "last_day": "2026-12-31"},
}


@pytest.fixture(scope="module")
def sites_apart() -> Iterator[Network]:
    """A network whose lakeside is run by a cell of its own."""
    folder = REPOSITORY / ".stepway" / f"transfers-{os.getpid()}"
    platform = Platform(folder, cells=(WEST,), overrides=OVERRIDES)
    bring_up(platform, read_sites([REPOSITORY / "deploy" / "sites"]))
    try:
        platform.start_services(WEST)
        asyncio.run(_move(platform))
        yield Network(platform)
    finally:
        platform.stop()
        forget(folder)


async def _move(platform: Platform) -> None:
    register = platform.database_url("intake", "registrar")
    await moves.move(register, LAKESIDE, "west")
    await spread(platform.nats_admin, {"intake": await sites.listed(register)})


@dataclass(frozen=True)
class Somebody:
    """A patient of northside who has consented to being handed over to lakeside."""

    patient: str
    admission: str
    consent: str


async def somebody(network: Network, *, comes: int = DAYPART_MORNING, **changes: Any) -> Somebody:
    at = At(network, NORTHSIDE)
    person = {"given_name": "Quillan", "family_name": NAME, "birth_date": "1990-04-01"}
    referral = (await at.call("intake", "ReferralService/ReceiveReferral", a_referral(person=person))).referral
    await at.call("intake", "AssessmentService/RecordAssessment", phq_9(referral.id, [0] * 9))
    await at.call("intake", "LevelOfCareService/DecideLevelOfCare", a_decision(referral.id))
    admission = an_admission(referral.id, course=COURSE, availability=[comes])
    admitted = (await at.call("intake", "AdmissionService/AdmitPatient", admission)).admission
    given = {
        "recipient_site": LAKESIDE,
        "categories": CROSSING,
        "expires_at": None,
        "expires_with": "CONSENT_EXPIRY_TRANSFER_CLOSED",
        **changes,
    }
    consent = (await at.call("intake", "ConsentService/GrantConsent", a_consent(referral.patient_id, **given))).consent
    return Somebody(referral.patient_id, admitted.id, consent.id)


async def asked(network: Network, method: str, request: Message, site: str) -> Any:
    return await At(network, site).call("intake", f"TransferService/{method}", request)


async def offer(network: Network, who: Somebody, request_id: str = "") -> str:
    request = messages.OfferTransferRequest(
        request_id=request_id or str(uuid4()), admission_id=who.admission, receiving_site=LAKESIDE
    )
    return str((await asked(network, "OfferTransfer", request, NORTHSIDE)).transfer.id)


async def decide(network: Network, verb: str, transfer: str, site: str, request_id: str = "") -> Any:
    request = getattr(messages, f"{verb}TransferRequest")(request_id=request_id or str(uuid4()), transfer_id=transfer)
    return await asked(network, f"{verb}Transfer", request, site)


async def transfer_at(network: Network, transfer: str, site: str) -> Any:
    return (await asked(network, "GetTransfer", messages.GetTransferRequest(transfer_id=transfer), site)).transfer


def statuses(network: Network, transfer: str) -> dict[str, str]:
    rows = network.rows("intake", f"SELECT site, status FROM transfer WHERE id = '{transfer}'")
    return {row["site"]: row["status"] for row in rows}


async def stands(network: Network, transfer: str, northside: str, lakeside: str) -> None:
    async def look() -> bool:
        return statuses(network, transfer) == {NORTHSIDE: northside, LAKESIDE: lakeside}

    await until(look)


def announced(network: Network, noun: str, id: str) -> list[tuple[str, str]]:
    """Site and name of each event of one record, in their order at each site."""
    query = (
        "SELECT site, headers->>'ce-type' AS type FROM outbox"
        f" WHERE aggregate_type = '{noun}' AND aggregate_id = '{id}' ORDER BY site, aggregate_seq"
    )
    return [(row["site"], row["type"].rpartition(".")[2]) for row in network.rows("intake", query)]


CLOSED = [
    *((LAKESIDE, f"Transfer{each}") for each in ("Offered", "Accepted", "Imported", "Closed")),
    *((NORTHSIDE, f"Transfer{each}") for each in ("Offered", "Accepted", "Closed")),
]


ENDED = [(NORTHSIDE, "ConsentGranted"), (NORTHSIDE, "ConsentExpired")]


async def is_handed_over(network: Network, who: Somebody, transfer: str) -> str:
    """Once, and with exactly one outcome; the admission at the receiving site."""
    await stands(network, transfer, "closed", "closed")
    assert announced(network, "transfer", transfer) == CLOSED
    made = network.rows("intake", f"SELECT id, patient_id, status FROM admission WHERE transfer_id = '{transfer}'")
    assert len(made) == 1
    assert announced(network, "admission", made[0]["id"])[0] == (LAKESIDE, "PatientAdmitted")
    left = network.rows("intake", f"SELECT status, ending FROM admission WHERE id = '{who.admission}'")
    assert left == [{"status": "ended", "ending": "transferred"}]
    ends = Counter(each for _, each in announced(network, "admission", who.admission))
    assert (ends["PatientAdmitted"], ends["AdmissionEnded"]) == (1, 1)
    assert announced(network, "consent", who.consent) == ENDED
    return str(made[0]["id"])


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
    known = network.rows("intake", f"SELECT site FROM patient WHERE person->>'family_name' = '{NAME}' ORDER BY site")
    assert {row["site"] for row in known} == {LAKESIDE, NORTHSIDE}
    by_name = FindPeopleRequest(name=f"Quillan {NAME}", page_size=100)
    found = (await At(network, LAKESIDE).call("intake", "PersonService/FindPeople", by_name)).people
    assert here.patient_id in {each.patient_id for each in found}
    asked = GetReferralRequest(referral_id=here.referral_id)
    led = (await At(network, LAKESIDE).call("intake", "ReferralService/GetReferral", asked)).referral
    assert announced(network, "referral", here.referral_id)[0] == (LAKESIDE, "ReferralMoved")
    assert (led.source, led.HasField("admitted_at")) == (REFERRAL_SOURCE_OTHER_PROGRAM, True)


def seat(network: Network, who: Somebody) -> str:
    rows = network.rows("scheduling", f"SELECT status FROM enrollment WHERE admission_id = '{who.admission}'")
    return rows[0]["status"] if rows else ""


async def sits(network: Network, who: Somebody, status: str) -> None:
    async def look() -> bool:
        return seat(network, who) == status

    await until(look)


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


async def test_a_consent_that_is_revoked_before_the_record_has_crossed_keeps_it_here(sites_apart: Network) -> None:
    network = sites_apart
    who = await somebody(network)
    transfer = await offer(network, who)
    await stands(network, transfer, "offered", "offered")
    await revoke(network, who)
    await decide(network, "Accept", transfer, LAKESIDE)
    await stands(network, transfer, "withdrawn", "withdrawn")
    assert network.rows("intake", f"SELECT 1 FROM admission WHERE transfer_id = '{transfer}'") == []
    assert await status_of(network, who) != "ended"


async def revoke(network: Network, who: Somebody) -> None:
    revocation = RevokeConsentRequest(request_id=str(uuid4()), consent_id=who.consent)
    await At(network, NORTHSIDE).call("intake", "ConsentService/RevokeConsent", revocation)


async def test_of_an_offer_that_ends_before_the_other_site_has_heard_of_it_that_site_hears_no_more_than_that(
    sites_apart: Network,
) -> None:
    network, west = sites_apart, sites_apart.platform.process(WEST)
    thinks_better, is_kept = await somebody(network), await somebody(network)
    await asyncio.to_thread(west.kill)
    tried = postponed(network)
    try:
        offers = [await offer(network, each) for each in (thinks_better, is_kept)]
        await revoke(network, thinks_better)
        await decide(network, "Withdraw", offers[1], NORTHSIDE)
        assert 0 < postponed(network) - tried < 20  # each waits before it tries again
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


async def status_of(network: Network, who: Somebody) -> str:
    rows = network.rows("intake", f"SELECT status FROM admission WHERE id = '{who.admission}'")
    return str(rows[0]["status"])


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


async def test_only_the_other_site_of_a_transfer_is_told_anything_of_it(sites_apart: Network) -> None:
    network = sites_apart
    transfer = await offer(network, await somebody(network))
    intake = network.holding(service_token(network, "intake"))
    request = messages.ReleaseTransferRequest(request_id=str(uuid4()), transfer_id=transfer, receiving_site="hillside")
    with pytest.raises(NotFound):
        await intake.call(f"{TRANSFERS}/ReleaseTransfer", request, site=NORTHSIDE)


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
