"""The register of people over the socket: who is there twice, and what follows when two records become one."""

import asyncio
import random
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from stepway.care.v1.treatment_plan_service_pb2 import GetTreatmentPlanRequest
from stepway.intake.v1 import person_pb2
from stepway.intake.v1.consent_pb2 import CONSENT_CATEGORY_SCHEDULE, CONSENT_FINDING_GRANTED
from stepway.intake.v1.consent_service_pb2 import CheckConsentsRequest, ListConsentsRequest
from stepway.intake.v1.person_service_pb2 import (
    FindDuplicatesRequest,
    FindDuplicatesResponse,
    FindPeopleRequest,
    GetPersonRequest,
    GetPersonResponse,
    MergePeopleRequest,
)
from stepway.intake.v1.referral_service_pb2 import (
    GetPatientContactRequest,
    GetReferralRequest,
    ReceiveReferralResponse,
    ReferAgainRequest,
)
from stepway.intake.v1.workup_service_pb2 import SaveWorkupAnswersRequest
from stepway.notifications.v1.escalation_service_pb2 import RaiseEscalationRequest
from stepway.notifications.v1.message_service_pb2 import StopMessagesRequest
from stepway.scheduling.v1.enrollment_service_pb2 import (
    EndEnrollmentRequest,
    GetEnrollmentRequest,
    ListEnrollmentsRequest,
)
from stepway_chassis.errors import Conflict, InvalidInput, NotFound
from stepway_cli.services import SERVICES
from stepway_intake.app import APP
from stepway_intake.store.people import followers
from tests.calls import send, service_token
from tests.cases import At, Case, a_case, a_consent, a_decision, a_workup, an_admission
from tests.conftest import SOAK
from tests.holding import is_behind, is_free, is_stopped, stopping
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral, phq_9
from tests.waiting import until

WORKUPS = "stepway.intake.v1.WorkupService"
PEOPLE = "stepway.intake.v1.PersonService"
ADMIT = "stepway.intake.v1.AdmissionService/AdmitPatient"
RECEIVE = "stepway.intake.v1.ReferralService/ReceiveReferral"
REFER_AGAIN = "stepway.intake.v1.ReferralService/ReferAgain"
ROUNDS = 40 if SOAK else 6
NAMING_A_PATIENT = (
    "FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'patient_id' ORDER BY 1"
)


def a_name() -> str:
    """Nobody else's in this run."""
    return "Q" + "".join(random.SystemRandom().choices("abcdefghijklmnopqrstuvwxyz", k=12))


def a_phone() -> str:
    return "+49" + "".join(random.SystemRandom().choices("123456789", k=10))


async def received(network: Network, site: str = NORTHSIDE, **person: Any) -> Any:
    given = {"given_name": "Ana", "family_name": "Vexmoor", "birth_date": "1990-04-01", **person}
    return (await network.call(RECEIVE, a_referral(person=given), role="front_desk", site=site)).referral


async def duplicates(network: Network, patient: str) -> dict[str, set[str]]:
    """The reasons for each candidate; with "!" where the birth dates differ."""
    request = FindDuplicatesRequest(patient_id=patient)
    answer = await network.call(f"{PEOPLE}/FindDuplicates", request, role="front_desk")
    return named(answer)


def named(answer: FindDuplicatesResponse) -> dict[str, set[str]]:
    return {
        each.person.patient_id: {
            person_pb2.DuplicateReason.Name(reason).removeprefix("DUPLICATE_REASON_") for reason in each.reasons
        }
        | ({"!"} if each.birth_dates_differ else set())
        for each in answer.candidates
    }


async def merged(network: Network, kept: str, gone: str) -> Any:
    request = MergePeopleRequest(request_id=str(uuid4()), patient_id=kept, merged_patient_id=gone)
    return (await network.call(f"{PEOPLE}/MergePeople", request, role="clinician")).person


async def person(network: Network, patient: str, site: str = NORTHSIDE) -> Any:
    request = GetPersonRequest(patient_id=patient)
    return (await network.call(f"{PEOPLE}/GetPerson", request, role="front_desk", site=site)).person


async def found(network: Network, site: str = NORTHSIDE, **by: Any) -> set[str]:
    answer = await network.call(f"{PEOPLE}/FindPeople", FindPeopleRequest(**by), role="front_desk", site=site)
    return {each.patient_id for each in answer.people}


async def test_somebody_who_is_there_twice_is_found_with_the_reasons_and_never_at_another_site(
    network: Network,
) -> None:
    name, phone = a_name(), a_phone()
    here = await received(network, family_name=f"{name}é", contact_points=[{"phone": phone}])
    by_name = await received(network, family_name=f"{name}E\u0301".upper())
    by_phone = await received(network, family_name=a_name(), birth_date="", contact_points=[{"phone": phone}])
    child = await received(network, family_name=a_name(), birth_date="2015", contact_points=[{"phone": phone}])
    await received(network, family_name=f"{name}e", birth_date="1951-01-01")
    await received(network, LAKESIDE, family_name=f"{name}é", contact_points=[{"phone": phone}])
    assert await duplicates(network, here.patient_id) == {
        by_name.patient_id: {"NAME", "BIRTH_DATE"},
        by_phone.patient_id: {"PHONE"},
        child.patient_id: {"PHONE", "!"},
    }
    assert await found(network, LAKESIDE, name=f"Ana {name}é") != await found(network, name=f"Ana {name}é")
    with pytest.raises(NotFound):
        await person(network, here.patient_id, LAKESIDE)


async def test_people_are_found_by_a_name_in_any_script_a_telephone_or_an_address(network: Network) -> None:
    name, phone = a_name(), a_phone()
    points = [{"phone": phone}, {"email": f"{name}@Example.org"}]
    patient = (
        await received(network, given_name="Мария Іванівна", family_name=f"Ёлкина {name}", contact_points=points)
    ).patient_id
    for by in (
        {"name": f"{name} елкина мария іванівна"},
        {"name": f"МАРИЯ ЕЛКИНА {name.upper()}"},
        {"phone": phone},
        {"email": f"{name.upper()}@example.ORG"},
    ):
        assert await found(network, **by) == {patient}
    with pytest.raises(InvalidInput) as refused:
        await found(network, name="—")
    assert (refused.value.reason, refused.value.field) == ("NAME_UNREADABLE", "name")


async def test_people_are_found_in_pages_newest_first(network: Network) -> None:
    name = a_name()
    ids = [(await received(network, family_name=name)).patient_id for _ in range(5)]
    pages, token = list[str](), ""
    while True:
        request = FindPeopleRequest(name=f"Ana {name}", page_size=2, page_token=token)
        answer = await network.call(f"{PEOPLE}/FindPeople", request, role="front_desk")
        pages += [each.patient_id for each in answer.people]
        if not (token := answer.next_page_token):
            break
    assert pages == ids[::-1]


@pytest.mark.parametrize(
    ("person_", "field", "reason"),
    [
        ({"birth_date": "2023-02-29"}, "person.birth_date", "BIRTH_DATE_IMPOSSIBLE"),
        ({"birth_date": "2999-01-01"}, "person.birth_date", "BIRTH_DATE_IMPOSSIBLE"),
        ({"birth_date": "01.04.1990"}, "person.birth_date", "FIELD_INVALID"),
        ({"family_name": ""}, "person.family_name", "FIELD_INVALID"),
        ({"family_name": "名" * 201}, "person.family_name", "FIELD_INVALID"),
        ({"family_name": "Vex\0moor"}, "person.family_name", "TEXT_NOT_STORABLE"),
        ({"contact_points": [{"phone": "212-555-0142"}]}, "person.contact_points[0].phone", "FIELD_INVALID"),
    ],
)
async def test_what_cannot_be_a_person_is_refused_by_name_and_told_to_nobody(
    network: Network, person_: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await received(network, **person_)
    assert (refused.value.reason, refused.value.field) == (reason, field)
    (value,) = person_.values()
    assert not value or str(value) not in refused.value.message


@pytest.mark.parametrize(
    "name", ["王小明", "مُحَمَّد", "नीला", "ﾀﾅｶ", "👩‍⚕️", "ß" * 200, "a\u0300" * 100, "'; DROP TABLE patient"]
)
async def test_a_name_in_any_script_is_kept_as_it_was_given(network: Network, name: str) -> None:
    patient = (await received(network, given_name=name, family_name=name)).patient_id
    told = (await person(network, patient)).person
    assert (told.given_name, told.family_name) == (name, name)


@pytest.mark.parametrize("rpc", [RECEIVE, REFER_AGAIN])
async def test_an_oversized_note_is_refused_and_the_longest_is_kept(network: Network, rpc: str) -> None:
    patient = (await received(network)).patient_id

    async def sent(reason: str) -> Any:
        request = (
            a_referral(reason=reason)
            if rpc == RECEIVE
            else ReferAgainRequest(request_id=str(uuid4()), patient_id=patient, reason=reason)
        )
        return await network.call(rpc, request, role="front_desk")

    assert (await sent("é" * 4000)).referral.reason == "é" * 4000
    with pytest.raises(InvalidInput) as refused:
        await sent("é" * 4001)
    assert (refused.value.reason, refused.value.field) == ("FIELD_INVALID", "reason")


async def test_somebody_who_comes_again_stays_one_person(network: Network) -> None:
    first = await received(network, family_name=a_name())
    request = ReferAgainRequest(
        request_id=str(uuid4()), patient_id=first.patient_id, source="REFERRAL_SOURCE_HOSPITAL", sender="St. Example"
    )
    again = (await network.call(REFER_AGAIN, request, role="front_desk")).referral
    assert (again.patient_id, again.person, again.sender) == (first.patient_id, first.person, "St. Example")
    assert again.id != first.id
    assert await duplicates(network, first.patient_id) == {}


async def test_of_two_merges_that_cross_one_happens_and_the_other_is_told_why(network: Network) -> None:
    for _ in range(ROUNDS):
        one, other = [(await received(network)).patient_id for _ in range(2)]
        outcomes = await asyncio.gather(
            merged(network, one, other), merged(network, other, one), return_exceptions=True
        )
        refusals = [each for each in outcomes if isinstance(each, BaseException)]
        assert [(type(each), getattr(each, "reason", "")) for each in refusals] == [
            (Conflict, "PATIENT_ALREADY_MERGED")
        ]
        (done,) = (each for each in outcomes if not isinstance(each, BaseException))
        assert {(await person(network, each)).patient_id for each in (one, other)} == {done.patient_id}
        assert merges_announced(network, one, other) == 1


async def test_of_many_merges_of_a_few_people_each_goes_once_and_nobody_goes_round_in_a_ring(network: Network) -> None:
    people = [(await received(network)).patient_id for _ in range(5)]
    pairs = [(kept, gone) for kept in people for gone in people if kept != gone]
    random.Random(7).shuffle(pairs)
    outcomes = await asyncio.gather(*(merged(network, *pair) for pair in pairs), return_exceptions=True)
    refused = {getattr(each, "reason", "") for each in outcomes if isinstance(each, BaseException)}
    assert refused <= {"PATIENT_ALREADY_MERGED", "BUSY"}
    happened = sum(not isinstance(each, BaseException) for each in outcomes)
    assert merges_announced(network, *people) == happened
    assert len({(await person(network, each)).patient_id for each in people}) == len(people) - happened


def merges_announced(network: Network, *gone: str) -> int:
    ids = ", ".join(f"'{each}'" for each in gone)
    query = f"SELECT 1 FROM outbox WHERE subject LIKE '%.intake.patient_merged' AND aggregate_id IN ({ids})"
    return len(network.rows("intake", query))


async def test_what_is_written_while_two_records_become_one_is_lost_by_neither(network: Network) -> None:
    for _ in range(ROUNDS):
        kept, gone = await received(network), await received(network)
        workup = (await network.call(f"{WORKUPS}/StartWorkup", a_workup(gone.id), role="clinician")).workup.id
        asked_about = {"workup_id": workup, "instrument": "INSTRUMENT_PHQ_9", "answers": [{"item": 9, "value": 1}]}
        in_danger = SaveWorkupAnswersRequest(request_id=str(uuid4()), **asked_about)
        calls = [
            network.call(f"{WORKUPS}/SaveWorkupAnswers", in_danger, role="clinician"),
            network.call("stepway.intake.v1.ConsentService/GrantConsent", a_consent(gone.patient_id), role="clinician"),
            network.call(
                REFER_AGAIN, ReferAgainRequest(request_id=str(uuid4()), patient_id=gone.patient_id), role="clinician"
            ),
            network.call(
                "stepway.intake.v1.AssessmentService/RecordAssessment", phq_9(gone.id, [0] * 8 + [1]), role="clinician"
            ),
            merged(network, kept.patient_id, gone.patient_id),
        ]
        random.Random(kept.id).shuffle(calls)
        await asyncio.gather(*calls)
        assert left_behind(network, "intake", gone.patient_id) == {}
        asked = ListConsentsRequest(patient_id=gone.patient_id)
        listed = await network.call("stepway.intake.v1.ConsentService/ListConsents", asked, role="clinician")
        assert [each.patient_id for each in listed.consents] == [kept.patient_id]


async def test_two_who_are_both_in_the_programme_become_one_once_one_of_them_has_left(network: Network) -> None:
    at, referrals = At(network, NORTHSIDE), await two_who_may_be_admitted(network)
    admissions = [
        (await at.call("intake", "AdmissionService/AdmitPatient", an_admission(referral.id))).admission.id
        for referral in referrals
    ]
    kept, gone = (referral.patient_id for referral in referrals)
    with pytest.raises(Conflict) as refused:
        await merged(network, kept, gone)
    assert refused.value.reason == "PATIENT_ADMITTED_TWICE"
    request = ListEnrollmentsRequest()
    enrollment = await at.listed("scheduling", "EnrollmentService/ListEnrollments", request, gone)
    ending = EndEnrollmentRequest(request_id=str(uuid4()), enrollment_id=enrollment)
    await at.call("scheduling", "EnrollmentService/EndEnrollment", ending)

    async def over() -> bool:
        rows = network.rows("intake", f"SELECT status FROM admission WHERE id = '{admissions[1]}'")
        return rows == [{"status": "ended"}]

    await until(over)
    await merged(network, kept, gone)
    again = ReferAgainRequest(request_id=str(uuid4()), patient_id=gone)
    third = (await network.call(REFER_AGAIN, again, role="front_desk")).referral.id
    await at.call("intake", "AssessmentService/RecordAssessment", phq_9(third, [0] * 9))
    await at.call("intake", "LevelOfCareService/DecideLevelOfCare", a_decision(third))
    with pytest.raises(Conflict) as refused:
        await at.call("intake", "AdmissionService/AdmitPatient", an_admission(third))
    assert refused.value.reason == "PATIENT_ALREADY_ADMITTED"


async def two_who_may_be_admitted(network: Network) -> tuple[Any, Any]:
    at = At(network, NORTHSIDE)
    referrals = [await received(network) for _ in range(2)]
    for referral in referrals:
        await at.call("intake", "AssessmentService/RecordAssessment", phq_9(referral.id, [0] * 9))
        await at.call("intake", "LevelOfCareService/DecideLevelOfCare", a_decision(referral.id))
    return referrals[0], referrals[1]


async def admitted(network: Network, referral: str) -> Any:
    return await network.call(ADMIT, an_admission(referral), role="clinician")


async def test_of_two_who_are_admitted_while_their_records_become_one_nobody_is_admitted_twice(
    network: Network,
) -> None:
    for _ in range(ROUNDS):
        kept, gone = await two_who_may_be_admitted(network)
        calls = [
            admitted(network, kept.id),
            admitted(network, gone.id),
            merged(network, kept.patient_id, gone.patient_id),
        ]
        random.Random(kept.id).shuffle(calls)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        refusals = [(type(each), getattr(each, "reason", "")) for each in outcomes if isinstance(each, BaseException)]
        made = network.rows("intake", f"SELECT 1 FROM admission WHERE referral_id IN ('{kept.id}', '{gone.id}')")
        if merges_announced(network, gone.patient_id):
            assert (len(made), refusals) == (1, [(Conflict, "PATIENT_ALREADY_ADMITTED")])
            assert left_behind(network, "intake", gone.patient_id) == {}
        else:
            assert (len(made), refusals) == (2, [(Conflict, "PATIENT_ADMITTED_TWICE")])


async def test_whoever_is_admitted_in_the_middle_of_a_merge_is_admitted_as_who_they_have_become(
    network: Network,
) -> None:
    """What is asked for waits for the merge with nothing in its hands that the merge will want."""
    kept, gone = await two_who_may_be_admitted(network)
    async with stopping(network, "patient", f"new.merged_into = '{kept.patient_id}'", event="UPDATE"):
        merging = asyncio.create_task(merged(network, kept.patient_id, gone.patient_id))
        await until(lambda: is_stopped(network))
        admitting = asyncio.create_task(admitted(network, gone.id))
        await until(lambda: is_behind(network))
        assert is_free(network, "referral", gone.id)
    await merging
    assert (await admitting).admission.patient_id == kept.patient_id


def left_behind(network: Network, service: str, patient: str) -> dict[str, int]:
    """How many rows of each table still name this patient."""
    tables = [row["table_name"] for row in network.rows(service, f"SELECT table_name {NAMING_A_PATIENT}")]
    counts = {
        table: len(network.rows(service, f"SELECT 1 FROM {table} WHERE patient_id = '{patient}'")) for table in tables
    }
    return {table: count for table, count in counts.items() if count}


def test_every_table_that_names_a_patient_follows_them_and_may_be_written(network: Network) -> None:
    assert APP.name == "intake"  # every store is imported with it
    query = (
        "SELECT table_name, has_column_privilege('intake_app', table_name, 'patient_id', 'UPDATE') AS may"
        f" {NAMING_A_PATIENT}"
    )
    rights = {row["table_name"]: row["may"] for row in network.rows("intake", query)}
    assert rights == {table.name: True for table in followers()} | {"person_key": False}


async def test_every_service_follows_a_merge_and_finds_the_person_by_either_id(network: Network) -> None:
    case = await a_case(network)
    await merged(network, case.namesake, case.patient)
    await until(partial(_nothing_left, network, case.patient))
    await _speaks_of_one_person(network, case)
    assert left_behind(network, "notifications", case.patient) == {}


async def _nothing_left(network: Network, patient: str) -> bool:
    return not any(left_behind(network, service, patient) for service in SERVICES)


async def _speaks_of_one_person(network: Network, case: Case) -> None:
    old, new = case.patient, case.namesake
    for subject in (old, new):  # a token that was given before the merge, and one of after it
        own = network.holding(network.token(subject, "patient", northside=["patient"]))
        records = (
            ("stepway.intake.v1.ReferralService/GetReferral", GetReferralRequest(referral_id=case.referral)),
            (
                "stepway.scheduling.v1.EnrollmentService/GetEnrollment",
                GetEnrollmentRequest(enrollment_id=case.enrollment),
            ),
            (
                "stepway.care.v1.TreatmentPlanService/GetTreatmentPlan",
                GetTreatmentPlanRequest(treatment_plan_id=case.treatment_plan),
            ),
        )
        for rpc, request in records:
            answer = await own.call(rpc, request, site=NORTHSIDE)
            assert next(value for _, value in answer.ListFields()).patient_id == new
        question = {
            "patient_id": subject,
            "family_member_id": case.family_member,
            "category": CONSENT_CATEGORY_SCHEDULE,
        }
        family = network.holding(service_token(network, "family"))
        asked = CheckConsentsRequest(questions=[question])
        checked = await family.call("stepway.intake.v1.ConsentService/CheckConsents", asked, site=NORTHSIDE)
        assert checked.answers[0].finding == CONSENT_FINDING_GRANTED
        notifications = network.holding(service_token(network, "notifications"))
        contact = GetPatientContactRequest(patient_id=subject)
        reached = await notifications.call(
            "stepway.intake.v1.ReferralService/GetPatientContact", contact, site=NORTHSIDE
        )
        assert len(reached.contact_points) == 2
    intake = network.holding(service_token(network, "intake"))
    flagged = RaiseEscalationRequest(
        request_id=str(uuid4()), risk_flag_id=str(uuid4()), patient_id=old, referral_id=case.referral
    )
    raised = await intake.call("stepway.notifications.v1.EscalationService/RaiseEscalation", flagged, site=NORTHSIDE)
    assert raised.escalation.patient_id == new
    stop = StopMessagesRequest(request_id=str(uuid4()), patient_id=old)
    await network.call("stepway.notifications.v1.MessageService/StopMessages", stop, role="front_desk")
    stopped = network.rows(
        "notifications", f"SELECT id FROM patient WHERE id IN ('{old}', '{new}') AND stopped_at > '-infinity'"
    )
    assert stopped == [{"id": new}]


async def test_a_merge_is_refused_by_name_when_there_is_no_such_record_or_only_one(network: Network) -> None:
    here, there = await received(network), await received(network, LAKESIDE)
    for gone, refusal, reason in (
        (here.patient_id, InvalidInput, "SAME_PATIENT"),
        (there.patient_id, NotFound, "PATIENT_NOT_FOUND"),
        (str(uuid4()), NotFound, "PATIENT_NOT_FOUND"),
    ):
        with pytest.raises(refusal) as refused:
            await merged(network, here.patient_id, gone)
        assert refused.value.reason == reason


class Register(RuleBasedStateMachine):
    """People come, some of them twice, and are merged in any order; the register says what a plain model says."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.token = network, network.token("clerk", northside=["clinician"])

    @initialize()
    def nobody(self) -> None:
        self.names, self.phones = [a_name() for _ in range(2)], [a_phone() for _ in range(2)]
        self.people, self.known, self.into = list[str](), dict[str, list[set[str]]](), dict[str, str]()

    def sent(self, rpc: str, request: Any) -> Any:
        return send(self.network, rpc, request, token=self.token)

    @rule(name=st.integers(0, 1), phone=st.sampled_from([None, 0, 1]), born=st.sampled_from(["", "1990", "1951-02-03"]))
    def receive(self, name: int, phone: int | None, born: str) -> None:
        given = {"given_name": "Ana", "family_name": self.names[name], "birth_date": born}
        points = [] if phone is None else [{"phone": self.phones[phone]}]
        answer = self.sent(RECEIVE, a_referral(person={**given, "contact_points": points}))
        patient = ReceiveReferralResponse.FromString(answer.body).referral.patient_id
        told = [f"NAME {name}", f"PHONE {phone}" if points else "", f"BIRTH_DATE {born}" if born else ""]
        self.people.append(patient)
        self.known[patient] = [set(filter(None, told)), {born}]

    @precondition(lambda self: len(self.people) > 1)
    @rule(data=st.data())
    def merge(self, data: st.DataObject) -> None:
        kept, gone = (data.draw(st.sampled_from(self.people)) for _ in range(2))
        request = MergePeopleRequest(request_id=str(uuid4()), patient_id=kept, merged_patient_id=gone)
        answer = self.sent(f"{PEOPLE}/MergePeople", request)
        if kept == gone:
            assert answer.refusal == ("INVALID_ARGUMENT", "SAME_PATIENT") or answer.reason == "PATIENT_ALREADY_MERGED"
        elif kept in self.into or gone in self.into:
            assert answer.refusal == ("FAILED_PRECONDITION", "PATIENT_ALREADY_MERGED")
        else:
            assert answer.code == "OK"
            self._become_one(kept, gone)

    def _become_one(self, kept: str, gone: str) -> None:
        (keys, born), (more, other) = self.known[kept], self.known[gone]
        self.known[kept] = [keys | more, born if born != {""} else other]
        self.into[gone] = kept

    def root(self, patient: str) -> str:
        while patient in self.into:
            patient = self.into[patient]
        return patient

    @precondition(lambda self: self.people)
    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        patient = data.draw(st.sampled_from(self.people))
        got = self.sent(f"{PEOPLE}/GetPerson", GetPersonRequest(patient_id=patient))
        assert GetPersonResponse.FromString(got.body).person.patient_id == self.root(patient)
        answer = self.sent(f"{PEOPLE}/FindDuplicates", FindDuplicatesRequest(patient_id=patient))
        assert named(FindDuplicatesResponse.FromString(answer.body)) == self.expected(self.root(patient))

    def expected(self, patient: str) -> dict[str, set[str]]:
        keys, (born,) = self.known[patient][0], self.known[patient][1]
        found = dict[str, set[str]]()
        for other in set(self.people) - set(self.into) - {patient}:
            shared = {key.split()[0] for key in keys & self.known[other][0]}
            (their,) = self.known[other][1]
            differ = not (born.startswith(their) or their.startswith(born))
            if shared - {"BIRTH_DATE"} and not (shared == {"NAME"} and differ):
                found[other] = shared | ({"!"} if differ else set())
        return found

    @invariant()
    def whoever_has_gone_is_somebody(self) -> None:
        assert all(self.root(each) not in self.into for each in getattr(self, "people", ()))

    def teardown(self) -> None:
        ids = ", ".join(f"'{each}'" for each in getattr(self, "people", ()))
        for said in (
            "SELECT aggregate_id AS id FROM outbox WHERE subject LIKE '%.patient_merged' AND aggregate_id",
            "SELECT people[2] AS id FROM audit WHERE action LIKE '%/MergePeople' AND outcome = 'DONE' AND people[2]",
        ):
            found = self.network.rows("intake", f"{said} IN ({ids})") if ids else []
            assert sorted(row["id"] for row in found) == sorted(getattr(self, "into", ()))


def test_the_register_says_what_a_plain_model_says_however_people_come_and_are_merged(network: Network) -> None:
    small = settings(max_examples=400 if SOAK else 8, stateful_step_count=25)
    run_state_machine_as_test(partial(Register, network), settings=small)
