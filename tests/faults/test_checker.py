"""Each check of the fault rows can fail: whatever is taken away, doubled or swapped in what was seen, it says so."""

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from stepway.scheduling.v1.track_pb2 import DAYPART_EVENING
from tests.faults import checker
from tests.faults.commands import Commands
from tests.faults.history import History, Kind, Outcome
from tests.faults.observed import HandedOver, Observed, Row
from tests.faults.stage import Stage
from tests.network import NORTHSIDE

Breaking = Callable[[History, Observed], None]
BREAKINGS: dict[str, Breaking] = {}


def breaking(expected: str) -> Callable[[Breaking], Breaking]:
    """Registers a way to break what was seen; `expected` stands in the fault that has to be found."""

    def register(break_: Breaking) -> Breaking:
        BREAKINGS[expected] = break_
        return break_

    return register


def _first(rows: list[Row], wanted: Callable[[Row], Any]) -> Row:
    return next(row for row in rows if wanted(row))


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


@breaking("its events lie in the stream as [2, 1")
def _two_events_of_one_aggregate_are_swapped(_: History, seen: Observed) -> None:
    second = next(
        index
        for index, event in enumerate(seen.stream)
        if event.sequence == 2 and "/audit_chain/" not in event.aggregate
    )
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


@breaking("was said to have moved 2 times")
def _a_move_is_announced_twice(_: History, seen: Observed) -> None:
    moved = seen.announced("intake", "referral_moved")
    once = next(event for event in moved if [each.about for each in moved].count(event.about) == 1)
    seen.stream.append(replace(once, id="another", sequence=once.sequence + 1))


@breaking("referral_received")
def _a_welcome_is_written_twice(_: History, seen: Observed) -> None:
    messages = seen.tables["notifications"]["message"]
    messages.append(_rows(seen, "notifications", "message", template="referral_received")[0] | {"id": "another"})


@breaking("0 escalations")
def _nobody_is_paged(_: History, seen: Observed) -> None:
    _drop(seen, "notifications", "escalation")


@breaking("2 pages, advanced 0 times, and it counts 1")
def _a_page_is_written_twice(_: History, seen: Observed) -> None:
    messages = seen.tables["notifications"]["message"]
    messages.append(_rows(seen, "notifications", "message", template="escalation_page")[0] | {"id": "another"})


@breaking("and knows of None")
def _a_flag_never_hears_that_it_was_taken(_: History, seen: Observed) -> None:
    _first(_rows(seen, "intake", "risk_flag"), lambda row: row["acknowledged_by"])["acknowledged_by"] = None


@breaking(") is queued")
def _a_message_stays_behind(_: History, seen: Observed) -> None:
    _rows(seen, "notifications", "message")[0]["status"] = "queued"


@breaking("delivered, and not there")
def _a_text_is_said_to_be_delivered_and_is_not_there(_: History, seen: Observed) -> None:
    texts = [out.message for out in seen.texts]
    gone = next(row["id"] for row in _rows(seen, "notifications", "message", status="delivered") if row["id"] in texts)
    seen.texts[:] = [out for out in seen.texts if out.message != gone]


@breaking("there, and of no message")
def _a_mail_is_sent_for_a_message_that_was_rolled_back(_: History, seen: Observed) -> None:
    seen.mails.append(HandedOver("another", datetime.now(UTC)))


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


@breaking("level_of_care_decided of another: announced 0 times")
def _a_decision_is_not_announced(_: History, seen: Observed) -> None:
    _double(seen, "intake", "level_of_care_decision", id="another")


@breaking("consent_revoked of")
def _a_revocation_is_announced_of_a_consent_that_stands(_: History, seen: Observed) -> None:
    _first(_rows(seen, "intake", "consent"), lambda row: row["revoked_at"])["revoked_at"] = None


@breaking("0 enrolments")
def _an_admission_gets_no_seat_and_no_place_in_the_line(_: History, seen: Observed) -> None:
    _drop(seen, "scheduling", "enrollment")


@breaking("2 enrolments")
def _an_admission_gets_two_seats(_: History, seen: Observed) -> None:
    _double(seen, "scheduling", "enrollment", id="another")


@breaking("and not at first")
def _somebody_with_a_seat_is_told_to_wait(_: History, seen: Observed) -> None:
    event = seen.announced("scheduling", "enrollment_waitlisted")[0]
    seen.stream.append(replace(event, id="another", sequence=9))


@breaking("hold a seat")
def _a_seat_is_counted_that_nobody_holds(_: History, seen: Observed) -> None:
    _rows(seen, "scheduling", "track", daypart="evening", seats=2)[0]["seats_taken"] -= 1


@breaking("of 0 are taken")
def _more_seats_are_given_than_there_are(_: History, seen: Observed) -> None:
    _first(_rows(seen, "scheduling", "track"), lambda row: row["seats_taken"])["seats"] = 0


@breaking("a seat that suits is free")
def _somebody_waits_beside_a_free_seat(_: History, seen: Observed) -> None:
    _rows(seen, "scheduling", "enrollment", status="waitlisted")[0]["availability"] = ["morning"]


@breaking("it has a seat that does not suit")
def _somebody_gets_a_seat_at_another_time(_: History, seen: Observed) -> None:
    _rows(seen, "scheduling", "enrollment", status="confirmed")[0]["availability"] = ["weekend"]


@breaking("0 treatment plans")
def _nobody_opens_a_plan(_: History, seen: Observed) -> None:
    _drop(seen, "care", "treatment_plan")


@breaking("2 treatment plans")
def _two_plans_are_opened(_: History, seen: Observed) -> None:
    _double(seen, "care", "treatment_plan", id="another")


@breaking("and family has heard")
def _family_does_not_hear_of_a_revocation(_: History, seen: Observed) -> None:
    _first(_rows(seen, "family", "consent_link"), lambda row: row["revoked"])["revoked"] = None


@breaking("do not agree whether they were admitted")
def _family_does_not_hear_of_an_admission(_: History, seen: Observed) -> None:
    _drop(seen, "family", "patient")


@breaking("invited 2 times")
def _a_family_member_is_invited_twice(_: History, seen: Observed) -> None:
    _double(seen, "family", "invitation", id="another")


@breaking("no consent covered it")
def _somebody_is_invited_whom_no_consent_names(_: History, seen: Observed) -> None:
    _rows(seen, "family", "invitation")[0]["patient_id"] = "another"


@breaking("invited, ")
def _a_family_member_has_no_seat_in_the_group(_: History, seen: Observed) -> None:
    _first(_rows(seen, "family", "family_group"), lambda row: row["seats_taken"])["seats_taken"] -= 1


@breaking("may come and is not invited")
def _a_family_member_is_forgotten(history: History, seen: Observed) -> None:
    for group in _rows(seen, "family", "family_group"):
        group["seats"] = 100
    invited = _rows(seen, "family", "invitation")
    standing = {row["family_member_id"] for row in _standing(seen)}
    invited.remove(_first(invited, lambda row: row["family_member_id"] in standing))
    seen.tables["family"]["invitation"][:] = invited


@breaking("enrollment_confirmed")
def _somebody_is_told_twice_of_their_seat(_: History, seen: Observed) -> None:
    messages = seen.tables["notifications"]["message"]
    messages.append(_rows(seen, "notifications", "message", template="enrollment_confirmed")[0] | {"id": "another"})


@breaking("enrollment_waitlisted")
def _somebody_who_waits_is_never_told(_: History, seen: Observed) -> None:
    waiting = {row["patient_id"] for row in _rows(seen, "scheduling", "enrollment", status="waitlisted")}
    messages = seen.tables["notifications"]["message"]
    told = _rows(seen, "notifications", "message", template="enrollment_waitlisted")
    messages.remove(_first(told, lambda row: row["patient_id"] in waiting))


@breaking("which nobody announced")
def _somebody_is_told_of_a_seat_that_was_rolled_back(_: History, seen: Observed) -> None:
    _rows(seen, "notifications", "message", template="enrollment_confirmed")[0]["causation"] = "another"


@breaking("family_member_invited")
def _a_family_member_is_not_written_to(_: History, seen: Observed) -> None:
    standing = {row["family_member_id"] for row in _standing(seen)}
    messages = seen.tables["notifications"]["message"]
    messages.remove(_first(messages, lambda row: row["family_member_id"] in standing))


@breaking("when no consent covered it")
def _a_family_member_is_written_to_after_the_revocation(history: History, seen: Observed) -> None:
    to_family = {row["id"] for row in _rows(seen, "notifications", "message") if row["family_member_id"]}
    index = next(index for index, out in enumerate(seen.texts) if out.message in to_family)
    member = _rows(seen, "notifications", "message", id=seen.texts[index].message)[0]["family_member_id"]
    for consent in _rows(seen, "intake", "consent", family_member_id=member):
        revoked = _revoked(history, consent["id"])
        consent["revoked_at"] = revoked.isoformat()
    seen.texts[index] = HandedOver(seen.texts[index].message, datetime.now(UTC))


def _revoked(history: History, consent: str) -> datetime:
    """As if this consent had been revoked, and its caller had known it, at the beginning of the history."""
    at = history.commands[0].sent_at
    known = next((each for each in history.acknowledged(Kind.REVOKE) if each.ids["id"] == consent), None)
    command = known or copy.copy(history.acknowledged(Kind.REVOKE)[0])
    command.ids, command.answered_at = {"id": consent}, at
    if known is None:
        history.commands.append(command)
    return at


@breaking(") is withheld")
def _a_message_is_withheld_that_a_consent_covers(_: History, seen: Observed) -> None:
    standing = {row["family_member_id"] for row in _standing(seen)}
    messages = _rows(seen, "notifications", "message")
    _first(messages, lambda row: row["family_member_id"] in standing)["status"] = "withheld"


@breaking(") is expired")
def _a_page_is_called_off_that_nobody_has_taken(_: History, seen: Observed) -> None:
    _first(_rows(seen, "notifications", "escalation"), lambda row: row["acknowledged_by"])["acknowledged_by"] = None
    for page in _rows(seen, "notifications", "message", template="escalation_page"):
        page["status"] = "expired"


@breaking("paged_at is None")
def _a_page_came_out_and_is_not_known_to(_: History, seen: Observed) -> None:
    _first(_rows(seen, "notifications", "escalation"), lambda row: row["paged_at"])["paged_at"] = None


@breaking("intake does not know that it was paged")
def _intake_never_hears_that_somebody_was_paged(_: History, seen: Observed) -> None:
    flags = _rows(seen, "intake", "risk_flag", urgency="page", acknowledged_by=None)
    flags[0]["paged_at"] = None


@breaking("advanced 1 times")
def _a_ladder_is_said_to_be_climbed_and_is_not(_: History, seen: Observed) -> None:
    event = seen.announced("notifications", "escalation_raised")[0]
    seen.stream.append(replace(event, id="another", token="escalation_advanced", sequence=9))


@breaking("inviting happened")
def _somebody_is_invited_and_nobody_can_tell_by_whom(_: History, seen: Observed) -> None:
    _unaudited(seen, "family", "inviting")


@breaking("sending/delivered happened")
def _a_message_goes_to_a_family_and_leaves_no_trace(_: History, seen: Observed) -> None:
    to_family = _first(_rows(seen, "notifications", "message"), lambda row: row["family_member_id"])
    rows = seen.tables["notifications"]["audit"]
    rows.remove(
        _first(rows, lambda row: row["action"] == "sending/delivered" and to_family["patient_id"] in row["people"])
    )


@breaking("paging/delivered happened")
def _a_page_goes_out_and_leaves_no_trace(_: History, seen: Observed) -> None:
    _unaudited(seen, "notifications", "paging/delivered")


@breaking("escalating happened 0 times, audited 1 times")
def _a_ladder_is_climbed_in_the_audit_alone(_: History, seen: Observed) -> None:
    _rows(seen, "notifications", "audit", action="paging/delivered")[0]["action"] = "escalating"


@breaking("that it was paged is not in the audit")
def _a_flag_is_changed_and_nobody_can_tell_by_whom(_: History, seen: Observed) -> None:
    rows = seen.tables["intake"]["audit"]
    rows[:] = [row for row in rows if row["action"] != "watchdog"]


def _unaudited(seen: Observed, service: str, action: str) -> None:
    _drop(seen, service, "audit", action=action, outcome="DONE")


def _standing(seen: Observed) -> list[Row]:
    """Consents to be invited whose recipient has lost none, and whose patient is in the programme."""
    consents = _rows(seen, "intake", "consent")
    lost = {row["family_member_id"] for row in consents if row["revoked_at"] or "schedule" not in row["categories"]}
    admitted = {row["patient_id"] for row in _rows(seen, "intake", "admission")}
    return [row for row in consents if row["family_member_id"] not in lost and row["patient_id"] in admitted]


@pytest.fixture(scope="module")
async def lived(stage: Stage) -> tuple[History, Observed]:
    """A history with every kind of command, and what it left behind: what the rows before have sent, or as much."""
    commands = Commands(stage.history, random.Random(7))
    async with stage.loaded("a quiet day", 7) as load:
        load.issue(max(0, 240 - len(stage.history.commands)))
        for _ in range(6):  # more than there are seats in the evening
            await stage.take_in(commands, NORTHSIDE, DAYPART_EVENING)
    seen = await stage.settled()
    print(checker.summary(stage.history))
    assert {command.kind for command in stage.history.commands} == set(Kind)
    return stage.history, seen


@pytest.mark.parametrize("expected", BREAKINGS)
async def test_what_is_broken_is_found(lived: tuple[History, Observed], expected: str) -> None:
    history, seen = copy.deepcopy(lived)
    BREAKINGS[expected](history, seen)
    assert any(expected in fault for fault in checker.faults(history, seen))


async def test_what_is_whole_is_not_complained_about(lived: tuple[History, Observed]) -> None:
    assert checker.faults(*lived) == []
