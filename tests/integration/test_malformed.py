"""Whatever bytes an allowed caller sends: a clear answer, never a defect, and no half effect."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.calls import Answer, every_rpc, send, service_token
from tests.cases import ON_CALL, Case, a_case
from tests.conftest import SOAK
from tests.good_requests import REQUESTS
from tests.network import NORTHSIDE, Network, a_referral, phq_9

RECORD = "stepway.intake.v1.AssessmentService/RecordAssessment"
RECEIVE = "stepway.intake.v1.ReferralService/ReceiveReferral"
ROLES = ["front_desk", "clinician", "site_lead"]
MOST_OF_THE_WIDEST = [*sorted(every_rpc()), *[RECEIVE, RECORD] * 4]
DEFECTS = {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED"}
MEBIBYTE = 1 << 20
EXAMPLES = 500_000 if SOAK else 500  # of messages, and as many of damaged bytes

WORDS = ["", "\0", "a\0b", "\n", "\x7f", "\u202eabc", "\ufeff", "\U0010ffff", "e\u0301", "' OR 1=1 --", "%s%n{0}"]
SHAPES = [
    *("+12125550142", "+1", "+12125550142\n", "vexmoor@example.org", "@", "a@b", "1990-04-01", "1990-02-30"),
    *("0000", "9999-12-31", "1990-13", "1990-04-01\n", "en-US", "NIECE", "not-a-uuid"),
    *(f"urn:uuid:{uuid4()}", f"{{{uuid4()}}}", uuid4().hex, str(uuid4()).upper(), str(uuid4())),
    "00000000-0000-0000-0000-000000000000",
]
FIRST, BEYOND = 31_536_000, 253_370_764_800  # 1971 and 9999
SECONDS = [0, FIRST - 1, FIRST, -1, -62135596800, -62135596801, BEYOND - 1, BEYOND, 253402300799, 1 << 62, -(1 << 63)]
NANOS = [0, 1, -1, 999_999_999, 1_000_000_000, -(1 << 31), (1 << 31) - 1]
RANGES = {
    FieldDescriptor.TYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.TYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.TYPE_UINT64: (0, (1 << 64) - 1),
    FieldDescriptor.TYPE_ENUM: (-(1 << 31), (1 << 31) - 1),
}
KNOWN = {
    "referral_id": "referral",
    "patient_id": "patient",
    "assessment_id": "assessment",
    "workup_id": "workup",
    "risk_flag_id": "risk_flag",
    "suggestion_id": "suggestion",
    "decision_id": "decision",
    "hand_off_id": "hand_off",
    "family_member_id": "family_member",
    "consent_id": "spare_consent",
    "admission_id": "admission",
    "enrollment_id": "enrollment",
    "treatment_plan_id": "treatment_plan",
    "invitation_id": "invitation",
    "escalation_id": "escalation",
}

TABLES = {
    "intake": {
        "patient": "true",
        "referral": "true",
        "assessment": "true",
        "workup": "true",
        "content_pack": "true",
        "risk_flag": "true",
        "level_of_care_suggestion": "true",
        "level_of_care_decision": "true",
        "hand_off": "true",
        "hand_off_attempt": "true",
        "family_member": "true",
        "consent": "true",
        "admission": "true",
        "party": "true",
        "transfer": "side = 'sending'",
        "event_head": "aggregate_type <> 'audit_chain'",
        "outbox": "aggregate_type <> 'audit_chain' AND NOT headers ? 'ce-causationid'",  # what follows an event, too
        "idempotency": "true",
    },
    "scheduling": {"track": "true", "idempotency": "true", "enrollment": "status = 'ended'"},
    "care": {"idempotency": "true"},
    "family": {"family_group": "true", "idempotency": "true"},
    "notifications": {
        "idempotency": "rpc NOT LIKE '%/RaiseEscalation'",  # intake's watchdog calls, too
        "patient": "stopped_at IS NOT NULL",
        "outbox": "subject LIKE '%.escalation_acknowledged' AND NOT headers ? 'ce-causationid'",  # a page that is taken
    },
}
"""What commands write, and no consumer or loop beside them."""


@pytest.fixture(scope="module")
async def case(network: Network) -> Case:
    return await a_case(network)


def caller(network: Network, rpc: str) -> str:
    """Whoever may call this RPC most widely."""
    services = every_rpc()[rpc].services
    if services:
        return service_token(network, min(services))
    return network.token(ON_CALL[NORTHSIDE], northside=ROLES)


def texts() -> SearchStrategy[str]:
    return st.one_of(st.sampled_from(SHAPES), st.sampled_from(WORDS), st.text(max_size=300), long_texts())


def long_texts() -> SearchStrategy[str]:
    return st.integers(190, 5000).map(lambda length: "x" * length)


def numbers(lowest: int, highest: int) -> SearchStrategy[int]:
    return st.one_of(
        st.sampled_from([0, 1, 2, 9, 100, 101]), st.sampled_from([lowest, highest]), st.integers(lowest, highest)
    )


def one_value(field: FieldDescriptor, case: Case) -> SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type, case)
    if field.type == FieldDescriptor.TYPE_STRING:
        return st.one_of(st.just(getattr(case, KNOWN[field.name])), texts()) if field.name in KNOWN else texts()
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    return numbers(*RANGES[field.type])


def values(field: FieldDescriptor, case: Case) -> SearchStrategy[Any]:
    one = one_value(field, case)
    if not field.is_repeated:
        return one
    long = one.flatmap(lambda value: st.integers(9, 200).map(lambda length: [value] * length))
    return st.one_of(st.lists(one, max_size=9), long)


@st.composite
def messages(draw: DrawFn, descriptor: Descriptor, case: Case) -> dict[str, Any]:
    """Any values at all in any of the fields, as the keyword arguments of the message."""
    if descriptor.full_name == "google.protobuf.Timestamp":
        return {"seconds": draw(st.sampled_from(SECONDS)), "nanos": draw(st.sampled_from(NANOS))}
    chosen = [field for field in descriptor.fields if draw(st.integers(0, 9))]
    return {field.name: draw(values(field, case)) for field in chosen}


@st.composite
def nearly_right(draw: DrawFn, rpc: str, case: Case) -> dict[str, Any]:
    """A request that would be taken, with one or two of its fields replaced."""
    fields = every_rpc()[rpc].request.DESCRIPTOR.fields
    changed = draw(st.lists(st.sampled_from(list(fields)), min_size=1, max_size=2))
    return {**right(rpc, case), **{field.name: draw(values(field, case)) for field in changed}}


def right(rpc: str, case: Case) -> dict[str, Any]:
    """As keyword arguments, a request that is in order."""
    fields = {field.name: value for field, value in _once_right(rpc, case).ListFields()}
    return {**fields, "request_id": str(uuid4())} if "request_id" in fields else fields


@cache
def _once_right(rpc: str, case: Case) -> Message:
    """Times in it do not change from one example to the next."""
    return REQUESTS[rpc](case)


DAMAGES = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 3), st.binary(max_size=3)), max_size=4)
"""Where bytes go, how many, and which come in their place."""


def damaged(rpc: str, case: Case, damages: list[tuple[int, int, bytes]]) -> bytes:
    """The bytes of a good request, with some of them changed, cut off or added."""
    whole = bytearray(every_rpc()[rpc].request(**right(rpc, case)).SerializeToString())
    for place, gone, come in damages:
        place %= len(whole) + 1
        whole[place : place + gone] = come
    return bytes(whole)


@dataclass
class Books:
    """What commands have written, read over connections that stay open: once after each of a thousand calls."""

    loop: asyncio.AbstractEventLoop
    connections: dict[str, Any]

    def read(self, service: str) -> dict[str, int]:
        counts = (
            f"SELECT '{table}' AS name, count(*) FROM {table} WHERE {which}" for table, which in TABLES[service].items()
        )
        rows = self.loop.run_until_complete(self.connections[service].fetch(" UNION ALL ".join(counts)))
        return {row["name"]: row["count"] for row in rows}


@dataclass
class Watched:
    """The running services, and what their commands have written so far."""

    network: Network
    books: Books
    counts: dict[str, dict[str, int]]

    def send(self, rpc: str, body: Message | bytes) -> Answer:
        """See that it was either done or refused whole."""
        answer = send(self.network, rpc, body, token=caller(self.network, rpc))
        assert answer.code not in DEFECTS, answer
        service = rpc.split(".")[1]
        before, self.counts[service] = self.counts[service], self.books.read(service)
        if answer.code != "OK":
            assert answer.reason or answer.code == "RESOURCE_EXHAUSTED"
            assert self.counts[service] == before
        return answer


@pytest.fixture(scope="module")
def watched(network: Network, case: Case) -> Iterator[Watched]:
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()
    connections = {
        service: loop.run_until_complete(stack.enter_async_context(network.superuser(service))) for service in TABLES
    }
    books = Books(loop, connections)
    yield Watched(network, books, {service: books.read(service) for service in TABLES})
    loop.run_until_complete(stack.aclose())
    loop.close()


many = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))


@many
@given(data=st.data(), rpc=st.sampled_from(MOST_OF_THE_WIDEST), near=st.booleans())
def test_no_message_breaks_a_service(watched: Watched, case: Case, data: st.DataObject, rpc: str, near: bool) -> None:
    request = every_rpc()[rpc].request
    fields = data.draw(nearly_right(rpc, case) if near else messages(request.DESCRIPTOR, case))
    watched.send(rpc, request(**fields))


@many
@given(rpc=st.sampled_from(MOST_OF_THE_WIDEST), sent=st.one_of(DAMAGES, st.binary(max_size=200)))
def test_no_bytes_break_a_service(
    watched: Watched, case: Case, rpc: str, sent: list[tuple[int, int, bytes]] | bytes
) -> None:
    watched.send(rpc, sent if isinstance(sent, bytes) else damaged(rpc, case, sent))


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(second, nano) for second in SECONDS for nano in NANOS if second == FIRST or nano == 0]
)
def test_a_time_is_taken_or_refused_by_name(watched: Watched, case: Case, seconds: int, nanos: int) -> None:
    answer = watched.send(RECORD, phq_9(case.referral, [0] * 9, answered_at={"seconds": seconds, "nanos": nanos}))
    taken = FIRST <= seconds < BEYOND and 0 <= nanos <= 999_999_999
    past = taken and seconds == FIRST
    assert (answer.code == "OK") is past
    assert past or (answer.field, answer.reason) == (
        "answered_at",
        "ANSWERED_IN_FUTURE" if taken else "TIME_OUT_OF_RANGE",
    )


@pytest.mark.parametrize("rpc", sorted(every_rpc()))
def test_a_message_of_more_than_a_mebibyte_is_refused(watched: Watched, rpc: str) -> None:
    unknown_field = b"\x9a\x3f" + _varint(MEBIBYTE) + b"x" * MEBIBYTE
    assert watched.send(rpc, unknown_field).code == "RESOURCE_EXHAUSTED"


def test_a_text_of_almost_a_mebibyte_is_refused_by_name(watched: Watched) -> None:
    assert watched.send(RECEIVE, a_referral(reason="x" * (MEBIBYTE - 1000))).field == "reason"


def test_messages_within_messages_without_end_are_refused(watched: Watched) -> None:
    body = b""
    for _ in range(300):
        body = b"\x12" + _varint(len(body)) + body
    assert watched.send(RECEIVE, body).code == "INVALID_ARGUMENT"


def test_groups_without_end_are_refused(watched: Watched) -> None:
    assert watched.send(RECEIVE, b"\x9b\x3f" * 5000).reason == "REQUEST_MALFORMED"


def test_a_text_that_is_no_utf_8_is_refused(watched: Watched) -> None:
    assert watched.send(RECEIVE, b"\x22\x02\xff\xfe").reason == "REQUEST_MALFORMED"


def test_the_field_that_is_wrong_is_named_with_its_place_in_a_list(watched: Watched) -> None:
    points = [{"phone": "+12125550142"}, {"phone": "12125550142"}]
    answer = watched.send(RECEIVE, a_referral(person={"family_name": "Vexmoor", "contact_points": points}))
    assert (answer.reason, answer.field) == ("FIELD_INVALID", "person.contact_points[1].phone")


def test_what_the_caller_added_beyond_the_contract_is_not_kept(watched: Watched) -> None:
    secret = f"secret-{uuid4()}".encode()
    body = a_referral().SerializeToString() + b"\x9a\x3f" + _varint(len(secret)) + secret
    answer = watched.send(RECEIVE, body)
    assert answer.code == "OK"
    assert secret not in answer.body


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
