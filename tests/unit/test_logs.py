"""What a log line says, and what it cannot be made to say."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import structlog

from stepway_chassis import logs, telemetry
from stepway_chassis.logs import log

PRIVATE = "Jane Roe, +1 555 0100"


class Lines(io.StringIO):
    def read_all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def only(self) -> dict[str, Any]:
        (line,) = self.read_all()
        return line


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    handlers = logging.getLogger().handlers[:]
    written = Lines()
    logs.configure("intake", "north", written)
    yield written
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()
    logging.captureWarnings(False)
    logging.getLogger().handlers[:] = handlers


def fail() -> None:
    secret = PRIVATE
    raise ValueError(secret)


def test_a_line_says_when_what_and_who(lines):
    log.info("outbox.drained", count=3, seconds=0.5, event_id=UUID(int=1))
    line = lines.only()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "outbox.drained",
        "service": "intake",
        "cell": "north",
        "count": 3,
        "seconds": 0.5,
        "event_id": "00000000-0000-0000-0000-000000000001",
    }


def test_a_line_carries_the_ids_of_the_current_span(lines):
    with telemetry.start("intake").span("work") as work:
        log.info("work.begun")
    line = lines.only()
    assert line["trace_id"] == work.trace_id
    assert len(line["span_id"]) == 16


def test_a_line_carries_what_is_bound_to_the_call(lines):
    with structlog.contextvars.bound_contextvars(site="northside", correlation_id="c-1", patient="p-1"):
        log.info("referral.received")
    line = lines.only()
    assert (line["site"], line["correlation_id"], line["dropped"]) == ("northside", "c-1", ["patient"])


def test_a_key_that_is_not_on_the_list_is_named_without_its_value(lines):
    log.info("referral.received", patient_name=PRIVATE, phone="+1 555 0100", **{PRIVATE: 1})
    assert lines.only()["dropped"] == ["?", "patient_name", "phone"]
    assert "Jane" not in lines.getvalue()
    assert "555 0100" not in lines.getvalue()


@pytest.mark.parametrize("value", [{"name": PRIVATE}, [PRIVATE], object(), PRIVATE.encode()])
def test_a_value_that_is_not_plain_is_dropped(lines, value):
    log.info("loop.ended", state=value)
    assert lines.only()["dropped"] == ["state"]
    assert "Jane" not in lines.getvalue()


@pytest.mark.parametrize("key", ["reason", "error_type", "code"])
def test_a_reason_or_a_code_is_one_word(lines, key):
    log.info("referral.refused", **{key: PRIVATE})
    assert lines.only()["dropped"] == [key]


def test_a_value_of_none_is_left_out(lines):
    log.info("loop.ended", site=None)
    assert lines.only().keys() == {"timestamp", "level", "event", "service", "cell"}


def test_a_long_value_is_cut(lines):
    log.info("loop.ended", state="x" * 500)
    assert lines.only()["state"] == "x" * logs.LONGEST_VALUE


@pytest.mark.parametrize("name", [PRIVATE, "received", "Referral.Received", f"referral.received {PRIVATE}"])
def test_an_event_that_is_not_noun_verb_is_replaced_and_its_place_is_named(lines, name):
    log.info(name)
    line = lines.only()
    assert line["event"] == "log.misnamed"
    assert line["frames"][0].endswith("test_an_event_that_is_not_noun_verb_is_replaced_and_its_place_is_named")
    assert "Jane" not in lines.getvalue()


def test_text_is_never_formatted_into_an_event(lines):
    log.info("referral.received %s", PRIVATE)
    assert lines.only()["event"] == "log.misnamed"
    assert "Jane" not in lines.getvalue()


def test_an_exception_leaves_its_class_and_frames_and_not_its_message(lines):
    try:
        fail()
    except ValueError:
        log.exception("referral.failed", frames=PRIVATE)
    line = lines.only()
    assert line["error_type"] == "ValueError"
    assert [frame.rsplit(" ", 1)[1] for frame in line["frames"]][-1] == "fail"
    assert line["frames"][-1].startswith(f"{__name__}:")
    assert "Jane" not in lines.getvalue()


def test_an_exception_alone_in_its_group_is_the_one_named(lines):
    log.error("loop.failed", exc_info=ExceptionGroup(PRIVATE, [ExceptionGroup("", [KeyError(PRIVATE)])]))
    assert lines.only()["error_type"] == "KeyError"


def test_only_the_innermost_frames_are_kept(lines):
    def dive(depth: int) -> None:
        dive(depth - 1) if depth else fail()

    with pytest.raises(ValueError, match="Jane") as caught:
        dive(20)
    log.error("loop.failed", exc_info=caught.value)
    frames = lines.only()["frames"]
    assert len(frames) == logs.INNERMOST_FRAMES
    assert frames[-1].endswith(" fail")


def test_a_library_says_that_it_logged_and_not_what(lines):
    try:
        fail()
    except ValueError:
        logging.getLogger("nats.aio").error(f"could not send {PRIVATE}: %s", PRIVATE, exc_info=True)
    line = lines.only()
    assert (line["event"], line["logger"], line["level"]) == ("library.logged", "nats.aio", "error")
    assert line["error_type"] == "ValueError"
    assert "Jane" not in lines.getvalue()


def test_a_library_may_log_at_a_level_of_its_own(lines):
    logging.getLogger("grpc").log(35, PRIVATE)
    assert lines.only()["level"] == "warning"


def test_chatter_is_dropped(lines):
    library = logging.getLogger("sqlalchemy.engine")
    library.setLevel(logging.DEBUG)
    library.info(PRIVATE)
    library.setLevel(logging.NOTSET)
    log.debug("loop.ended")
    assert lines.getvalue() == ""


def test_the_exception_that_ends_a_process_is_a_line_like_any_other(lines):
    sys.excepthook(ValueError, ValueError(PRIVATE), None)
    assert (lines.only()["event"], lines.only()["error_type"]) == ("process.crashed", "ValueError")
    assert "Jane" not in lines.getvalue()


def test_a_second_configuration_replaces_the_first(lines):
    again = Lines()
    logs.configure("notifications", stream=again)
    logging.getLogger("nats").error("x")
    log.info("work.begun")
    assert lines.getvalue() == ""
    assert [line["service"] for line in again.read_all()] == ["notifications", "notifications"]


def test_a_closed_pipe_fails_no_call(lines):
    lines.close()
    log.info("work.begun")


def test_no_key_of_the_list_could_hold_a_person():
    persons = ("name", "phone", "email", "dob", "birth", "patient", "note", "text", "body", "message", "payload")
    assert not [key for key in logs.ALLOWED_KEYS if any(word in key for word in persons)]
