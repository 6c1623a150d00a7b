"""The story's second half: who is taken in, who is named by consent, who gets a seat and who waits for one."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from zoneinfo import ZoneInfo

from stepway.family.v1.family_group_service_pb2 import PlanFamilyGroupRequest
from stepway.intake.v1 import consent_pb2, level_of_care_pb2
from stepway.intake.v1.admission_pb2 import Admission
from stepway.intake.v1.admission_service_pb2 import AdmitPatientRequest
from stepway.intake.v1.assessment_pb2 import INSTRUMENT_PHQ_9
from stepway.intake.v1.consent_service_pb2 import GrantConsentRequest
from stepway.intake.v1.level_of_care_service_pb2 import DecideLevelOfCareRequest
from stepway.intake.v1.referral_pb2 import ContactPoint, Referral, RelatedPerson
from stepway.scheduling.v1.track_pb2 import DAYPART_EVENING
from stepway.scheduling.v1.track_service_pb2 import CreateTrackRequest
from stepway_chassis.times import to_proto
from stepway_cli.demo.journey import Recorded, Told
from stepway_cli.demo.network import Network
from stepway_cli.referrals import IN_FLIGHT, Sent
from stepway_cli.sites import SiteRecord

DECIDE = "stepway.intake.v1.LevelOfCareService/DecideLevelOfCare"
GRANT = "stepway.intake.v1.ConsentService/GrantConsent"
ADMIT = "stepway.intake.v1.AdmissionService/AdmitPatient"
OPEN_TRACK = "stepway.scheduling.v1.TrackService/CreateTrack"
PLAN_GROUP = "stepway.family.v1.FamilyGroupService/PlanFamilyGroup"
MILD = 5  # PHQ-9 below this is no more than minimal: the demo's clinician decides on weekly outpatient care
FAMILY_SEATS = 8
AN_AUNT = RelatedPerson(
    given_name="Perpetua",
    family_name="Illustrand",
    relationship="AUNT",
    contact_points=[ContactPoint(phone="+12125550199")],
)
"""Named where no referral of a site names anybody who can be reached."""
RATIONALE = "Weighed together at the Tuesday round."
PURPOSE = "To sit in on the family evenings."
TRACK = "Evenings in the lantern room"
RANG_AGAIN = "Rang again, and was taken for somebody new."


@dataclass(frozen=True)
class Named:
    """A consent, and whose it is."""

    site: str
    consent: consent_pb2.Consent


@dataclass(frozen=True)
class Programme:
    """Everybody for whom a level of care was decided, those who were taken in, and whom they have named."""

    decided: int
    admissions: Sequence[tuple[str, Admission]]
    named: Sequence[Named]


async def begin(
    network: Network,
    records: Sequence[SiteRecord],
    sent: Sequence[Sent],
    recorded: Sequence[Recorded],
    suggested: Mapping[str, Any],
    told: Told,
) -> Programme:
    """Decide for all who were screened; open a track with a seat too few at each site; take in whom it suits.

    Of the referrals in `suggested` as is suggested there.
    """
    levels = {**_levels(recorded), **suggested}
    screened = [(each.site, each.referral) for each in sent if each.referral and each.referral.id in levels]
    await _all(_decide(network, site, referral, levels[referral.id], told) for site, referral in screened)
    suited = [each for each in screened if levels[each[1].id] == level_of_care_pb2.LEVEL_OF_CARE_INTENSIVE_OUTPATIENT]
    for record in records:
        await _open(network, record, sum(site == record.site for site, _ in suited))
    named = await _all(_name(network, site, referral, kin) for site, referral, kin in _kin(suited))
    admissions = await _all(_admit(network, site, referral) for site, referral in suited)
    return Programme(len(screened), admissions, named)


async def _all(calls: Iterable[Any]) -> list[Any]:
    """A few at a time, answers in the order of the calls."""
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one(call: Any) -> Any:
        async with slots:
            return await call

    return await asyncio.gather(*(one(call) for call in calls))


def _levels(recorded: Sequence[Recorded]) -> Mapping[str, Any]:
    """Whom PHQ-9 finds no more than minimally burdened goes to weekly outpatient care."""
    levels: dict[str, Any] = {}
    for each in recorded:
        assessment = each.answer.assessment
        levels.setdefault(assessment.referral_id, level_of_care_pb2.LEVEL_OF_CARE_INTENSIVE_OUTPATIENT)
        totalled = assessment.instrument == INSTRUMENT_PHQ_9 and assessment.score.HasField("total")
        if totalled and assessment.score.total < MILD:
            levels[assessment.referral_id] = level_of_care_pb2.LEVEL_OF_CARE_OUTPATIENT
    return levels


async def _decide(network: Network, site: str, referral: Referral, level: Any, told: Told) -> None:
    request = DecideLevelOfCareRequest(
        request_id=id_of("decide", referral.id), referral_id=referral.id, level=level, rationale=RATIONALE
    )
    await network.caller(site, "clinician").call(DECIDE, request, site=site)
    told()


async def _open(network: Network, record: SiteRecord, suited: int) -> None:
    """An evening track in which one person fewer fits than will come, and a family group tomorrow evening."""
    track = CreateTrackRequest(
        request_id=id_of("track", record.site),
        name=TRACK,
        daypart=DAYPART_EVENING,
        seats=min(100, max(1, suited - 1)),
    )
    await network.caller(record.site, "site_lead").call(OPEN_TRACK, track, site=record.site)
    group = PlanFamilyGroupRequest(
        request_id=id_of("group", record.site),
        starts_at=to_proto(tomorrow_evening(ZoneInfo(record.zone))),
        minutes=90,
        seats=FAMILY_SEATS,
    )
    await network.caller(record.site, "clinician").call(PLAN_GROUP, group, site=record.site)


def tomorrow_evening(zone: ZoneInfo) -> datetime:
    tomorrow = datetime.now(zone).date() + timedelta(days=1)
    return datetime(tomorrow.year, tomorrow.month, tomorrow.day, 17, 30, tzinfo=zone).astimezone(UTC)


def _kin(suited: Sequence[tuple[str, Referral]]) -> list[tuple[str, Referral, RelatedPerson]]:
    """Whom each referral names, if they can be reached; at least one person at each site."""
    found = [
        (site, referral, related)
        for site, referral in suited
        for related in [each for each in referral.related_people if each.contact_points][:1]
    ]
    for site, referral in suited:
        if site not in {each[0] for each in found}:
            found.append((site, referral, AN_AUNT))
    return found


async def _name(network: Network, site: str, referral: Referral, kin: RelatedPerson) -> Named:
    now = datetime.now(UTC)
    request = GrantConsentRequest(
        request_id=id_of("consent", referral.id),
        patient_id=referral.patient_id,
        family_member=kin,
        categories=[consent_pb2.CONSENT_CATEGORY_SCHEDULE, consent_pb2.CONSENT_CATEGORY_ATTENDANCE],
        purpose=PURPOSE,
        signed_at=to_proto(now),
        expires_at=to_proto(now + timedelta(days=180)),
        signer=consent_pb2.CONSENT_SIGNER_PATIENT_AND_GUARDIAN if _may_be_minor(referral, now) else None,
        signer_name=kin.family_name,
    )
    answer = await network.caller(site, "front_desk").call(GRANT, request, site=site)
    return Named(site, answer.consent)


def _may_be_minor(referral: Referral, now: datetime) -> bool:
    year = referral.person.birth_date[:4]
    return bool(year) and now.year - int(year) <= 18


async def _admit(network: Network, site: str, referral: Referral) -> tuple[str, Admission]:
    request = AdmitPatientRequest(
        request_id=id_of("admit", referral.id), referral_id=referral.id, availability=[DAYPART_EVENING]
    )
    answer = await network.caller(site, "clinician").call(ADMIT, request, site=site)
    return site, answer.admission


def id_of(what: str, about: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"{what}:{about}"))


def private_words() -> set[str]:
    """What this story has written of itself that may be nowhere outside the databases."""
    return {
        RATIONALE,
        PURPOSE,
        TRACK,
        RANG_AGAIN,
        AN_AUNT.family_name,
        *(point.phone for point in AN_AUNT.contact_points),
    }
