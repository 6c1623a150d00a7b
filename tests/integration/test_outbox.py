"""What a commit announces: numbered without gaps, a CloudEvent to the letter, on the stream under its own id."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote
from uuid import UUID, uuid4

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event
from cloudevents.core.formats.json import JSONFormat
from google.protobuf.json_format import Parse
from opentelemetry import trace

from stepway_chassis import outbox, telemetry
from stepway_chassis.database import Database
from stepway_chassis.testing import Published, running
from tests.ledger import OTHER_SITE, SITE, Ledger, an_app, closed, message, noted, said
from tests.waiting import until


async def append(database: Database, *messages: Any, site: str = SITE, label: str = "general") -> datetime:
    async with database.transaction(site, "test") as tx:
        outbox.append(tx, *messages, label=label)
        return tx.now


def stored(ledger: Ledger, account: UUID) -> list[dict[str, Any]]:
    return ledger.rows(
        "SELECT aggregate_seq, subject, headers, convert_from(payload, 'UTF8') AS payload, event_id"
        f" FROM outbox WHERE aggregate_id = '{account}' ORDER BY aggregate_seq"
    )


def numbers(rows: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    """Of each event: its name, its number, and the number before it of the same type."""
    headers = [row["headers"] for row in rows]
    return [
        (each["ce-type"].rsplit(".", 1)[1], int(each["ce-sequence"]), int(each["ce-prevsequence"])) for each in headers
    ]


async def test_events_of_one_aggregate_are_numbered_without_a_gap_under_concurrent_commands(ledger: Ledger) -> None:
    database, account = ledger.database(), uuid4()
    await asyncio.gather(*(append(database, noted(account, line)) for line in range(8) for _ in range(4)))
    rows = stored(ledger, account)
    assert numbers(rows) == [("Noted", number, number - 1) for number in range(1, 33)]
    assert len({row["event_id"] for row in rows}) == 32


async def test_an_event_knows_the_one_of_its_type_before_it_also_between_two_of_one_append(ledger: Ledger) -> None:
    database, account = ledger.database(), uuid4()
    await append(database, noted(account), closed(account), noted(account), noted(account))
    await append(database, closed(account), noted(account))
    assert numbers(stored(ledger, account)) == [
        ("Noted", 1, 0),
        ("Closed", 2, 0),
        ("Noted", 3, 1),
        ("Noted", 4, 3),
        ("Closed", 5, 2),
        ("Noted", 6, 4),
    ]


async def test_what_is_appended_bit_by_bit_is_one_chain_and_what_follows_a_store_goes_on_from_there(
    ledger: Ledger,
) -> None:
    database, account = ledger.database(), uuid4()
    async with database.transaction(SITE, "test") as tx:
        outbox.append(tx, noted(account), label="general")
        outbox.append(tx, closed(account), label="part2")
        await outbox.announce(tx)
        outbox.append(tx, noted(account), label="general")
    assert numbers(stored(ledger, account)) == [("Noted", 1, 0), ("Closed", 2, 0), ("Noted", 3, 1)]


async def test_new_and_known_aggregates_of_one_transaction_are_each_numbered_from_where_they_are(
    ledger: Ledger,
) -> None:
    database, one, two = ledger.database(), uuid4(), uuid4()
    await append(database, noted(one))
    await append(database, closed(two), noted(one), noted(two), closed(one), noted(one))
    assert numbers(stored(ledger, one)) == [("Noted", 1, 0), ("Noted", 2, 1), ("Closed", 3, 0), ("Noted", 4, 2)]
    assert numbers(stored(ledger, two)) == [("Closed", 1, 0), ("Noted", 2, 0)]


async def test_aggregates_and_sites_are_numbered_apart(ledger: Ledger) -> None:
    database, one, two = ledger.database(), uuid4(), uuid4()
    await append(database, noted(one), noted(two), noted(one))
    await append(database, noted(one), site=OTHER_SITE)
    assert [row["aggregate_seq"] for row in stored(ledger, two)] == [1]
    assert sorted((row["subject"].split(".")[2], row["aggregate_seq"]) for row in stored(ledger, one)) == [
        (SITE, 1),
        (SITE, 2),
        (OTHER_SITE, 1),
    ]


async def test_two_commands_that_name_the_same_aggregates_in_opposite_order_do_not_deadlock(ledger: Ledger) -> None:
    database, one, two = ledger.database(), uuid4(), uuid4()
    forth, back = (noted(one), noted(two)), (noted(two), noted(one))
    await asyncio.gather(*(append(database, *(forth if turn % 2 else back)) for turn in range(40)))
    assert [row["aggregate_seq"] for row in stored(ledger, one)] == list(range(1, 41))
    assert [row["aggregate_seq"] for row in stored(ledger, two)] == list(range(1, 41))


async def test_what_was_rolled_back_was_never_announced_and_leaves_no_gap(ledger: Ledger) -> None:
    database, account = ledger.database(), uuid4()

    async def rolled_back() -> None:
        async with database.transaction(SITE, "test") as tx:
            outbox.append(tx, noted(account), closed(account), label="general")
            await outbox.announce(tx)
            raise ZeroDivisionError

    await append(database, noted(account))
    with pytest.raises(ZeroDivisionError):
        await rolled_back()
    await append(database, closed(account))
    assert numbers(stored(ledger, account)) == [("Noted", 1, 0), ("Closed", 2, 0)]


async def test_the_headers_are_those_of_a_cloudevent_and_the_payload_is_protojson(ledger: Ledger) -> None:
    database, account = ledger.database(), uuid4()
    traced = telemetry.start("test")
    async with database.transaction(SITE, "test") as tx:
        tx.causation = str(uuid4())
        with traced.span("creation") as creation:
            outbox.append(tx, noted(account, line=2**53 + 1), label="part2")
            span = trace.get_current_span().get_span_context()
    traced.close()
    (row,) = stored(ledger, account)
    assert row["subject"] == f"evt.v1.{SITE}.part2.ledger.noted"
    assert row["headers"] == {
        "ce-specversion": "1.0",
        "ce-id": row["event_id"],
        "ce-type": "stepway.ledger.v1.Noted",
        "ce-source": f"/sites/{SITE}/ledger/account/{account}",
        "ce-subject": str(account),
        "ce-time": tx.now.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "ce-datacontenttype": "application/json",
        "ce-dataschema": "urn:stepway:stepway.ledger.v1.Noted",
        "ce-sequence": f"{1:020d}",
        "ce-prevsequence": f"{0:020d}",
        "ce-partitionkey": str(account),
        "ce-correlationid": str(account),
        "ce-causationid": tx.causation,
        "ce-dataref": "stepway.ledger.v1.LedgerService/Look",
        "traceparent": f"00-{creation.trace_id}-{span.span_id:016x}-{span.trace_flags:02x}",
        "Nats-Msg-Id": row["event_id"],
    }
    assert json.loads(row["payload"]) == {"accountId": str(account), "line": str(2**53 + 1)}
    assert Parse(row["payload"], message("Noted")()) == noted(account, line=2**53 + 1)


async def test_the_reference_library_reads_a_stored_event_as_a_valid_cloudevent(ledger: Ledger) -> None:
    database, account, strange = ledger.database(), uuid4(), 'Zoë "100 %"\t✓'
    async with database.transaction(SITE, "test") as tx:
        tx.correlation = strange
        outbox.append(tx, noted(account, line=3), label="general")
    (row,) = stored(ledger, account)
    assert row["headers"]["ce-correlationid"].isascii()
    assert not set(' "\t') & set(row["headers"]["ce-correlationid"])
    headers = {name: value for name, value in row["headers"].items() if name.startswith("ce-")}
    # The NATS binding says ce-datacontenttype where HTTP says Content-Type; the rest is the same.
    headers["Content-Type"] = headers.pop("ce-datacontenttype")
    event = from_binary_event(HTTPMessage(headers, row["payload"].encode()), JSONFormat())
    assert (event.get_id(), event.get_type()) == (row["event_id"], "stepway.ledger.v1.Noted")
    assert event.get_time() == tx.now
    assert event.get_extension("correlationid") == strange == unquote(row["headers"]["ce-correlationid"])
    assert event.get_data() == {"accountId": str(account), "line": "3"}


async def test_a_committed_event_is_on_the_stream_once_as_it_was_stored(ledger: Ledger) -> None:
    account = uuid4()

    async def arrived() -> list[Published]:
        found = await ledger.network.published(f"evt.v1.{SITE}.general.ledger.>")
        return [each for each in found if each.headers["ce-subject"] == str(account)]

    async def all_arrived() -> bool:
        return len(await arrived()) >= 3

    async def unused(*_: object) -> Any:
        return said()

    async with running(an_app(unused), ledger.environment()) as service:
        await append(service.database, noted(account, 1), closed(account), noted(account, 2))
        await until(all_arrived)
        ledger.sql(f"UPDATE outbox SET published_at = NULL WHERE aggregate_id = '{account}'")  # as after a crash
        service.relay.nudge()

        async def marked_again() -> bool:
            unmarked = f"SELECT id FROM outbox WHERE aggregate_id = '{account}' AND published_at IS NULL"
            return not ledger.rows(unmarked)

        await until(marked_again)
    on_stream, rows = await arrived(), stored(ledger, account)
    assert [each.headers["ce-id"] for each in on_stream] == [row["event_id"] for row in rows]
    assert [each.headers["Nats-Msg-Id"] for each in on_stream] == [row["event_id"] for row in rows]
    assert [each.payload.decode() for each in on_stream] == [row["payload"] for row in rows]
    assert [each.subject for each in on_stream] == [row["subject"] for row in rows]
