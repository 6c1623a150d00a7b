"""Row 22 of the fault matrix: keys are rotated under load, and no call fails."""

import asyncio
import time

import pytest

from stepway.intake.v1.referral_service_pb2 import ListReferralsRequest
from stepway_chassis.errors import Unauthenticated
from stepway_chassis.watched import LOOK_SECONDS
from stepway_cli.services import SERVICES
from stepway_cli.tokens import PEOPLE
from tests.conftest import SOAK
from tests.faults.stage import Stage
from tests.network import NORTHSIDE
from tests.waiting import until

SHARE = 20
ROTATED = (PEOPLE, *SERVICES) if SOAK else (PEOPLE, "intake", "notifications")
LIST = "stepway.intake.v1.ReferralService/ListReferrals"
LATE = {"DEADLINE_EXCEEDED", "BUSY"}  # a machine that has no time for a call has nothing against its key
FEW = 3


async def test_row_22_keys_are_rotated_and_retired_under_load_and_no_call_fails(stage: Stage, seed: int) -> None:
    keys, before = stage.platform.keys, len(stage.history.commands)
    old = stage.network.holding(stage.network.token("assessor", **{NORTHSIDE: ["clinician"]}))
    async with stage.loaded("row 22", seed) as load:
        for name in ROTATED:
            load.issue(SHARE)
            await load.under_way(SHARE // 4)
            await asyncio.to_thread(keys.rotate, name, believed=_seen)
            stage.network.forget_tokens()
            await load.finished()
            load.issue(SHARE)
            await asyncio.to_thread(_seen)
            load.issue(SHARE)
            await load.under_way(SHARE // 4)
            assert keys.retire(name) == [f"{name}-1"]
        load.issue(SHARE)
        await load.finished()
    waited = [command for command in stage.history.commands[before:] if command.heard]
    assert {reason for command in waited for reason in command.heard} <= LATE
    assert len(waited) <= FEW

    async def refused() -> bool:
        with pytest.raises(Unauthenticated) as refusal:
            await old.call(LIST, ListReferralsRequest(), site=NORTHSIDE)
        return refusal.value.reason == "TOKEN_UNTRUSTED"

    await until(refused)


def _seen() -> None:
    """Until every service looks at its keys before it believes or signs anything more."""
    time.sleep(2 * LOOK_SECONDS)
