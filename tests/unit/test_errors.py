"""Refusals as statuses and back: what a caller hears is what the handler said, and of a defect nothing at all."""

from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from stepway_chassis import errors
from stepway_chassis.errors import Conflict, InvalidInput, NotFound, PeerFailed, Refusal, Unavailable
from stepway_chassis.rpc.status import CODES, DOMAIN, from_error, internal, to_status

VOCABULARY = [
    (errors.InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (errors.Denied, grpc.StatusCode.PERMISSION_DENIED),
    (errors.NotFound, grpc.StatusCode.NOT_FOUND),
    (errors.Conflict, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.Exhausted, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.TimedOut, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
]


@dataclass(frozen=True)
class Failed(grpc.RpcError):
    """A call that ended in `status`, as its caller holds it."""

    status: Any

    def code(self) -> grpc.StatusCode:
        return self.status.code  # type: ignore[no-any-return]

    def details(self) -> str | None:
        return self.status.details  # type: ignore[no-any-return]

    def trailing_metadata(self) -> Any:
        return self.status.trailing_metadata


@dataclass(frozen=True)
class Bare:
    """A status that no Stepway has made, a proxy for example."""

    code: grpc.StatusCode
    details: str | None = None
    trailing_metadata: tuple[tuple[str, bytes], ...] = ()


def details_of(status: Any) -> status_pb2.Status:
    return rpc_status.from_call(Failed(status))  # type: ignore[arg-type]


def detail(status: Any, kind: Any) -> Any:
    found = kind()
    assert any(each.Unpack(found) for each in details_of(status).details)
    return found


def test_the_whole_vocabulary_has_a_code_and_no_two_share_one() -> None:
    assert list(CODES.items()) == VOCABULARY
    assert {kind for kind, _ in VOCABULARY} == set(Refusal.__subclasses__())
    assert len({code for _, code in VOCABULARY}) == len(VOCABULARY)


@pytest.mark.parametrize(("kind", "code"), VOCABULARY)
def test_a_refusal_arrives_as_what_it_was(kind: type[Refusal], code: grpc.StatusCode) -> None:
    status = to_status(kind("SOME_REASON", "Do this instead."))
    heard = from_error(Failed(status))
    assert status.code is code
    assert type(heard) is kind
    assert (heard.reason, heard.message, heard.field) == ("SOME_REASON", "Do this instead.", "")


def test_the_field_of_invalid_input_travels_along() -> None:
    status = to_status(InvalidInput("BIRTH_DATE_IMPOSSIBLE", "Give a date.", field="person.birth_date"))
    assert from_error(Failed(status)).field == "person.birth_date"
    violation = detail(status, error_details_pb2.BadRequest).field_violations[0]
    assert (violation.field, violation.description) == ("person.birth_date", "Give a date.")


def test_a_conflict_names_the_precondition_that_failed() -> None:
    status = to_status(Conflict("ALREADY_TAKEN", "Somebody has it."))
    violation = detail(status, error_details_pb2.PreconditionFailure).violations[0]
    assert (violation.type, violation.description) == ("ALREADY_TAKEN", "Somebody has it.")


@pytest.mark.parametrize(("kind", "_"), VOCABULARY)
def test_every_refusal_carries_its_reason_in_our_domain(kind: type[Refusal], _: grpc.StatusCode) -> None:
    info = detail(to_status(kind("SOME_REASON", "…")), error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == ("SOME_REASON", DOMAIN)


def test_a_refusal_made_more_special_keeps_the_code_of_its_kind() -> None:
    class ReferralNotFound(NotFound): ...

    assert to_status(ReferralNotFound("REFERRAL_NOT_FOUND", "…")).code is grpc.StatusCode.NOT_FOUND


def test_a_defect_says_that_there_is_one_and_nothing_else() -> None:
    try:
        raise KeyError("Quillan Vexmoor")
    except KeyError:
        status = internal("a trace")
    assert status.code is grpc.StatusCode.INTERNAL
    assert [each.type_url for each in details_of(status).details] == ["type.googleapis.com/google.rpc.ErrorInfo"]
    info = detail(status, error_details_pb2.ErrorInfo)
    assert (info.reason, dict(info.metadata)) == ("INTERNAL", {"trace_id": "a trace"})
    assert b"Vexmoor" not in details_of(status).SerializeToString()


def test_what_no_vocabulary_covers_is_unavailable_and_may_be_tried_again() -> None:
    heard = from_error(Failed(Bare(grpc.StatusCode.CANCELLED)))
    assert isinstance(heard, Unavailable)
    assert heard.reason == "CANCELLED"


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED])
def test_a_defect_of_another_service_is_no_outage(code: grpc.StatusCode) -> None:
    assert isinstance(from_error(Failed(Bare(code))), PeerFailed)


def test_a_status_without_details_still_is_what_its_code_says() -> None:
    heard = from_error(Failed(Bare(grpc.StatusCode.NOT_FOUND, "gone")))
    assert type(heard) is NotFound
    assert (heard.reason, heard.message) == ("NOT_FOUND", "gone")
