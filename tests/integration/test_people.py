"""The register of people over the socket: who is kept how, who is found, and who is there twice."""

import asyncio
import json
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

from stepway.intake.v1 import person_pb2
from stepway.intake.v1.person_service_pb2 import (
    FindDuplicatesRequest,
    FindDuplicatesResponse,
    FindPeopleRequest,
    GetPersonRequest,
    GetPersonResponse,
    MergePeopleRequest,
)
from stepway.intake.v1.referral_service_pb2 import ReceiveReferralResponse, ReferAgainRequest
from stepway_chassis.errors import Conflict, InvalidInput, NotFound
from tests.calls import send
from tests.conftest import SOAK
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral
from tests.people import PEOPLE, RECEIVE, REFER_AGAIN, corrected, person, received


def a_name() -> str:
    """Nobody else's in this run."""
    return "Q" + "".join(random.SystemRandom().choices("abcdefghijklmnopqrstuvwxyz", k=12))


def a_phone() -> str:
    return "+49" + "".join(random.SystemRandom().choices("123456789", k=10))


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


async def test_what_is_put_right_is_found_and_announced_without_a_word_of_it_and_what_was_wrong_is_not(
    network: Network,
) -> None:
    wrong, right, phone, former = a_name(), a_name(), a_phone(), a_phone()
    kept = await received(network, family_name=wrong, contact_points=[{"phone": former}])
    gone = (await received(network, family_name=a_name(), contact_points=[{"phone": phone}])).patient_id
    merge = MergePeopleRequest(request_id=str(uuid4()), patient_id=kept.patient_id, merged_patient_id=gone)
    await network.call(f"{PEOPLE}/MergePeople", merge, role="clinician")
    read = await person(network, gone)
    after = await corrected(network, read, "NAME", "CONTACT_POINTS", "GENDER", family_name=right, contact_points=[])
    assert (after.patient_id, after.person.family_name) == (kept.patient_id, right)
    assert after == await person(network, kept.patient_id)
    for by, them in (({"name": f"Ana {right}"}, {kept.patient_id}), ({"phone": phone}, {kept.patient_id})):
        assert await found(network, **by) == them
    assert await found(network, name=f"Ana {wrong}") == await found(network, phone=former) == set()
    said = f"SELECT convert_from(payload, 'UTF8') AS it FROM outbox WHERE aggregate_id = '{kept.patient_id}'"
    (announced,) = [json.loads(row["it"]) for row in network.rows("intake", said)]
    assert announced["facts"] == ["PERSON_FACT_NAME", "PERSON_FACT_CONTACT_POINTS"]
    assert announced.keys() == {"patientId", "facts", "updatedAt"}


async def test_of_two_who_put_something_right_at_once_one_is_told_to_read_it_again(network: Network) -> None:
    read = await person(network, (await received(network)).patient_id)
    outcomes = await asyncio.gather(
        corrected(network, read, "NAME", family_name="Vexmore"),
        corrected(network, read, "BIRTH_DATE", birth_date="1991-04-01"),
        return_exceptions=True,
    )
    (refused,) = [each for each in outcomes if isinstance(each, Conflict)]
    assert refused.reason == "PERSON_CHANGED"
    (now,) = [each.person for each in outcomes if not isinstance(each, BaseException)]
    assert (now.family_name, now.birth_date) in (("Vexmore", "1990-04-01"), ("Vexmoor", "1991-04-01"))


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
