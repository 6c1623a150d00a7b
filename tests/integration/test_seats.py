"""Row 19 of the fault matrix, at a site of its own: however many race for a seat, it is given once and in turn."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from stepway.intake.v1.hand_off_service_pb2 import ConfirmHandOffRequest
from stepway.intake.v1.level_of_care_pb2 import LEVEL_OF_CARE_INTENSIVE_OUTPATIENT, LEVEL_OF_CARE_RESIDENTIAL
from stepway.intake.v1.referral_service_pb2 import CloseReferralRequest
from stepway.scheduling.v1.enrollment_service_pb2 import EndEnrollmentRequest
from stepway.scheduling.v1.track_pb2 import DAYPART_AFTERNOON, DAYPART_EVENING, DAYPART_MORNING, DAYPART_WEEKEND
from stepway_chassis.errors import Refusal
from stepway_cli.sites import apply, read_sites
from tests.cases import At, a_consent, a_decision, a_hand_off, a_track, an_admission
from tests.conftest import SOAK
from tests.data import REPOSITORY
from tests.network import Network, a_referral, phq_9
from tests.waiting import until

SITE = "seatside"
RACERS = 200 if SOAK else 60
STEPS = 3000 if SOAK else 120
AT_ONCE = 16
ENROLLED = f"SELECT id, patient_id, status, track_id, admitted_at, confirmed_at FROM enrollment WHERE site = '{SITE}'"


@pytest.fixture(scope="module")
async def site(network: Network) -> At:
    northside = read_sites([REPOSITORY / "deploy" / "sites" / "1-northside.yaml"])[0]
    for service in network.platform.services:
        await apply(network.platform.database_url(service, "registrar"), [replace(northside, site=SITE)])
    return At(network, SITE)


async def admit(site: At, **changes: Any) -> Any:
    """From the referral to the admission; somebody without an address, so that nobody is written to."""
    person = {"family_name": "Vexmoor"}
    referral = (await site.call("intake", "ReferralService/ReceiveReferral", a_referral(person=person))).referral
    await site.call("intake", "AssessmentService/RecordAssessment", phq_9(referral.id, [1] * 8 + [0]))
    await site.call("intake", "LevelOfCareService/DecideLevelOfCare", a_decision(referral.id))
    changes = {"availability": [DAYPART_EVENING], **changes}
    answer = await site.call("intake", "AdmissionService/AdmitPatient", an_admission(referral.id, **changes))
    return answer.admission


async def decline(site: At, referral: str) -> None:
    closing = CloseReferralRequest(request_id=str(uuid4()), referral_id=referral, outcome="REFERRAL_STATUS_DECLINED")
    await site.call("intake", "ReferralService/CloseReferral", closing)


async def refer_out(site: At, referral: str) -> None:
    hand_off = (await site.call("intake", "HandOffService/StartHandOff", a_hand_off(referral))).hand_off
    await confirm(site, hand_off.id)


async def confirm(site: At, hand_off: str) -> None:
    confirming = ConfirmHandOffRequest(request_id=str(uuid4()), hand_off_id=hand_off, confirmed_with="the nurse there")
    await site.call("intake", "HandOffService/ConfirmHandOff", confirming)


async def at_once(calls: list[Any]) -> None:
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(call: Any) -> None:
        async with slots:
            await call

    await asyncio.gather(*(one(call) for call in calls))


async def end(site: At, enrollment: str) -> str:
    """The reason of the refusal, or ""."""
    request = EndEnrollmentRequest(request_id=str(uuid4()), enrollment_id=enrollment)
    try:
        await site.call("scheduling", "EnrollmentService/EndEnrollment", request)
    except Refusal as refusal:
        return refusal.reason
    return ""


def enrolled(site: At) -> list[dict[str, Any]]:
    return site.network.rows("scheduling", ENROLLED)


async def settled(site: At) -> None:
    """Until every admission has led to an enrolment."""
    admitted = f"SELECT count(*) AS n FROM admission WHERE site = '{SITE}'"

    async def all_there() -> bool:
        return bool(len(enrolled(site)) == site.network.rows("intake", admitted)[0]["n"])

    await until(all_there)


def faults(site: At) -> list[str]:
    """Whatever must never be, of what is there now."""
    tracks = site.network.rows("scheduling", f"SELECT * FROM track WHERE site = '{SITE}'")
    people = enrolled(site)
    held = Counter(row["track_id"] for row in people if row["status"] == "confirmed")
    found = [f"{track['id']}: {held[track['id']]} sit" for track in tracks if held[track["id"]] != track["seats_taken"]]
    found += [f"{track['id']} is oversold" for track in tracks if track["seats_taken"] > track["seats"]]
    free = {track["daypart"] for track in tracks if track["seats_taken"] < track["seats"]}
    waiting = site.network.rows(
        "scheduling", f"SELECT availability FROM enrollment WHERE site = '{SITE}' AND status = 'waitlisted'"
    )
    found += [f"somebody waits for a free seat ({part})" for row in waiting for part in set(row["availability"]) & free]
    announced = site.network.rows(
        "scheduling",
        f"SELECT aggregate_id, subject FROM outbox WHERE site = '{SITE}' AND subject LIKE '%enrollment_confirmed'",
    )
    seats = Counter(row["aggregate_id"] for row in announced)
    if seats != Counter(row["id"] for row in people if row["confirmed_at"]):
        found.append("what was announced is not what is")
    return found


async def test_of_many_for_one_seat_one_sits_and_all_others_wait(site: At) -> None:
    await site.call(
        "scheduling", "TrackService/CreateTrack", a_track(daypart=DAYPART_EVENING, seats=1), role="site_lead"
    )
    scheduling = site.network.platform.process("scheduling")
    scheduling.pause()
    try:
        await at_once([admit(site) for _ in range(RACERS)])
    finally:
        scheduling.resume()
    await settled(site)
    assert Counter(row["status"] for row in enrolled(site)) == {"confirmed": 1, "waitlisted": RACERS - 1}
    assert faults(site) == []


async def test_a_seat_that_twenty_give_back_at_once_is_given_back_once_and_goes_to_the_first_in_line(site: At) -> None:
    people = enrolled(site)
    (seated,) = [row["id"] for row in people if row["status"] == "confirmed"]
    first = min(
        (row for row in people if row["status"] == "waitlisted"), key=lambda row: (row["admitted_at"], row["id"])
    )
    reasons = await asyncio.gather(*(end(site, seated) for _ in range(20)))
    assert Counter(reasons) == {"": 1, "ENROLLMENT_ALREADY_ENDED": 19}
    assert [row["id"] for row in enrolled(site) if row["status"] == "confirmed"] == [first["id"]]
    assert faults(site) == []


async def test_a_long_race_of_coming_going_and_new_tracks_sells_no_seat_twice(site: At) -> None:
    rng = random.Random(None if SOAK else 19)
    reasons: Counter[str] = Counter()

    async def step() -> None:
        chance = rng.random()
        if chance < 0.1:
            daypart = rng.choice([DAYPART_EVENING, DAYPART_WEEKEND])
            track = a_track(daypart=daypart, seats=rng.randint(1, 4))
            await site.call("scheduling", "TrackService/CreateTrack", track, role="site_lead")
        elif chance < 0.4:
            both = [DAYPART_WEEKEND, DAYPART_EVENING]
            await admit(site, availability=rng.sample(both, rng.randint(1, 2)))
        else:
            seated = [row["id"] for row in enrolled(site) if row["status"] != "ended"]
            reasons[await end(site, rng.choice(seated))] += 1

    await at_once([step() for _ in range(STEPS)])
    await settled(site)
    assert set(reasons) <= {"", "ENROLLMENT_ALREADY_ENDED"}
    assert reasons[""]
    assert faults(site) == []


FOLLOWED = "SELECT 1 FROM inbox WHERE consumer = 'follow_end' AND event_id = '{id}'"
LEFT = "SELECT event_id FROM outbox WHERE aggregate_id = '{id}' AND headers->>'ce-type' LIKE '%.EnrollmentEnded'"


async def give_place_back(site: At, referral: str) -> None:
    (admission,) = site.network.rows("intake", f"SELECT id FROM admission WHERE referral_id = '{referral}'")
    (place,) = site.network.rows("scheduling", f"SELECT id FROM enrollment WHERE admission_id = '{admission['id']}'")
    assert await end(site, place["id"]) == ""


@pytest.mark.parametrize(
    ("leave", "stands", "comes_next"),
    [
        (decline, "declined", None),
        (refer_out, "referred_out", None),
        (give_place_back, "waitlisted", "keep_in_touch"),
    ],
)
async def test_whoever_leaves_the_line_goes_elsewhere_or_is_kept_in_touch_with(
    site: At, leave: Callable[[At, str], Awaitable[None]], stands: str, comes_next: str | None
) -> None:
    admission = await admit(site, availability=[DAYPART_MORNING])  # for which nobody has opened a track
    until_then = {"expires_at": None, "expires_with": "CONSENT_EXPIRY_END_OF_TREATMENT"}
    consent = a_consent(admission.patient_id, **until_then)
    consent = (await site.call("intake", "ConsentService/GrantConsent", consent)).consent.id
    await site.enrolled(admission.id)
    await leave(site, admission.referral_id)
    (place,) = [row["id"] for row in enrolled(site) if row["patient_id"] == admission.patient_id]

    async def followed() -> bool:
        rows = site.network.rows("scheduling", LEFT.format(id=place))
        return any(site.network.rows("intake", FOLLOWED.format(id=row["event_id"])) for row in rows)

    await until(followed)
    assert announced(site, admission.id) == ["PatientAdmitted", "AdmissionWaitlisted", "AdmissionEnded"]
    assert announced(site, consent) == ["ConsentGranted", "ConsentExpired"]
    ended = f"SELECT status, ending FROM admission WHERE id = '{admission.id}'"
    assert site.network.rows("intake", ended) == [{"status": "ended", "ending": "left"}]
    referral = f"SELECT status, next_action FROM referral WHERE id = '{admission.referral_id}'"
    assert site.network.rows("intake", referral) == [{"status": stands, "next_action": comes_next}]


async def test_a_seat_that_comes_to_somebody_in_care_elsewhere_goes_to_the_next_in_line(site: At) -> None:
    first, second = [await admit(site, availability=[DAYPART_AFTERNOON]) for _ in range(2)]
    for each in (first, second):
        await site.enrolled(each.id)
    hand_off = (await site.call("intake", "HandOffService/StartHandOff", a_hand_off(first.referral_id))).hand_off
    track = a_track(daypart=DAYPART_AFTERNOON, seats=1)
    await site.call("scheduling", "TrackService/CreateTrack", track, role="site_lead")
    await until(seen_in(site, first.id, "enrolled"))
    await confirm(site, hand_off.id)
    await until(seen_in(site, second.id, "enrolled"))
    assert announced(site, first.id)[-2:] == ["AdmissionEnrolled", "AdmissionEnded"]
    assert faults(site) == []


@pytest.mark.parametrize(
    ("gives_back", "stands_then"), [(False, ("admitted", None)), (True, ("waitlisted", "keep_in_touch"))]
)
async def test_a_seat_takes_up_nobody_for_whom_more_was_decided_until_that_is_taken_back(
    site: At, gives_back: bool, stands_then: tuple[str, str | None]
) -> None:
    admission = await admit(site, availability=[DAYPART_MORNING])
    await until(seen_in(site, admission.id, "waitlisted"))
    await decide_again(site, admission.referral_id, LEVEL_OF_CARE_RESIDENTIAL)
    track = a_track(daypart=DAYPART_MORNING, seats=1)
    await site.call("scheduling", "TrackService/CreateTrack", track, role="site_lead")
    await until(seen_in(site, admission.id, "enrolled"))
    stands = f"SELECT status, next_action FROM referral WHERE id = '{admission.referral_id}'"
    assert site.network.rows("intake", stands) == [{"status": "waitlisted", "next_action": "refer_out"}]
    if gives_back:
        await give_place_back(site, admission.referral_id)
        await until(seen_in(site, admission.id, "ended"))
    await decide_again(site, admission.referral_id, LEVEL_OF_CARE_INTENSIVE_OUTPATIENT)
    assert tuple(site.network.rows("intake", stands)[0].values()) == stands_then


async def decide_again(site: At, referral: str, level: Any) -> None:
    """In place of what was decided last."""
    last = f"SELECT id FROM level_of_care_decision WHERE referral_id = '{referral}' ORDER BY id DESC LIMIT 1"
    again = a_decision(referral, level=level, replaces_decision_id=site.network.rows("intake", last)[0]["id"])
    await site.call("intake", "LevelOfCareService/DecideLevelOfCare", again)


def seen_in(site: At, admission: str, status: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        rows = site.network.rows("intake", f"SELECT status FROM admission WHERE id = '{admission}'")
        return bool(rows[0]["status"] == status)

    return look


def announced(site: At, id: str) -> list[str]:
    query = f"SELECT headers->>'ce-type' AS type FROM outbox WHERE aggregate_id = '{id}' ORDER BY aggregate_seq"
    return [row["type"].rpartition(".")[2] for row in site.network.rows("intake", query)]
