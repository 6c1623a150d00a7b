"""What a whole service hears of the same people, and the state that it leads to in whichever order it comes."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import uuid4

from google.protobuf.message import Message

from stepway.intake.v1.events_pb2 import ConsentGranted, PatientAdmitted, RiskFlagged
from stepway.scheduling.v1.events_pb2 import EnrollmentConfirmed, EnrollmentWaitlisted
from stepway_chassis.deliveries import Delivery
from stepway_chassis.times import to_proto
from tests.faults.apart import NOON
from tests.faults.observed import SITES, Row
from tests.faults.order_cases import (
    ALIASES,
    CASES,
    DUE,
    EXPIRED,
    LABELLED,
    MESSAGES,
    REVOKED,
    SAID,
    SEATED,
    SUPERSEDED,
    TAKEN,
    WAITING,
    Case,
    acknowledgements,
    admissions,
    departures,
    endings,
    invitations,
    labelled,
    merges,
    raised,
    referred,
    seats,
    some,
    taken,
    updates,
)
from tests.network import Network


def family_story(rng: random.Random, _: Network) -> Case:
    """What family hears of a consent and its patient: granted, most often ended, admitted once or more than once.

    Two of the patients of each site turn out to be one.
    """
    events = list[Delivery]()
    for site in SITES:
        patients = list[str]()
        for end in (None, REVOKED, EXPIRED, SUPERSEDED):
            who = {each: str(uuid4()) for each in ("consent_id", "patient_id", "family_member_id")}
            patient = who["patient_id"]
            messages: list[Message] = [ConsentGranted(**who, granted_at=to_proto(NOON))]
            messages += [end(**who)] if end else []
            messages += [
                PatientAdmitted(admission_id=str(uuid4()), patient_id=patient, admitted_at=to_proto(NOON))
                for _ in range(rng.randint(1, 2))
            ]
            events += labelled(rng, site, messages)
            patients.append(patient)
        events += labelled(rng, site, [*merges(rng, patients[:3]), raised(patients[0])])
    links = (
        "SELECT site, id, patient_id, family_member_id, granted, revoked, at, correlation, causation FROM consent_link"
    )
    admitted = "SELECT site, id, at, correlation, causation FROM patient"
    return Case(
        "family", events, {"links": links, "patients": admitted, "labels": LABELLED, "due": DUE, "aliases": ALIASES}
    )


def notifications_story(rng: random.Random, network: Network) -> Case:
    """What notifications hears of the same people: referred, in danger, seated or not, their families invited or not.

    Of two signs of danger each, one of which somebody takes in intake without a page.
    Of each enrolment that it was confirmed and that it waits, whichever is true by now; of each consent, ended or not,
    that it has ended; and that two of the people of a site are one. Of others it is put right how they are reached.
    """
    events, invited = list[Delivery](), invitations(rng, network)
    ended, corrected = endings(REVOKED, EXPIRED, SUPERSEDED)(rng, network), updates(rng, network)
    for row in [*some(network, "scheduling", WAITING)[:2], *some(network, "scheduling", SEATED)[:2]]:
        patient, told = row["patient_id"], {"enrollment_id": row["id"], "patient_id": row["patient_id"]}
        messages = [
            referred(patient),
            *_in_danger(patient),
            EnrollmentWaitlisted(**told, waitlisted_at=to_proto(NOON)),
            EnrollmentConfirmed(**told, confirmed_at=to_proto(NOON)),
        ]
        events += labelled(rng, row["site"], messages)
    events += becoming_one(rng, some(network, "scheduling", SEATED)[:3])
    state = {
        "messages": MESSAGES,
        "stopped": "SELECT site, id, stopped_at FROM patient",
        "aliases": ALIASES,
        "members": "SELECT site, id, patient_id, stopped_at FROM family_member",
        **TAKEN,
        "labels": LABELLED,
        "due": DUE,
    }
    events += [*invited.events, *ended.events, *corrected.events]
    return Case("notifications", events, state, f"{ended.before};{corrected.before}")


def _in_danger(patient: str) -> list[Message]:
    flags = [str(uuid4()), str(uuid4())]
    raised = [RiskFlagged(risk_flag_id=flag, patient_id=patient, raised_at=to_proto(NOON)) for flag in flags]
    return [*raised, taken(flags[0], patient)]


def intake_story(rng: random.Random, network: Network) -> Case:
    """What intake hears: pages are acknowledged, and each enrolment waits, has its seat and has ended, all at once."""
    pages = acknowledgements(rng, network)
    seats = [CASES[name](rng, network) for name in ("follow_waitlist", "follow_seat", "follow_end")]
    events = [event for case in (pages, *seats) for event in case.events]
    return Case("intake", events, {**pages.state, **seats[0].state}, f"{pages.before};{seats[0].before}")


def scheduling_story(rng: random.Random, network: Network) -> Case:
    """What scheduling hears of the same people: admitted, every other one of them gone again, and all of them are one.

    Whoever goes before a seat is free is told of none, so that of the words only the last about each is the same.
    """
    came = admissions(rng, network)
    rows = some(network, "intake", "SELECT site, id, patient_id FROM admission WHERE true")
    last = "SELECT DISTINCT ON (aggregate_id) site, subject FROM outbox ORDER BY aggregate_id, aggregate_seq DESC"
    said = SAID.replace("FROM outbox", f"FROM ({last}) AS last")
    return replace(
        came,
        events=[*came.events, *departures(rng, network).events[::2], *becoming_one(rng, rows)],
        state={**came.state, "aliases": ALIASES, "announced": said},
    )


def care_story(rng: random.Random, _: Network) -> Case:
    """What care hears of the same people: they have seats, and all of them are one."""
    drafted = seats(rng, _)
    rows = [{"site": event.site, "patient_id": json.loads(event.payload)["patientId"]} for event in drafted.events]
    return replace(
        drafted, events=[*drafted.events, *becoming_one(rng, rows)], state={**drafted.state, "aliases": ALIASES}
    )


def becoming_one(rng: random.Random, rows: Sequence[Row]) -> list[Delivery]:
    """All people of a site whom these rows are about, and something of substance use comes into one record."""
    events = list[Delivery]()
    for site in sorted({row["site"] for row in rows}):
        people = sorted({row["patient_id"] for row in rows if row["site"] == site})
        events += labelled(rng, site, [*merges(rng, people), raised(rng.choice(people))])
    return events


MIXED: dict[str, Callable[[random.Random, Network], Case]] = {
    "intake": intake_story,
    "scheduling": scheduling_story,
    "care": care_story,
    "family": family_story,
    "notifications": notifications_story,
}
"""Of the services with several handlers, whose `commutative` lines are about each other."""
