"""What the demo says it has checked: each promise about the programme can be kept, broken or untried."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from stepway_cli.demo.inputs import one_open_one_closed
from stepway_cli.demo.programme_promises import paged, passed_on, seats, withdrawn
from stepway_cli.demo.trials import Endangered, Returned, Withdrawn
from stepway_cli.sites import read_sites
from tests.data import REPOSITORY

RECORDS = one_open_one_closed(read_sites([REPOSITORY / "deploy" / "sites"]), datetime(2026, 11, 24, tzinfo=UTC))
TRACKS = [{"id": "t", "seats": 2, "seats_taken": 2}]
HELD = [{"track_id": "t"}, {"track_id": "t"}]
RETURNED = Returned(1, ["first", "second"], ["second"])
WITHDRAWN = Withdrawn("", "INVITATION_NOT_FOUND", 0.6, 1, 1)
FIRST, SECOND = ((each["clinician"], each["email"]) for each in RECORDS[0].settings["on_call"])
LEFT = {"flag": RECORDS[0].site}
PAGE = {
    "risk_flag_id": "flag",
    "clinicians": [FIRST[0], SECOND[0]],
    "delivered_to": [FIRST[1], SECOND[1]],
    "acknowledged_by": SECOND[0],
}


def test_what_the_run_could_not_try_is_neither_kept_nor_broken() -> None:
    untried = [seats(TRACKS, HELD, None), withdrawn(None), paged(None), passed_on(RECORDS, [], {})]
    assert [promise.kept for promise in untried] == [None] * 4
    assert seats(TRACKS, HELD, replace(RETURNED, waited_before=[], waited_after=[])).kept is None


def test_what_came_about_as_promised_is_kept() -> None:
    tried = [seats(TRACKS, HELD, RETURNED), withdrawn(WITHDRAWN), paged(Endangered(0.8, 1))]
    assert [promise.kept for promise in [*tried, passed_on(RECORDS, [PAGE], LEFT)]] == [True] * 4


@pytest.mark.parametrize(
    "changes",
    [
        {"answered": 2},
        {"waited_after": ["first", "second"]},
        {"waited_after": ["first"]},
        {"waited_after": []},
    ],
)
def test_a_seat_given_back_twice_or_to_another_than_the_first_breaks_the_promise(changes: dict[str, object]) -> None:
    assert seats(TRACKS, HELD, replace(RETURNED, **changes)).kept is False  # type: ignore[arg-type]


@pytest.mark.parametrize("returned", [None, RETURNED])
def test_a_seat_sold_twice_breaks_the_promise_whoever_waits(returned: Returned | None) -> None:
    assert seats(TRACKS, [*HELD, {"track_id": "t"}], returned).kept is False


@pytest.mark.parametrize(
    "changes",
    [{"read_before": "X"}, {"read_after": ""}, {"seconds": 2.6}, {"withheld_after": 0}, {"queued_before": 0}],
)
def test_what_is_read_or_sent_after_a_revocation_breaks_the_promise(changes: dict[str, object]) -> None:
    assert withdrawn(replace(WITHDRAWN, **changes)).kept is False  # type: ignore[arg-type]


@pytest.mark.parametrize("tried", [Endangered(None, 1), Endangered(15.1, 1), Endangered(0.8, 0)])
def test_no_page_a_late_one_or_one_that_needed_nats_breaks_the_promise(tried: Endangered) -> None:
    assert paged(tried).kept is False


@pytest.mark.parametrize(
    "changes",
    [
        {"clinicians": [FIRST[0]]},
        {"delivered_to": [FIRST[1]]},
        {"acknowledged_by": FIRST[0]},
        {"acknowledged_by": None},
        {"risk_flag_id": "another"},
    ],
)
def test_a_page_that_did_not_go_on_breaks_the_promise(changes: dict[str, object]) -> None:
    assert passed_on(RECORDS, [{**PAGE, **changes}], LEFT).kept is False
