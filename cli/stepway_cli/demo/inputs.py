"""What the demo is fed: people at two sites, and each one's answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from zoneinfo import ZoneInfo

from stepway.intake.v1.referral_pb2 import Person
from stepway.intake.v1.referral_service_pb2 import ReceiveReferralRequest
from stepway_cli.answers import Answers, PersonAnswers, read_answers
from stepway_cli.fhir.referrals import Import, Ready, read_referrals
from stepway_cli.importing.documents import documents, whole
from stepway_cli.sites import SiteRecord

OURS = Path(__file__).parents[1] / "demo_data"
ALL_DAY = ["00:00", "24:00"]
IMPATIENT = {"page_again_seconds": 3}


@dataclass(frozen=True)
class Participant:
    """One person of the demo; those who come from a row of answers alone have no name and no address."""

    site: str
    ready: Ready
    answers: PersonAnswers | None


@dataclass(frozen=True)
class Inputs:
    reading: Import
    answers: Answers
    participants: Sequence[Participant]


def inputs(referrals: Path | None, answers: Path | None, sites: Sequence[str], now: datetime) -> Inputs:
    """Everything in the files, people dealt to the sites in turn and matched with rows of answers in order.

    Raises documents.Unreadable.
    """
    reading = read_referrals(documents([referrals or OURS / "referrals"]), today=now.date())
    file = answers or OURS / "answers.csv"
    read = read_answers(whole(file))
    paired = zip_longest(reading.referrals, read.people)
    participants = [
        Participant(sites[number % len(sites)], ready or _row_alone(file.name, person), person)
        for number, (ready, person) in enumerate(paired)
    ]
    return Inputs(reading, read, participants)


def _row_alone(file: str, person: PersonAnswers | None) -> Ready:
    assert person is not None
    name = f"{file} row {person.row_number}"
    return Ready(name, ReceiveReferralRequest(person=Person(family_name=f"Row {person.row_number}")), (name,))


def one_open_one_closed(records: Sequence[SiteRecord], now: datetime) -> list[SiteRecord]:
    """The first site may send now; the other has closed for the moment. Neither waits long for an answer to a page."""
    first, second = records
    closed = _closed_at(now.astimezone(ZoneInfo(second.zone)))
    return [_with(first, sending_window=ALL_DAY, **IMPATIENT), _with(second, sending_window=closed, **IMPATIENT)]


def _closed_at(local: datetime) -> list[str]:
    """A window that opens at least an hour from now."""
    return [f"{local.hour + 2:02}:00", "24:00"] if local.hour <= 21 else ["09:00", "20:00"]


def _with(record: SiteRecord, **settings: object) -> SiteRecord:
    return replace(record, settings={**record.settings, **settings})
