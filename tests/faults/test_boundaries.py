"""Row 20 of the fault matrix: the wrong site, no site, a consent that ends meanwhile; nothing crosses, all audited."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import asyncpg
import pytest
from google.protobuf.message import Message

from stepway.care.v1.treatment_plan_service_pb2 import GetTreatmentPlanRequest
from stepway.family.v1.invitation_service_pb2 import GetInvitationRequest, ListInvitationsRequest
from stepway.intake.v1.admission_service_pb2 import GetAdmissionRequest
from stepway.intake.v1.consent_service_pb2 import GetConsentRequest, ListConsentsRequest
from stepway.intake.v1.referral_service_pb2 import GetReferralRequest
from stepway.notifications.v1.escalation_service_pb2 import AcknowledgeEscalationRequest
from stepway.notifications.v1.message_service_pb2 import StopMessagesRequest
from stepway.scheduling.v1.enrollment_service_pb2 import EndEnrollmentRequest, GetEnrollmentRequest
from stepway.scheduling.v1.track_pb2 import DAYPART_EVENING, DAYPART_MORNING
from stepway_chassis.errors import Denied, NotFound, Refusal, TimedOut, Unavailable
from stepway_chassis.schema import EXEMPT
from tests.conftest import SOAK
from tests.faults.commands import Commands
from tests.faults.observed import Row
from tests.faults.stage import Stage, TakenIn
from tests.network import LAKESIDE, NORTHSIDE
from tests.waiting import until

SHARE = 1000 if SOAK else 200
TIMES = 5 if SOAK else 1  # for each request that a stranger makes
REVOCATIONS = 400 if SOAK else 30
ROLES = ("app", "keeper", "owner")  # of those whom row-level security binds to one site
ROUNDS = 20 if SOAK else 1
AT_ONCE = 8
READS = "stepway.family.v1.InvitationService"


async def test_row_20_a_token_of_another_site_opens_nothing_and_leaves_a_trace(stage: Stage, seed: int) -> None:
    """A clinician who leads Lakeside asks for records of Northside: no role there, and at Lakeside no such record."""
    commands = Commands(stage.history, random.Random(seed))
    await stage.sent(commands.plan_group(NORTHSIDE, seats=100))
    somebody = await stage.take_in(commands, NORTHSIDE, DAYPART_MORNING)
    await stage.sent(commands.assess(NORTHSIDE, somebody.referral, in_danger=True))
    asked = await _requests(stage, somebody) * TIMES
    async with stage.loaded("row 20, the wrong site", seed) as load:
        load.issue(SHARE)
        for rpc, request, reason in asked:
            await load.under_way(SHARE // len(asked) // 2)
            await _refused(stage, rpc, request, NORTHSIDE, Denied, "NO_ROLE_AT_SITE")
            await _refused(stage, rpc, request, LAKESIDE, NotFound, reason)
    wanted = Counter(("stranger", site, why) for _, _, reason in asked for site, why in _both(reason))
    audited = _audited(stage, "stranger")
    assert audited >= wanted  # one more where an answer did not come in time
    assert audited.keys() == wanted.keys()


async def _requests(stage: Stage, somebody: TakenIn) -> list[tuple[str, Message, str]]:
    """Reads and writes about one person at each service, and what whoever may not know of them is told."""

    async def theirs(service: str, table: str) -> str:
        query = f"SELECT id FROM {table} WHERE patient_id = '{somebody.patient}'"
        return str((await until(partial(_rows, stage, service, query)))[0]["id"])

    enrollment, plan = await theirs("scheduling", "enrollment"), await theirs("care", "treatment_plan")
    invitation, escalation = await theirs("family", "invitation"), await theirs("notifications", "escalation")
    intake, request_id = "stepway.intake.v1", "00000000-0000-4000-8000-000000000001"
    return [
        (f"{intake}.ReferralService/GetReferral", GetReferralRequest(referral_id=somebody.referral), "REFERRAL"),
        (f"{intake}.AdmissionService/GetAdmission", GetAdmissionRequest(admission_id=somebody.admission), "ADMISSION"),
        (f"{intake}.ConsentService/GetConsent", GetConsentRequest(consent_id=somebody.consent), "CONSENT"),
        (f"{intake}.ConsentService/ListConsents", ListConsentsRequest(patient_id=somebody.patient), "PATIENT"),
        (
            "stepway.scheduling.v1.EnrollmentService/GetEnrollment",
            GetEnrollmentRequest(enrollment_id=enrollment),
            "ENROLLMENT",
        ),
        (
            "stepway.scheduling.v1.EnrollmentService/EndEnrollment",
            EndEnrollmentRequest(request_id=request_id, enrollment_id=enrollment),
            "ENROLLMENT",
        ),
        (
            "stepway.care.v1.TreatmentPlanService/GetTreatmentPlan",
            GetTreatmentPlanRequest(treatment_plan_id=plan),
            "TREATMENT_PLAN",
        ),
        (
            "stepway.family.v1.InvitationService/GetInvitation",
            GetInvitationRequest(invitation_id=invitation),
            "INVITATION",
        ),
        (
            "stepway.notifications.v1.EscalationService/AcknowledgeEscalation",
            AcknowledgeEscalationRequest(request_id=request_id, escalation_id=escalation),
            "ESCALATION",
        ),
        (
            "stepway.notifications.v1.MessageService/StopMessages",
            StopMessagesRequest(request_id=request_id, patient_id=somebody.patient),
            "PATIENT",
        ),
    ]


def _both(noun: str) -> list[tuple[str, str]]:
    return [(NORTHSIDE, "NO_ROLE_AT_SITE"), (LAKESIDE, f"{noun}_NOT_FOUND")]


async def _refused(
    stage: Stage, rpc: str, request: Message, site: str, kind: type[Refusal], noun_or_reason: str
) -> None:
    stranger = stage.network.holding(stage.network.token("stranger", lakeside=["site_lead", "clinician"]))

    async def asked() -> bool:
        try:
            await stranger.call(rpc, request, site=site)
        except (Unavailable, TimedOut):
            return False
        return True

    with pytest.raises(kind) as refused:
        await until(asked)
    assert refused.value.reason in (noun_or_reason, f"{noun_or_reason}_NOT_FOUND")


def _audited(stage: Stage, actor: str) -> Counter[tuple[str, str, str]]:
    """Refusals of this caller in the audit of every service: the caller, the site and the reason."""
    query = f"SELECT actor, site, reason FROM audit WHERE actor = '{actor}' AND outcome = 'REFUSED'"
    rows = [row for service in stage.platform.services for row in stage.network.rows(service, query)]
    return Counter((row["actor"], row["site"], row["reason"]) for row in rows)


async def test_row_20_a_transaction_that_names_no_site_sees_and_writes_nothing(stage: Stage, seed: int) -> None:
    await stage.take_in(Commands(stage.history, random.Random(seed)), NORTHSIDE, DAYPART_MORNING)
    for service in stage.platform.services:
        await until(partial(_rows, stage, service, f"SELECT id FROM outbox WHERE site = '{NORTHSIDE}' LIMIT 1"))
    async with stage.loaded("row 20, no site", seed) as load:
        load.issue(SHARE)
        for service in stage.platform.services:
            await load.under_way(SHARE // 10)
            for role in ROLES * ROUNDS:
                connection = await asyncpg.connect(stage.platform.database_url(service, role))
                try:
                    await _sees_nothing(connection)
                    await _writes_nothing(connection)
                finally:
                    await connection.close()


async def _sees_nothing(connection: Any) -> None:
    """Neither before a site was ever entered, nor after a transaction that had entered one."""
    tables = [row["relname"] for row in await connection.fetch(_TABLES) if row["relname"] not in EXEMPT]
    for _ in range(2):
        seen = {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables}
        assert set(seen.values()) == {0}, seen
        async with connection.transaction():
            await connection.execute("SELECT enter_site($1, 'shared')", NORTHSIDE)
            inside = {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables}
            assert inside["outbox"] > 0


async def _writes_nothing(connection: Any) -> None:
    written = "INSERT INTO inbox (site, consumer, event_id) VALUES ($1, 'nobody', gen_random_uuid())"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(written, NORTHSIDE)
    async with connection.transaction():
        await connection.execute("SELECT enter_site($1, 'shared')", NORTHSIDE)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with connection.transaction():
                await connection.execute(written, LAKESIDE)


_TABLES = """
    SELECT relname FROM pg_class
     WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND has_table_privilege(oid, 'SELECT')"""


@dataclass
class Reading:
    """A family member who looks at their invitations over and over again."""

    stage: Stage
    who: TakenIn
    answered: list[datetime] = field(default_factory=list)  # when a read was begun that was answered
    refused: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0  # reads of which nothing was heard; some of them may have been refused
    ended: datetime | None = None  # when the end of the consent was known
    over: bool = False

    async def run(self, invitation: str) -> None:
        grants = {self.who.site: ["family_member"]}
        reader = self.stage.network.holding(self.stage.network.token(self.who.family_member, "family", **grants))
        while not self.over:
            await self._read(reader, "GetInvitation", GetInvitationRequest(invitation_id=invitation))
            await self._read(reader, "ListInvitations", ListInvitationsRequest())

    async def _read(self, reader: Any, method: str, request: Message) -> None:
        began = datetime.now(UTC)
        try:
            answer = await reader.call(f"{READS}/{method}", request, site=self.who.site)
        except (Unavailable, TimedOut):
            self.unanswered += 1
        except Refusal as refusal:
            self.refused[refusal.reason] += 1
        else:
            if any(str(value) for _, value in answer.ListFields()):
                self.answered.append(began)


async def test_row_20_from_the_end_of_a_consent_nothing_is_read_and_nothing_goes_out(stage: Stage, seed: int) -> None:
    """Each consent ends while the family member reads and messages are on their way; the checker looks at those."""
    rng = random.Random(seed)
    commands, turns = Commands(stage.history, rng), asyncio.Semaphore(AT_ONCE)
    await stage.sent(*(commands.plan_group(site, seats=100) for site in (NORTHSIDE, LAKESIDE)))
    async with stage.loaded("row 20, consents that end", seed) as load:
        ended = await asyncio.gather(
            *(
                _read_while_it_ends(stage, commands, rng, turns, site)
                for site in (NORTHSIDE, LAKESIDE) * (REVOCATIONS // 2)
            )
        )
        assert load.acknowledged == 0
    reads = sum(len(reading.answered) for reading in ended)
    refusals = sum((reading.refused for reading in ended), Counter[str]())
    print(f"row 20: {len(ended)} consents ended, {reads} reads answered before, refused after: {dict(refusals)}")
    assert reads > 0
    assert refusals.keys() == {"INVITATION_NOT_FOUND"}
    assert await until(lambda: _as_audited(stage, ended))


async def _read_while_it_ends(
    stage: Stage, commands: Commands, rng: random.Random, turns: asyncio.Semaphore, site: str
) -> Reading:
    async with turns:
        who = await stage.take_in(commands, site, DAYPART_EVENING)
        reading = Reading(stage, who)
        query = f"SELECT id FROM invitation WHERE family_member_id = '{who.family_member}'"
        (invitation,) = await until(partial(_rows, stage, "family", query))
        reader = asyncio.create_task(reading.run(invitation["id"]))
        # by then the message is written, asked about or on its way
        await until(partial(_answered_often, reading, rng.randint(1, 8)))
        revocation = commands.revoke(site, who.consent)
        await stage.sent(revocation)
        reading.ended = known = revocation.answered_at
        await until(partial(_refused_for_long, reading))
        reading.over = True
        await reader
        assert known is not None
        late = [began for began in reading.answered if began > known]
        assert not late, f"{len(late)} reads were answered that began after the revocation was known"
        return reading


async def _rows(stage: Stage, service: str, query: str) -> list[Row]:
    return await asyncio.to_thread(stage.network.rows, service, query)


async def _answered_often(reading: Reading, times: int) -> bool:
    return len(reading.answered) >= times


async def _refused_for_long(reading: Reading) -> bool:
    return reading.refused["INVITATION_NOT_FOUND"] >= 3


async def _as_audited(stage: Stage, readings: list[Reading]) -> bool:
    """Every refusal is in the patient's audit; that they were told of is there of no time after the consent's end."""
    heard = {reading.who.family_member: reading for reading in readings}
    rows = stage.network.rows("family", f"SELECT at, actor, outcome, people FROM audit WHERE action LIKE '{READS}/%'")
    of_them = [row for row in rows if row["actor"] in heard and row["people"] == [heard[row["actor"]].who.patient]]
    late = [row for row in of_them if row["outcome"] == "DONE" and _later(row["at"], heard[row["actor"]].ended)]
    assert not late, f"{len(late)} reads are audited as answered that began after the revocation was known"
    found = Counter(row["actor"] for row in of_them if row["outcome"] == "REFUSED")
    told = {member: each.refused["INVITATION_NOT_FOUND"] for member, each in heard.items()}
    return all(count <= found[member] <= count + heard[member].unanswered for member, count in told.items())


def _later(at: str, ended: datetime | None) -> bool:
    return ended is not None and datetime.fromisoformat(at) > ended
