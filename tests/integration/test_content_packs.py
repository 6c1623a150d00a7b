"""Words of instruments over gRPC: installed by a site for itself, on its own permission."""

from typing import Any
from uuid import uuid4

import pytest

from stepway.intake.v1 import content_pack_pb2
from stepway.intake.v1.assessment_pb2 import INSTRUMENT_AUDIT, INSTRUMENT_PHQ_9, INSTRUMENT_SCOFF
from stepway.intake.v1.assessment_service_pb2 import RecordAssessmentRequest
from stepway.intake.v1.instrument_service_pb2 import GetInstrumentRequest
from stepway_chassis.errors import InvalidInput
from tests.cases import At, a_content_pack
from tests.network import LAKESIDE, NORTHSIDE, Network, a_referral


async def instrument(network: Network, which: int, *, site: str = NORTHSIDE, language: str = "en") -> Any:
    request = GetInstrumentRequest(instrument=which, language=language)
    return await At(network, site).call("intake", "InstrumentService/GetInstrument", request)


async def install(network: Network, **changes: Any) -> Any:
    request = a_content_pack(**changes)
    return await At(network, NORTHSIDE).call(
        "intake", "InstrumentService/InstallContentPack", request, role="site_lead"
    )


async def test_an_instrument_is_told_with_its_items_and_the_words_that_may_be_shipped(network: Network) -> None:
    told = await instrument(network, INSTRUMENT_PHQ_9)
    assert (told.licence, told.panel_loinc) == (content_pack_pb2.INSTRUMENT_LICENCE_PUBLIC, "44249-1")
    assert [list(item.values) for item in told.items] == [[0, 1, 2, 3]] * 10
    assert "Pfizer" in told.notice
    audit = await instrument(network, INSTRUMENT_AUDIT)
    assert list(audit.items[9].values) == [0, 2, 4]
    assert len(audit.wording[9].answers) == 3


async def test_words_are_shown_at_the_site_that_installed_them_and_nowhere_else(network: Network) -> None:
    language = f"en-x{uuid4().hex[:6]}"
    before = await instrument(network, INSTRUMENT_SCOFF, language=language)
    assert (before.licence, len(before.wording)) == (content_pack_pb2.INSTRUMENT_LICENCE_PERMISSION_REQUIRED, 0)
    pack = (await install(network, language=language, notice="shown by leave")).content_pack
    assert (pack.permission, pack.installed_by) == ("letter 17/2026", "site_lead-northside")
    after = await instrument(network, INSTRUMENT_SCOFF, language=language)
    assert ([each.item for each in after.wording], after.notice) == ([1, 2, 3, 4, 5], "shown by leave")
    elsewhere = await instrument(network, INSTRUMENT_SCOFF, language=language, site=LAKESIDE)
    assert not elsewhere.wording


async def test_without_a_permission_nothing_is_installed_and_it_is_scored_all_the_same(network: Network) -> None:
    with pytest.raises(InvalidInput, match="PERMISSION_MISSING"):
        await install(network, permission="", language="cy")
    assert not (await instrument(network, INSTRUMENT_SCOFF, language="cy")).wording
    referral = (await At(network, NORTHSIDE).call("intake", "ReferralService/ReceiveReferral", a_referral())).referral
    answers = [{"item": item, "value": 1} for item in range(1, 6)]
    form = RecordAssessmentRequest(
        request_id=str(uuid4()), referral_id=referral.id, instrument=INSTRUMENT_SCOFF, answers=answers
    )
    made = await At(network, NORTHSIDE).call("intake", "AssessmentService/RecordAssessment", form)
    assert made.assessment.score.total == 5
