"""What becomes of an import when intake refuses a row, refuses everybody, or is not there."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from stepway_chassis import telemetry
from stepway_chassis.identity import Bearer
from stepway_chassis.rpc.client import Peers
from stepway_cli.answers import read_answers
from stepway_cli.fhir.answered import with_answers
from stepway_cli.fhir.referrals import Reading
from stepway_cli.findings import Refused
from stepway_cli.importing.account import Account
from stepway_cli.importing.entries import Entry, of_fhir, of_rows
from stepway_cli.importing.patience import Desks
from stepway_cli.importing.sending import CHANGED, CLINICIAN, FRONT_DESK, Sending
from stepway_cli.times import Times
from tests.bundles import a_bundle, a_patient, a_response
from tests.network import NORTHSIDE, Network

VALUES = [2, 2, 2, 2, 1, 1, 2, 0, 0]
NOWHERE = "127.0.0.1:9"


def read(*resources: dict[str, Any]) -> list[Entry]:
    """Sent by a sender who has a name."""
    content = json.dumps(a_bundle(*resources)).encode()
    reading = Reading([("a.json", content)], today=datetime.now(UTC).date(), wanted=with_answers)
    return [of_fhir(NORTHSIDE, "county", ready) for ready in reading.ready()]


def people(number: int) -> list[Entry]:
    run = uuid4().hex[:8]
    names = [f"{run}-{one}" for one in range(number)]
    resources = [each for name in names for each in (a_patient(name), a_response(name, VALUES))]
    content = json.dumps(a_bundle(*resources)).encode()
    reading = Reading([("a.json", content)], today=datetime.now(UTC).date(), wanted=with_answers)
    return [of_fhir(NORTHSIDE, "", ready) for ready in reading.ready()]


async def sent(peers: Mapping[str, Peers], entries: Sequence[Entry | Refused], **options: Any) -> Account:
    account = Account(NORTHSIDE, dry_run=False)
    await Sending(Desks(peers, NORTHSIDE, **options), account).all(entries)
    return account


def both(network: Network) -> dict[str, Peers]:
    return {role: network.staff(role) for role in (FRONT_DESK, CLINICIAN)}


async def test_a_row_that_intake_refuses_does_not_keep_the_others_out(network: Network) -> None:
    content = f"referral_id,D1,answered_at\n{uuid4()},1,2024-05-01\n,1,2024-05-01\n,1,2999-01-01\n"
    read = read_answers(content)
    account = await sent(
        both(network), list(of_rows(NORTHSIDE, "a.csv", content.encode(), read, Times(datetime.now(UTC))))
    )
    assert {refused.reason for refused in account.refused} == {"REFERRAL_NOT_FOUND", "ANSWERED_IN_FUTURE"}
    assert {refused.place and refused.place.index for refused in account.refused} == {2, 4}
    assert (account.assessments.new, account.stopped) == (1, "")


async def test_what_has_changed_at_a_known_sender_is_told_and_stays_as_it_was(network: Network) -> None:
    name = f"p-{uuid4()}"
    first = await sent(both(network), read(a_patient(name), a_response(name, VALUES)))
    same = await sent(both(network), read(a_patient(name), a_response(name, VALUES)))
    amended = a_response(name, [*VALUES[:8], 3], status="amended")
    again = await sent(both(network), read(a_patient(name, gender="female"), amended))
    assert (first.notes, same.notes) == ([], [])
    assert [(note.place and note.place.kind, note.message) for note in again.notes] == [
        ("Patient", CHANGED),
        ("QuestionnaireResponse", CHANGED),
    ]
    assert again.taken == first.taken


async def test_an_import_by_somebody_who_may_not_ends_at_once_and_refuses_no_row(network: Network) -> None:
    desk = network.staff("front_desk")
    account = await sent({FRONT_DESK: desk, CLINICIAN: desk}, people(60))
    assert account.stopped.startswith("ROLE_NOT_ALLOWED")
    assert account.refused == []
    assert account.referrals.new < 60


async def test_an_import_ends_when_nobody_answers_for_long(network: Network) -> None:
    token = network.token("desk", northside=["front_desk", "clinician"])
    peers = Peers({"intake": NOWHERE}, Bearer(token), telemetry.start("test", ratio=0), lambda: datetime.now(UTC))
    account = await sent({FRONT_DESK: peers, CLINICIAN: peers}, people(3), pauses=(0.01, 0.01))
    await peers.close()
    assert account.stopped == "UNAVAILABLE: the service does not answer"
    assert (account.taken, account.refused) == ([], [])


async def test_the_next_import_goes_on_where_one_was_stopped(network: Network) -> None:
    entries = people(40)
    desk = network.staff("front_desk")
    first = await sent({FRONT_DESK: desk, CLINICIAN: desk}, entries)
    rest = await sent(both(network), entries)
    assert rest.referrals.known == first.referrals.new > 0
    assert (rest.referrals.all, rest.assessments.new, rest.stopped) == (40, 40, "")
