"""Messages on their way: held until the window opens, withheld on request, tried again, given up, handed over once."""

import asyncio
import json
import math
import stat
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from stepway.notifications.v1.message_service_pb2 import StopMessagesRequest
from stepway_chassis.errors import Unavailable
from stepway_cli.sites import SiteRecord, apply
from stepway_notifications.channels.channel import Ask, Busy, Leave, Outgoing
from stepway_notifications.channels.file import FileChannel
from stepway_notifications.channels.smtp import SmtpChannel
from stepway_notifications.domain.messages import USE_WITHIN
from tests.network import Network, a_referral, phq_9
from tests.people import corrected, person
from tests.waiting import until

RECEIVE = "stepway.intake.v1.ReferralService/ReceiveReferral"
RECORD = "stepway.intake.v1.AssessmentService/RecordAssessment"
STOP = "stepway.notifications.v1.MessageService/StopMessages"
OPEN, CLOSED = "open-all-day", "closed-for-now"
MOMENT = 0.5
EVERY_THREAD = 64  # more than asyncio keeps for what blocks
PHONE = {"phone": "+12125550177"}
Row = dict[str, Any]


def closed_window(now: datetime) -> list[str]:
    """A minute twelve hours from now, so that no test sees it open."""
    opens = (now.hour * 60 + now.minute + 12 * 60) % (24 * 60 - 1)
    return [f"{minute // 60:02}:{minute % 60:02}" for minute in (opens, opens + 1)]


def a_site(name: str, window: list[str]) -> SiteRecord:
    return SiteRecord(
        site=name,
        zone="UTC",
        revision=1,
        settings={
            "short_name": "Seaside",
            "phone": "619-555-0100",
            "email": "office@seaside.example.org",
            "sending_window": window,
            "on_call": [{"clinician": "staff-2041", "email": f"reyes@{name}.example.org"}],
        },
    )


@pytest_asyncio.fixture(scope="module")
async def seaside(network: Network) -> AsyncIterator[Network]:
    """Two more sites: one may write at any time, one cannot write now."""
    records = [a_site(OPEN, ["00:00", "24:00"]), a_site(CLOSED, closed_window(datetime.now(UTC)))]
    for service in network.platform.services:
        await apply(network.platform.database_url(service, "registrar"), records)
    yield network


async def refer(network: Network, *contacts: dict[str, str], site: str = OPEN) -> Any:
    person = {"given_name": "Quillan", "family_name": "Vexmoor", "contact_points": list(contacts)}
    return (await network.call(RECEIVE, a_referral(person=person), role="front_desk", site=site)).referral


def messages(network: Network, patient_id: str) -> list[Row]:
    return network.rows("notifications", f"SELECT * FROM message WHERE patient_id = '{patient_id}' ORDER BY id")


async def message_that(network: Network, patient_id: str, **wanted: Any) -> Row:
    """The first message about this patient that has these values."""

    async def found() -> Row | None:
        rows = messages(network, patient_id)
        return next((row for row in rows if wanted.items() <= row.items()), None)

    return await until(found)


def again(network: Network, message: Row, **changes: Any) -> str:
    """Queue another message like this one, due now; its id."""
    changed = {"id": str(uuid4()), "status": "queued", "attempts": 0, "delivered_at": None, **changes}
    network.platform.postgres.run_sql(
        "INSERT INTO message SELECT (jsonb_populate_record(message, "
        f"'{json.dumps(changed)}' || jsonb_build_object('next_attempt_at', now()))).* FROM message"
        f" WHERE id = '{message['id']}';"
        f"INSERT INTO work VALUES ('{message['site']}', 'sending', now())"
        " ON CONFLICT (loop, site) DO UPDATE SET due_at = now();",
        database="stepway_notifications",
    )
    return str(changed["id"])


def text_file(network: Network, message_id: str, site: str = OPEN) -> Path:
    return network.platform.texts / site / f"{message_id}.txt"


def mails_to(network: Network, address: str) -> list[str]:
    mails = [mail.read_text() for mail in sorted(network.platform.mails.glob("*.eml"))]
    return [mail for mail in mails if f"Delivered-To: {address}\n" in mail]


async def announced(network: Network, name: str, message_id: str) -> bool:
    found = await network.published(f"evt.v1.{OPEN}.*.notifications.{name}")
    return any(each.headers["ce-subject"] == message_id for each in found)


def moment(row: Row, name: str) -> datetime:
    return datetime.fromisoformat(row[name])


async def test_a_message_is_handed_over_and_announced_and_says_what_it_said(seaside: Network) -> None:
    address = f"vexmoor-{uuid4().hex}@example.org"
    referral = await refer(seaside, PHONE, {"email": address})
    text = await message_that(seaside, referral.patient_id, channel="sms", status="delivered")
    email = await message_that(seaside, referral.patient_id, channel="email", status="delivered")
    assert text_file(seaside, text["id"]).read_text() == f"To: {PHONE['phone']}\n\n{text['body']}\n"
    (mail,) = mails_to(seaside, address)
    assert f"Message-ID: <{email['id']}@seaside.example.org>" in mail
    assert "Subject: Seaside\n" in mail
    assert text["attempts"] == email["attempts"] == 1
    await until(lambda: announced(seaside, "message_delivered", text["id"]))
    await until(lambda: announced(seaside, "message_delivered", email["id"]))


async def test_outside_the_window_a_message_waits_while_a_page_goes_at_once(seaside: Network) -> None:
    referral = await refer(seaside, PHONE, site=CLOSED)
    text = await message_that(seaside, referral.patient_id, channel="sms")
    answers = phq_9(referral.id, [*[0] * 8, 1])
    await seaside.call(RECORD, answers, role="clinician", site=CLOSED)
    await message_that(seaside, referral.patient_id, template="escalation_page", status="delivered")
    assert len(mails_to(seaside, f"reyes@{CLOSED}.example.org")) == 1
    (still,) = [row for row in messages(seaside, referral.patient_id) if row["id"] == text["id"]]
    assert (still["status"], still["attempts"]) == ("queued", 0)
    assert not text_file(seaside, text["id"], CLOSED).exists()
    release = moment(still, "release_at")
    assert abs((release - moment(still, "created_at")) - timedelta(hours=12)) < timedelta(minutes=5)
    assert moment(still, "next_attempt_at") == release


async def test_a_message_whose_window_closed_before_its_turn_is_held_again(seaside: Network) -> None:
    referral = await refer(seaside, PHONE, site=CLOSED)
    text = await message_that(seaside, referral.patient_id, channel="sms")
    late = again(seaside, text, release_at="2026-01-01T00:00:00Z")
    held = await message_that(seaside, referral.patient_id, id=late, attempts=1, release_at=text["release_at"])
    assert (held["status"], held["next_attempt_at"]) == ("queued", text["release_at"])
    assert not text_file(seaside, late, CLOSED).exists()


async def test_who_wants_no_messages_gets_neither_the_queued_nor_any_later_one(seaside: Network) -> None:
    referral = await refer(seaside, PHONE, {"email": "vexmoor@example.org"}, site=CLOSED)
    text = await message_that(seaside, referral.patient_id, channel="sms")
    await message_that(seaside, referral.patient_id, channel="email")
    request = StopMessagesRequest(request_id=str(uuid4()), patient_id=referral.patient_id)
    stopped = [await seaside.call(STOP, request, role="front_desk", site=CLOSED) for _ in range(2)]
    assert [each.withheld for each in stopped] == [2, 2]
    assert {row["status"] for row in messages(seaside, referral.patient_id)} == {"withheld"}
    later = again(seaside, text)
    await message_that(seaside, referral.patient_id, id=later, status="withheld")
    assert not text_file(seaside, later, CLOSED).exists()


async def test_a_stop_does_not_keep_a_page_from_the_clinician(seaside: Network) -> None:
    referral = await refer(seaside, PHONE)
    await message_that(seaside, referral.patient_id, status="delivered")
    request = StopMessagesRequest(request_id=str(uuid4()), patient_id=referral.patient_id)
    assert (await seaside.call(STOP, request, role="front_desk", site=OPEN)).withheld == 0
    await seaside.call(RECORD, phq_9(referral.id, [*[0] * 8, 3]), role="clinician", site=OPEN)
    await message_that(seaside, referral.patient_id, template="escalation_page", status="delivered")


async def reached_elsewhere(network: Network, patient_id: str, *contacts: dict[str, str], site: str) -> None:
    """It is put right how somebody is reached, and notifications has heard of it."""
    known = await person(network, patient_id, site)
    await corrected(network, known, "CONTACT_POINTS", site=site, contact_points=contacts)
    heard = f"SELECT 1 FROM inbox WHERE site = '{site}' AND consumer = 'leave_former_addresses'"

    async def look() -> Any:
        return network.rows("notifications", heard)

    await until(look)


async def test_what_waits_for_a_telephone_that_was_wrong_is_withheld_and_what_goes_elsewhere_waits_on(
    seaside: Network,
) -> None:
    email = {"email": "vexmoor@example.org"}
    referral = await refer(seaside, PHONE, email, site=CLOSED)
    await message_that(seaside, referral.patient_id, channel="email")
    await reached_elsewhere(seaside, referral.patient_id, email, {"phone": "+12125550178"}, site=CLOSED)
    await message_that(seaside, referral.patient_id, channel="sms", status="withheld", attempts=0)
    await message_that(seaside, referral.patient_id, channel="email", status="queued")


async def test_a_text_to_a_former_telephone_does_not_go_though_it_was_queued_later(seaside: Network) -> None:
    referral = await refer(seaside, PHONE)
    text = await message_that(seaside, referral.patient_id, status="delivered")
    await reached_elsewhere(seaside, referral.patient_id, {"phone": "+12125550178"}, site=OPEN)
    late = again(seaside, text)
    await message_that(seaside, referral.patient_id, id=late, status="withheld", attempts=1)
    assert not text_file(seaside, late).exists()


async def test_an_address_that_is_refused_for_good_is_tried_once_and_announced(seaside: Network) -> None:
    referral = await refer(seaside, {"email": "refused@example.org"}, PHONE)
    failed = await message_that(seaside, referral.patient_id, channel="email", status="failed")
    await message_that(seaside, referral.patient_id, channel="sms", status="delivered")
    assert failed["attempts"] == 1
    await until(lambda: announced(seaside, "message_failed", failed["id"]))
    assert not await announced(seaside, "message_delivered", failed["id"])


async def test_an_address_that_is_busy_is_tried_again_later_and_stays_queued(seaside: Network) -> None:
    referral = await refer(seaside, {"email": "busy@example.org"})
    first = await message_that(seaside, referral.patient_id, status="queued", attempts=1)
    second = await message_that(seaside, referral.patient_id, status="queued", attempts=2)
    assert moment(second, "next_attempt_at") > moment(first, "next_attempt_at")
    assert not await announced(seaside, "message_failed", first["id"])


async def test_a_mail_server_that_is_down_delays_a_message_and_loses_none(seaside: Network) -> None:
    address = f"vexmoor-{uuid4().hex}@example.org"
    smtp = seaside.platform.process("smtp")
    await asyncio.to_thread(smtp.stop)
    try:
        referral = await refer(seaside, {"email": address}, PHONE)
        await message_that(seaside, referral.patient_id, channel="sms", status="delivered")
        waiting = await message_that(seaside, referral.patient_id, channel="email", attempts=1)
        assert waiting["status"] == "queued"
    finally:
        smtp.start()
    await message_that(seaside, referral.patient_id, channel="email", status="delivered")
    assert len(mails_to(seaside, address)) == 1


async def test_a_message_that_would_come_too_late_is_not_sent(seaside: Network) -> None:
    referral = await refer(seaside, PHONE)
    text = await message_that(seaside, referral.patient_id, status="delivered")
    late = again(seaside, text, expires_at="2026-01-01T00:00:00Z")
    await message_that(seaside, referral.patient_id, id=late, status="expired")
    assert not text_file(seaside, late).exists()


async def test_a_text_that_is_handed_over_twice_is_one_file(seaside: Network) -> None:
    referral = await refer(seaside, PHONE)
    text = await message_that(seaside, referral.patient_id, status="delivered")
    written = text_file(seaside, text["id"]).stat()
    seaside.platform.postgres.run_sql(
        f"UPDATE message SET status = 'queued', next_attempt_at = now() WHERE id = '{text['id']}'",
        database="stepway_notifications",
    )
    again(seaside, text)  # wakes the loop
    await message_that(seaside, referral.patient_id, id=text["id"], status="delivered", attempts=2)
    assert text_file(seaside, text["id"]).stat() == written


def an_outgoing(**changes: Any) -> Outgoing:
    given = {"id": UUID(int=1), "site": "northside", "sender": "Northside", "sender_address": "office@example.org"}
    return Outgoing(**{**given, "address": "+12125550142", "body": "We will call you.", **changes})


async def at_any_time() -> Leave:
    return Leave(math.inf)


def soon_over() -> Ask:
    """Leave to go, for a moment."""

    async def ask() -> Leave:
        return Leave(time.monotonic() + MOMENT)

    return ask


async def test_the_file_channel_writes_one_private_file_per_message_id_and_leaves_nothing_else(tmp_path: Path) -> None:
    channel = FileChannel(tmp_path)
    await asyncio.gather(*(channel.hand_over(an_outgoing(), at_any_time) for _ in range(2)))
    await channel.hand_over(an_outgoing(body="Other words."), at_any_time)
    await channel.hand_over(an_outgoing(id=UUID(int=2)), at_any_time)
    files = sorted((tmp_path / "northside").iterdir())
    assert [file.name for file in files] == [f"{UUID(int=number)}.txt" for number in (1, 2)]
    assert files[0].read_text() == "To: +12125550142\n\nWe will call you.\n"
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_a_folder_that_cannot_be_written_is_busy_and_not_the_addresss_fault(tmp_path: Path) -> None:
    (tmp_path / "northside").write_text("a file where the folder should be")
    with pytest.raises(Busy):
        await FileChannel(tmp_path).hand_over(an_outgoing(), at_any_time)


async def test_a_text_that_waits_for_a_thread_does_not_go_when_its_leave_has_lapsed(tmp_path: Path) -> None:
    loop, go_on = asyncio.get_running_loop(), threading.Event()
    stalled = [loop.run_in_executor(None, go_on.wait) for _ in range(EVERY_THREAD)]

    async def ask() -> Leave:
        loop.call_later(2 * MOMENT, go_on.set)
        return Leave(time.monotonic() + MOMENT)

    with pytest.raises(Busy):
        await FileChannel(tmp_path).hand_over(an_outgoing(), ask)
    await asyncio.gather(*stalled)
    assert list((tmp_path / "northside").iterdir()) == []
    await FileChannel(tmp_path).hand_over(an_outgoing(), at_any_time)
    assert len(list((tmp_path / "northside").iterdir())) == 1


@pytest.mark.parametrize("slow", ["MAIL", "RCPT", "DATA"])
async def test_an_email_to_a_slow_server_does_not_go_when_its_leave_has_lapsed(slow: str) -> None:
    async with a_mail_server(slow) as server:
        with pytest.raises(Busy):
            await SmtpChannel(server.url).hand_over(an_outgoing(address="uncle@example.org"), soon_over())
    assert server.content == b""
    assert "QUIT" not in server.commands[server.commands.index(slow) :]  # it would be read as content


async def test_a_server_that_is_slow_to_say_hello_still_gets_the_email_and_all_of_it() -> None:
    """Whether it may go is asked when the hello is over, however long that took."""
    body = "Come at noon.\n.\n..and bring\n.nothing"

    async def ask() -> Leave:
        assert server.commands == ["EHLO"]
        return Leave(math.inf)

    async with a_mail_server("EHLO") as server:
        await SmtpChannel(server.url).hand_over(an_outgoing(address="uncle@example.org", body=body), ask)
    assert server.content.endswith(b"\r\n\r\nCome at noon.\r\n..\r\n...and bring\r\n..nothing\r\n.\r\n")


async def test_a_mail_server_is_not_told_to_whom_before_it_is_known_whether_an_email_may_go() -> None:
    async def ask() -> Leave:
        raise Unavailable("CONSENT_UNCONFIRMED", "Nobody knows.")

    async with a_mail_server("") as server:
        with pytest.raises(Unavailable):
            await SmtpChannel(server.url).hand_over(an_outgoing(address="uncle@example.org"), ask)
    assert not {"MAIL", "RCPT", "DATA"} & set(server.commands)


@dataclass
class MailServer:
    """Takes its time over one command, longer than leave lasts; keeps what it was told."""

    slow: str
    url: str = ""
    commands: list[str] = field(default_factory=list)
    content: bytes = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            command = line.split()[0].decode().upper()
            self.commands.append(command)
            if command == self.slow:
                await asyncio.sleep(2 * MOMENT)
            writer.write({"DATA": b"354 go on\r\n", "QUIT": b"221 bye\r\n"}.get(command, b"250 so be it\r\n"))
            if command == "DATA":
                with suppress(asyncio.IncompleteReadError):
                    self.content = await reader.readuntil(b"\r\n.\r\n")
                    writer.write(b"250 kept\r\n")
        writer.close()


@asynccontextmanager
async def a_mail_server(slow: str) -> AsyncIterator[MailServer]:
    mail = MailServer(slow)
    server = await asyncio.start_server(mail.serve, "127.0.0.1", 0)
    async with server:
        mail.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield mail


async def test_a_slow_server_gets_a_message_again_only_after_its_claim_and_it_is_announced_once(
    seaside: Network,
) -> None:
    address, server = f"slow-{uuid4().hex}@example.org", seaside.platform.process("smtp")
    server.pause()
    try:
        referral = await refer(seaside, {"email": address})
        await until(lambda: claimed(seaside, referral.patient_id, attempts=2))
    finally:
        server.resume()
    email = await message_that(seaside, referral.patient_id, channel="email", status="delivered")
    await until(lambda: announced(seaside, "message_delivered", email["id"]))
    told = await seaside.published(f"evt.v1.{OPEN}.*.notifications.message_delivered")
    assert [each.headers["ce-subject"] for each in told].count(email["id"]) == 1
    assert email["claimed_until"] is None


async def test_a_message_whose_hand_over_has_begun_is_not_said_to_be_withheld(seaside: Network) -> None:
    address, server = f"begun-{uuid4().hex}@example.org", seaside.platform.process("smtp")
    server.pause()
    try:
        tries = 3  # whoever asks late finds the claim lapsed, and the message waiting to be claimed again
        while await stopped_once_begun(seaside, address):
            tries -= 1
            assert tries
    finally:
        server.resume()
    assert mails_to(seaside, address) == []


async def stopped_once_begun(network: Network, address: str) -> int:
    """How many messages are said to be withheld from somebody of whose one message the hand-over has begun."""
    referral = await refer(network, {"email": address})
    await until(lambda: claimed(network, referral.patient_id, attempts=1))
    request = StopMessagesRequest(request_id=str(uuid4()), patient_id=referral.patient_id)
    stopped = await network.call(STOP, request, role="front_desk", site=OPEN)
    await message_that(network, referral.patient_id, channel="email", status="withheld")
    return int(stopped.withheld)


async def test_a_message_that_is_claimed_does_not_go_once_its_stop_is_acknowledged(seaside: Network) -> None:
    address, server = f"claimed-{uuid4().hex}@example.org", seaside.platform.process("smtp")
    server.pause()
    try:
        referral = await refer(seaside, {"email": address})
        await until(lambda: claimed(seaside, referral.patient_id, attempts=1))
        request = StopMessagesRequest(request_id=str(uuid4()), patient_id=referral.patient_id)
        began = time.monotonic()
        await seaside.call(STOP, request, role="front_desk", site=OPEN)
        assert time.monotonic() - began >= USE_WITHIN.total_seconds()
    finally:
        server.resume()
    await message_that(seaside, referral.patient_id, channel="email", status="withheld")
    assert mails_to(seaside, address) == []


async def claimed(network: Network, patient_id: str, *, attempts: int) -> bool:
    return any(row["attempts"] >= attempts and row["claimed_until"] for row in messages(network, patient_id))
