"""Row 16 on the running platform: what nobody can handle is put aside with its reason, and the stream flows on."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID, uuid4

from google.protobuf.message import Message

from stepway.notifications.v1.events_pb2 import EscalationAcknowledged
from stepway_chassis import dead_letters
from stepway_chassis.app import utc_now
from stepway_chassis.database import Database
from stepway_chassis.deliveries import Delivery
from stepway_chassis.times import to_proto
from stepway_cli import stream
from stepway_cli.listeners import handlers, wanted
from stepway_cli.services import SERVICES
from tests.conftest import SOAK
from tests.faults.apart import NOON, only
from tests.faults.foreign import administrator, changed, delivery, put
from tests.faults.history import Kind, Outcome
from tests.faults.observed import SITES, Row
from tests.faults.quiet import quiet
from tests.faults.stage import Stage
from tests.faults.stream_checks import Buried
from tests.network import LAKESIDE
from tests.waiting import until

TIMES = 20  # in a soak, for each type of event that anybody handles, at each site; else once at one of them
AT_ONCE = 8


def an_event(event: type[Message], site: str) -> Delivery:
    """As it should be, with ids of its own."""
    message = event()
    for field in event.DESCRIPTOR.fields:
        if field.message_type is not None:
            getattr(message, field.name).CopyFrom(to_proto(NOON))
        elif field.enum_type is not None:  # a list of codes
            getattr(message, field.name).append(field.enum_type.values[-1].number)
        else:
            setattr(message, field.name, str(uuid4()))
    return delivery(message, site)


def acknowledged(site: str, flag: str) -> Delivery:
    message = EscalationAcknowledged(
        escalation_id=str(uuid4()),
        risk_flag_id=flag,
        acknowledged_by="staff-2041",
        acknowledged_at=to_proto(NOON),
    )
    return delivery(message, site)


def poisons(good: Delivery) -> list[Delivery]:
    """`good`, spoilt in every way that was thought of; each has bytes of its own."""
    salt, body = str(uuid4()), json.loads(good.payload)
    ids = [name for name in body if name.endswith("Id")]
    return [
        changed(good, b"\xff\xfe no JSON " + salt.encode()),
        changed(good, b"", ce_id=str(uuid4())),
        changed(good, [salt], ce_id=str(uuid4())),
        changed(good, {"salt": salt}, ce_id=str(uuid4())),
        changed(good, dict.fromkeys(body, 5), ce_id=str(uuid4())),
        changed(good, {name: {salt: []} for name in body}, ce_id=str(uuid4())),
        changed(good, body | dict.fromkeys(ids, "no-uuid"), ce_id=str(uuid4())),
        changed(good, b"[" * 40_000, ce_id=str(uuid4())),
        changed(good, ce_id=None),
        changed(good, {"salt": salt}, ce_id="no-uuid"),
        changed(good, ce_id=str(uuid4()), ce_time=None),
        changed(good, ce_id=str(uuid4()), ce_time="2026-11-21T12:00:00"),
        changed(good, ce_id=str(uuid4()), ce_time="yesterday"),
        changed(good, ce_id=str(uuid4()), ce_sequence="first"),
        changed(good, ce_id=str(uuid4()), ce_subject="somebody"),
        changed(good, b"no JSON", ce_id=str(uuid4()), ce_source="\\u0000"),
        changed(good, b"no JSON", ce_id=str(uuid4()), ce_source="%00"),
        changed(good, b"no JSON", ce_id=str(uuid4()), Status="409", Description="Consumer Deleted"),
    ]


async def test_row_16_poison_is_put_aside_once_and_the_stream_flows_on(stage: Stage, seed: int) -> None:
    rng = random.Random(seed)
    heard = {each.event for known in handlers().values() for each in known}
    sites = {event: SITES * TIMES if SOAK else rng.sample(SITES, 1) for event in heard}
    poison = [bad for event, where in sites.items() for site in where for bad in poisons(an_event(event, site))]
    rng.shuffle(poison)
    letters = {_buried(*who, bad) for bad in poison for who in wanted(bad.headers["ce-type"])}
    async with _expected(stage, letters):
        async with stage.loaded("row 16", seed) as load, administrator(stage.network) as jetstream:
            for few in (poison[turn : turn + AT_ONCE] for turn in range(0, len(poison), AT_ONCE)):
                load.issue(AT_ONCE)
                await asyncio.gather(*(put(jetstream, bad) for bad in few))
                await load.finished()
            load.issue(60)
        print(f"row 16: {len(poison)} poisonous events, {len(letters)} letters")
    await _an_operator_reads_on(stage, len(poison))


async def _an_operator_reads_on(stage: Stage, poison: int) -> None:
    admin = stream.Admin(*stage.platform.nats_admin)
    read = [(stream.line(each), json.loads(stream.structured(each))) async for each in stream.stored(admin)]
    assert sum("data_base64" in event for _, event in read) >= poison // 4
    relays = {service: stage.platform.database_url(service, "relay") for service in SERVICES}
    compared = await stream.republish(admin, relays, utc_now() - timedelta(hours=1), dry_run=True)
    assert {each.missing for each in compared} == {0}


def _buried(service: str, consumer: str, bad: Delivery, reason: str = "MALFORMED") -> Buried:
    return Buried(service, bad.site, consumer, str(bad.event_id), reason)


def _letters(stage: Stage, service: str) -> list[Row]:
    return stage.network.rows(service, "SELECT * FROM dead_letter")


@asynccontextmanager
async def _expected(stage: Stage, letters: set[Buried]) -> AsyncIterator[None]:
    """These letters have to be there in here; afterwards there is none, and none to come."""
    stage.letters |= letters
    try:
        yield
    finally:
        await stage.mend()
        await quiet(stage.network)
        stage.letters -= letters
        for service in stage.platform.services:
            stage.platform.postgres.run_sql("TRUNCATE dead_letter", database=f"stepway_{service}")


async def test_row_16_a_refused_event_is_applied_once_when_its_cause_is_mended(stage: Stage, seed: int) -> None:
    flag, site = uuid4(), LAKESIDE
    refused = acknowledged(site, str(flag))
    letter = _buried("intake", "acknowledge_risk_flag", refused, "RISK_FLAG_NOT_FOUND")
    async with _expected(stage, {letter}), _forgotten(stage, flag, refused.event_id):
        async with stage.loaded("row 16, refused", seed) as load, administrator(stage.network) as jetstream:
            load.issue(20)
            await put(jetstream, refused)
            load.issue(20)
        before = only(_letters(stage, "intake"))["count"]
        await _retry(stage, site)
        await until(lambda: _buried_again(stage, before))
        _mend(stage, site, flag)
        await _retry(stage, site)
        await until(lambda: _no_letters(stage))
        known = stage.network.rows("intake", f"SELECT acknowledged_by FROM risk_flag WHERE id = '{flag}'")
        assert only(known)["acknowledged_by"] == "staff-2041"
        assert stage.count("intake", f"inbox WHERE event_id = '{refused.event_id}'") == 1
    await stage.settled()


async def _buried_again(stage: Stage, before: int) -> bool:
    letter = only(_letters(stage, "intake"))
    return letter["state"] == "waiting" and letter["count"] > before


async def _no_letters(stage: Stage) -> bool:
    return not _letters(stage, "intake")


async def _retry(stage: Stage, site: str) -> None:
    """As an operator does, in a transaction of the role that the service has."""
    database = Database(stage.platform.database_url("intake", "app"), service="operator", cell="shared", pool_size=1)
    try:
        async with database.transaction(site, "retry") as tx:
            await dead_letters.retry(tx, only(await dead_letters.listed(tx)).id)  # type: ignore[arg-type]
    finally:
        await database.close()


def _mend(stage: Stage, site: str, flag: UUID) -> None:
    """The flag that the event names turns up, under a referral of the site."""
    commands = stage.history.commands
    known = next(
        each.ids for each in commands if (each.kind, each.site) == (Kind.RECEIVE, site) and _done(each.outcome)
    )
    columns = "site, id, patient_id, referral_id, urgency, raised_at"
    values = f"'{site}', '{flag}', '{known['patient']}', '{known['id']}', 'page', now()"
    stage.platform.postgres.run_sql(f"INSERT INTO risk_flag ({columns}) VALUES ({values})", database="stepway_intake")


def _done(outcome: Outcome) -> bool:
    return outcome is Outcome.ACKNOWLEDGED


@asynccontextmanager
async def _forgotten(stage: Stage, flag: UUID, event_id: UUID) -> AsyncIterator[None]:
    """At the end nothing is left of them."""
    try:
        yield
    finally:
        script = f"DELETE FROM risk_flag WHERE id = '{flag}'; DELETE FROM inbox WHERE event_id = '{event_id}'"
        stage.platform.postgres.run_sql(script, database="stepway_intake")
