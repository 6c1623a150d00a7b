"""Each check of the fault rows can fail: whatever is taken away, doubled or swapped in what was seen, it says so."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.faults import checker
from tests.faults.history import History, Kind, Outcome
from tests.faults.observed import Observed, Row
from tests.faults.stage import Stage

Breaking = Callable[[History, Observed], None]
BREAKINGS: dict[str, Breaking] = {}


def breaking(expected: str) -> Callable[[Breaking], Breaking]:
    """Registers a way to break what was seen; `expected` stands in the fault that has to be found."""

    def register(break_: Breaking) -> Breaking:
        BREAKINGS[expected] = break_
        return break_

    return register


def _rows(seen: Observed, service: str, table: str, **wanted: Any) -> list[Row]:
    rows = seen.tables[service][table]
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def _drop(seen: Observed, service: str, table: str, **wanted: Any) -> None:
    seen.tables[service][table].remove(_rows(seen, service, table, **wanted)[0])


def _double(seen: Observed, service: str, table: str, **changes: Any) -> None:
    seen.tables[service][table].append(seen.tables[service][table][0] | changes)


@breaking("its effect is there 0 times")
def _an_acknowledged_write_is_lost(_: History, seen: Observed) -> None:
    _drop(seen, "intake", "assessment")


@breaking("its effect is there 2 times")
def _a_command_is_done_twice(_: History, seen: Observed) -> None:
    _double(seen, "intake", "referral", id="another")


@breaking("the answer named")
def _a_repeat_is_answered_with_another_id(history: History, _: Observed) -> None:
    command = next(each for each in history.commands if each.outcome is Outcome.ACKNOWLEDGED)
    command.ids = {**command.ids, "id": "another"}


@breaking("nobody sent this command")
def _an_effect_comes_from_nowhere(history: History, _: Observed) -> None:
    history.commands.pop()


@breaking("a good command was refused")
def _a_good_command_is_refused(history: History, _: Observed) -> None:
    history.commands[0].outcome = Outcome.REFUSED


@breaking("the caller heard of a defect")
def _a_caller_hears_of_a_defect(history: History, _: Observed) -> None:
    history.commands[0].heard.append("INTERNAL")


@breaking("was committed and is not in the stream")
def _an_event_is_lost_on_the_way(_: History, seen: Observed) -> None:
    seen.stream.pop()


@breaking("is in the stream and in no outbox")
def _an_event_is_published_and_was_rolled_back(_: History, seen: Observed) -> None:
    _drop(seen, "intake", "outbox")


@breaking("is in the stream 2 times")
def _an_event_is_stored_twice(_: History, seen: Observed) -> None:
    seen.stream.append(replace(seen.stream[0], seq=seen.stream[-1].seq + 1))


@breaking("is not marked as published")
def _a_row_is_never_marked(_: History, seen: Observed) -> None:
    _rows(seen, "intake", "outbox")[0]["published_at"] = None


@breaking("and lies at")
def _a_row_is_marked_before_it_is_stored(_: History, seen: Observed) -> None:
    _rows(seen, "intake", "outbox")[0]["stream_seq"] = 999_999


@breaking("is blocked")
def _an_aggregate_is_parked(_: History, seen: Observed) -> None:
    seen.tables["intake"]["outbox_blocked"].append({"aggregate_id": "one", "reason": "BadRequestError"})


@breaking("its events lie in the stream as [2, 1]")
def _two_events_of_one_aggregate_are_swapped(_: History, seen: Observed) -> None:
    second = next(index for index, event in enumerate(seen.stream) if event.sequence == 2)
    first = next(index for index, event in enumerate(seen.stream) if event.aggregate == seen.stream[second].aggregate)
    seen.stream[first], seen.stream[second] = seen.stream[second], seen.stream[first]


@breaking("its head counts")
def _the_last_event_of_an_aggregate_was_never_written(_: History, seen: Observed) -> None:
    _rows(seen, "intake", "event_head")[0]["seq"] += 1


@breaking("was never handled")
def _an_event_is_acknowledged_before_it_is_handled(_: History, seen: Observed) -> None:
    _drop(seen, "notifications", "inbox")


@breaking("was handled and is not in the stream")
def _something_else_is_handled(_: History, seen: Observed) -> None:
    _double(seen, "notifications", "inbox", event_id="another")


@breaking("announced 0 times")
def _a_change_is_not_announced(_: History, seen: Observed) -> None:
    _double(seen, "intake", "risk_flag", id="another")


@breaking("announced 2 times")
def _a_change_is_announced_twice(_: History, seen: Observed) -> None:
    event = seen.announced("notifications", "message_delivered")[0]
    seen.stream.append(replace(event, id="another", sequence=2))


@breaking("messages, found")
def _a_welcome_is_written_twice(_: History, seen: Observed) -> None:
    messages = seen.tables["notifications"]["message"]
    messages.append(_rows(seen, "notifications", "message", template="referral_received")[0] | {"id": "another"})


@breaking("0 escalations")
def _nobody_is_paged(_: History, seen: Observed) -> None:
    _drop(seen, "notifications", "escalation")


@breaking("2 pages")
def _a_page_is_written_twice(_: History, seen: Observed) -> None:
    messages = seen.tables["notifications"]["message"]
    messages.append(_rows(seen, "notifications", "message", template="escalation_page")[0] | {"id": "another"})


@breaking("and knows of None")
def _a_flag_never_hears_that_it_was_taken(_: History, seen: Observed) -> None:
    next(flag for flag in _rows(seen, "intake", "risk_flag") if flag["acknowledged_by"])["acknowledged_by"] = None


@breaking("is queued")
def _a_message_stays_behind(_: History, seen: Observed) -> None:
    _rows(seen, "notifications", "message")[0]["status"] = "queued"


@breaking("delivered, and not there")
def _a_text_is_said_to_be_delivered_and_is_not_there(_: History, seen: Observed) -> None:
    seen.texts.pop()


@breaking("there, and of no message")
def _a_mail_is_sent_for_a_message_that_was_rolled_back(_: History, seen: Observed) -> None:
    seen.mails.append("another")


@breaking("sms")
def _a_text_is_written_twice(_: History, seen: Observed) -> None:
    seen.texts.append(seen.texts[0])


@breaking("reason='HANDLER_FAILED'): there 1 times")
def _a_good_event_is_buried(_: History, seen: Observed) -> None:
    key = {"site": "northside", "consumer": "welcome_patient", "event_id": "one"}
    seen.tables["notifications"]["dead_letter"].append({**key, "reason": "HANDLER_FAILED"})


@breaking("still counts a failure")
def _a_failure_is_remembered_for_ever(_: History, seen: Observed) -> None:
    seen.tables["notifications"]["delivery_failure"].append({"consumer": "welcome_patient"})


@pytest.fixture(scope="module")
async def lived(stage: Stage) -> tuple[History, Observed]:
    """A history with every kind of command, and what it left behind."""
    async with stage.loaded("a quiet day", 7) as load:
        load.issue(120)
    seen = await stage.settled()
    assert {command.kind for command in stage.history.commands} == set(Kind)
    return stage.history, seen


@pytest.mark.parametrize("expected", BREAKINGS)
async def test_what_is_broken_is_found(lived: tuple[History, Observed], expected: str) -> None:
    history, seen = copy.deepcopy(lived)
    BREAKINGS[expected](history, seen)
    assert any(expected in fault for fault in checker.faults(history, seen))


async def test_what_is_whole_is_not_complained_about(lived: tuple[History, Observed]) -> None:
    assert checker.faults(*lived) == []
