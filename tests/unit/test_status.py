"""When a row of `stepway status` is not well, how far behind a lane is, and how it looks."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from nats.js.api import ConsumerConfig, ConsumerInfo
from rich.console import Console

from stepway_chassis.consumers import durable
from stepway_cli import report
from stepway_cli.lags import Lags, behind
from stepway_cli.listeners import handlers
from stepway_cli.scrape import by_site
from stepway_cli.status import Part, Row, Status

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
WELL = Row("northside", "intake", "shared", "active", 1, 0, 0, 0.0, 0, 0, 2)
CARE = [handler.subject("*") for handler in handlers()["care"]]


def a_consumer(name: str, pending: int, unacknowledged: int = 0) -> ConsumerInfo:
    config = ConsumerConfig(durable_name=name)
    return ConsumerInfo(name, "EVENTS", config, NOON, num_pending=pending, num_ack_pending=unacknowledged)


@pytest.mark.parametrize("busy", [{}, {"lag": 40}, {"unpublished": 5, "oldest_seconds": 59.0}])
def test_work_under_way_is_well(busy: dict[str, Any]) -> None:
    row = replace(WELL, **busy)
    assert list(row.faults) == []
    assert Status([Part("intake", True, "serving")], [row]).well


@pytest.mark.parametrize(
    "fault", [{"state": "draining"}, {"lag": None}, {"oldest_seconds": 61.0}, {"blocked": 1}, {"dead_letters": 1}]
)
def test_what_somebody_has_to_look_at_is_not_well(fault: dict[str, Any]) -> None:
    row = replace(WELL, **fault)
    assert list(row.faults) == list(fault)
    assert not Status([], [WELL, row]).well


def test_a_part_that_does_not_answer_is_not_well() -> None:
    assert not Status([Part("NATS", False, "does not answer")], [WELL]).well


def test_the_lag_is_what_was_not_acknowledged_in_the_generation_of_today() -> None:
    today = durable("care", "north-side", False, CARE)
    found = behind([a_consumer(today, 3, 2), a_consumer("care-north-side-normal-00000000", 99), a_consumer("x", 7)])
    assert found == {("care", "north-side", "normal"): 5}


def test_the_lag_of_a_cell_of_another_version_is_that_of_the_generation_it_pulls_from() -> None:
    left = a_consumer(durable("care", "northside", False, CARE), 99)
    other = a_consumer("care-northside-normal-00000000", 4)
    for pulled, lag in ((replace(other, num_waiting=1), 4), (replace(other, num_ack_pending=8), 12)):
        assert behind([left, pulled]) == behind([pulled, left]) == {("care", "northside", "normal"): lag}


def test_another_generation_counts_where_there_is_no_other() -> None:
    assert behind([a_consumer("care-northside-normal-00000000", 9)]) == {("care", "northside", "normal"): 9}


def test_a_service_that_does_not_listen_has_no_lag() -> None:
    lags = Lags(events=0, durables=1, behind={("care", "northside", "normal"): 4})
    assert lags.of("care", "northside") == 4
    assert lags.of("care", "lakeside") is None


def test_a_gauge_is_read_by_site() -> None:
    text = 'a{stepway_site="north"} 1\na{stepway_site="north",lane="b"} 2\na{stepway_site="south"} 0\nb 1\n'
    assert by_site(text, "a") == {"north": 3.0, "south": 0.0}


@pytest.mark.parametrize(
    "busy",
    [
        *({"lag": 1}, {"unpublished": 1}, {"open_risk_flags": 1}, {"cell": "west"}, {"state": "draining"}),
        *({"open_risk_flags": None}, {"dead_letters": None}),
    ],
)
def test_of_many_sites_one_screen_has_those_that_have_something_to_tell(busy: dict[str, Any]) -> None:
    quiet = replace(WELL, open_risk_flags=0)
    many = [replace(quiet, site=f"site-{number:03d}") for number in range(200)]
    many[150] = replace(many[150], **busy)
    console = Console(width=200)
    with console.capture() as captured:
        console.print(report.status_screen(Status([], many)))
    shown = captured.get()
    assert [line.split()[0] for line in shown.splitlines() if line.startswith("site-")] == ["site-150"]
    assert "sites of which there is nothing to tell: 199" in shown


def test_one_screen_fits_a_hundred_columns_and_marks_what_is_not_well() -> None:
    parts = [Part("notifications", True, "serving at 127.0.0.1:7405"), Part("NATS", False, "does not answer")]
    ill = replace(
        WELL,
        service="notifications",
        lag=None,
        unpublished=12,
        oldest_seconds=4000.0,
        dead_letters=3,
        open_risk_flags=None,
    )
    console = Console(width=200)
    with console.capture() as captured:
        console.print(report.status_screen(Status(parts, [WELL, ill])))
    lines = captured.get().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 100
    assert [line.count("!") for line in lines if line.startswith("northside")] == [0, 3]
