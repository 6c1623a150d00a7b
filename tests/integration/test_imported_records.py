"""A record of another system becomes one referral, or one assessment, whoever sends it and however often."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from stepway.intake.v1.import_service_pb2 import FindImportedRequest
from stepway_chassis.errors import Conflict, InvalidInput
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral, phq_9

RECEIVE = "stepway.intake.v1.ReferralService/ReceiveReferral"
RECORD = "stepway.intake.v1.AssessmentService/RecordAssessment"
FIND = "stepway.intake.v1.ImportService/FindImported"


async def received(network: Network, import_id: str, subject: str = "", site: str = NORTHSIDE, **changes: Any) -> str:
    request = a_referral(import_id=import_id, **changes)
    answer = await network.call(RECEIVE, request, role="front_desk", site=site, subject=subject)
    return str(answer.referral.id)


async def recorded(network: Network, referral: str, import_id: str, values: list[int | None], subject: str = "") -> Any:
    request = phq_9(referral, values, import_id=import_id)
    return await network.call(RECORD, request, role="clinician", subject=subject)


def events(network: Network, aggregate: str) -> int:
    return len(network.rows("intake", f"SELECT 1 FROM outbox WHERE aggregate_id = '{aggregate}'"))


async def test_a_record_that_comes_again_from_somebody_else_and_changed_is_what_it_was(network: Network) -> None:
    record = str(uuid4())
    first = await received(network, record, "desk-anna")
    again = await received(network, record, "desk-bob", reason="in other words")
    assert again == first
    assert events(network, first) == 1
    assert network.rows("intake", f"SELECT reason FROM referral WHERE id = '{first}'") == [{"reason": "wants help"}]


async def test_of_twins_that_come_at_once_one_is_taken_in(network: Network) -> None:
    record = str(uuid4())
    ids = await asyncio.gather(*(received(network, record, f"desk-{number}") for number in range(6)))
    assert len(set(ids)) == 1
    assert events(network, ids[0]) == 1


async def test_answers_that_come_again_are_neither_scored_nor_flagged_again(network: Network) -> None:
    referral, record = await received(network, str(uuid4())), str(uuid4())
    first = await recorded(network, referral, record, [0] * 8 + [2])
    again = await recorded(network, referral, record, [0] * 8 + [2], "clinician-bo")
    assert (again.assessment.id, again.assessment.score.total) == (first.assessment.id, 2)
    flags = network.rows("intake", f"SELECT id FROM risk_flag WHERE referral_id = '{referral}'")
    assert [str(flag["id"]) for flag in flags] == [first.risk_flag_id]


async def test_another_site_knows_nothing_of_it(network: Network) -> None:
    record = str(uuid4())
    here = await received(network, record)
    assert await received(network, record, site=LAKESIDE) != here


async def test_one_import_id_is_not_for_two_kinds_of_record(network: Network) -> None:
    record = str(uuid4())
    referral = await received(network, record)
    with pytest.raises(Conflict, match="IMPORT_ID_REUSED"):
        await recorded(network, referral, record, [0] * 9)
    assert network.rows("intake", f"SELECT 1 FROM assessment WHERE referral_id = '{referral}'") == []


async def test_a_record_that_was_refused_may_come_again(network: Network) -> None:
    record = str(uuid4())
    with pytest.raises(InvalidInput, match="BIRTH_DATE_IMPOSSIBLE"):
        await received(network, record, person={"family_name": "Vexmoor", "birth_date": "1990-02-30"})
    assert await received(network, record)


async def test_it_can_be_asked_what_came_before(network: Network) -> None:
    known, answers, new = (str(uuid4()) for _ in range(3))
    referral = await received(network, known)
    assessment = (await recorded(network, referral, answers, [0] * 9)).assessment.id
    request = FindImportedRequest(import_ids=[known, answers, new])
    found = (await network.call(FIND, request, role="front_desk")).imported
    assert {(each.import_id, each.referral_id, each.assessment_id) for each in found} == {
        (known, referral, ""),
        (answers, referral, assessment),
    }
    elsewhere = await network.call(FIND, request, role="front_desk", site=LAKESIDE)
    assert list(elsewhere.imported) == []
