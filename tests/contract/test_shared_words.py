"""Where several services use one word of a contract, each knows all of its values, and only its owner defines it."""

import re

import pytest

from stepway.scheduling.v1.track_pb2 import Daypart
from stepway_cli.services import SERVICES
from stepway_intake.domain.admissions import Daypart as Intakes
from stepway_scheduling.domain import Daypart as Schedulings
from tests.data import REPOSITORY

BORROWED = {("intake", "scheduling")}
"""Whose contracts use an enum of whose; the other way round there is nothing."""


@pytest.mark.parametrize("known", [Intakes, Schedulings])
def test_every_part_of_the_week_is_known_to_whoever_speaks_of_it(known: type[Intakes] | type[Schedulings]) -> None:
    assert {f"DAYPART_{each.name}" for each in known} == set(Daypart.keys()) - {"DAYPART_UNSPECIFIED"}


def test_no_other_contract_uses_a_word_of_another_service() -> None:
    found = set[tuple[str, str]]()
    for service in SERVICES:
        for file in (REPOSITORY / "protos" / "stepway" / service).rglob("*.proto"):
            owners = re.findall(r'^import "stepway/(\w+)/', file.read_text(), re.MULTILINE)
            found |= {(service, owner) for owner in owners if owner in SERVICES and owner != service}
    assert found == BORROWED
