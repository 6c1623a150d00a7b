"""Events for each handler of the five services, and the state that they lead to in whichever order they come."""

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import cycle
from uuid import UUID, uuid4

from google.protobuf.message import Message

from stepway.family.v1.events_pb2 import FamilyMemberInvited
from stepway.intake.v1.events_pb2 import (
    AdmissionEnded,
    ConsentExpired,
    ConsentGranted,
    ConsentRevoked,
    ConsentSuperseded,
    PatientAdmitted,
    PatientLabelRaised,
    PatientMerged,
    PatientUpdated,
    ReferralReceived,
    RiskFlagAcknowledged,
    RiskFlagged,
)
from stepway.intake.v1.person_pb2 import PERSON_FACT_CONTACT_POINTS, PERSON_FACT_NAME
from stepway.notifications.v1.events_pb2 import EscalationAcknowledged
from stepway.scheduling.v1.events_pb2 import EnrollmentConfirmed, EnrollmentEnded, EnrollmentWaitlisted
from stepway_chassis.deliveries import Delivery
from stepway_chassis.times import to_proto
from stepway_intake.domain.people import Person
from tests.faults.apart import EASTBAY, NOON, WESTBAY
from tests.faults.foreign import delivery
from tests.faults.observed import SITES, Row
from tests.network import Network

LABELS = ("general", "part2")
REVOKED = partial(ConsentRevoked, revoked_at=to_proto(NOON))
EXPIRED = partial(ConsentExpired, expired_at=to_proto(NOON))
SUPERSEDED = partial(ConsentSuperseded, superseded_by=str(uuid4()), superseded_at=to_proto(NOON))
MOST = 6  # records that a case is about
SOMEBODY = json.dumps(asdict(Person("", "", "", "", (), "")))


@dataclass(frozen=True)
class Case:
    """The events for one handler, what has to be there before them, and the state that they lead to."""

    service: str
    events: Sequence[Delivery]
    state: Mapping[str, str]  # a name, and a query that leaves out random ids and times of writing
    before: str = ""


SAID = "SELECT site, split_part(subject, '.', 6) AS said, count(*) AS times FROM outbox GROUP BY site, said"
TAKEN = {
    "taken": "SELECT site, id, taken_at, taken_by FROM taken_flag",
    "escalations": "SELECT site, risk_flag_id, patient_id, clinicians, pages, acknowledged_at, acknowledged_by,"
    " next_page_at IS NULL AS rests FROM escalation",
    "said": SAID,
}
LABELLED = "SELECT site, person, label FROM person_label"
DUE = "SELECT site, loop FROM work WHERE loop <> 'dead_letters'"
MESSAGES = (
    "SELECT site, patient_id, family_member_id, channel, address, template, body, status, causation, correlation"
    " FROM message"
)


def acknowledgements(rng: random.Random, _: Network) -> Case:
    """One to four of each flag, some at the same moment, by different people."""
    before, events = [], list[Delivery]()
    for site in (EASTBAY, WESTBAY):
        for _flag in range(4):
            flag = uuid4()
            before.append(_a_flag(site, flag))
            events += [_acknowledged(rng, site, flag) for _ in range(rng.randint(1, 4))]
    state = {"flag": "SELECT site, id, urgency, acknowledged_at, acknowledged_by FROM risk_flag"}
    return Case("intake", events, state, ";".join(before))


def _a_flag(site: str, flag: UUID) -> str:
    return (
        f"INSERT INTO patient VALUES ('{site}', '{flag}', '{SOMEBODY}', 'general', now());"
        f"INSERT INTO referral VALUES ('{site}', '{flag}', '{flag}', 'received', '[]', '', now());"
        "INSERT INTO risk_flag (site, id, patient_id, referral_id, urgency, raised_at)"
        f" VALUES ('{site}', '{flag}', '{flag}', '{flag}', 'page', now())"
    )


def _acknowledged(rng: random.Random, site: str, flag: UUID) -> Delivery:
    message = EscalationAcknowledged(
        escalation_id=str(uuid4()),
        risk_flag_id=str(flag),
        acknowledged_by=rng.choice(("staff-2041", "staff-3077", "lindqvist")),
        acknowledged_at=to_proto(NOON + timedelta(minutes=rng.randint(0, 3))),
    )
    return delivery(message, site, sequence=rng.randint(1, 9))


def some(network: Network, service: str, query: str) -> list[Row]:
    """Records that the load has left at the running platform."""
    found = network.rows(service, f"{query} AND site IN {SITES} ORDER BY id LIMIT {MOST}")
    assert len(found) > 1, query
    return found


def labelled(rng: random.Random, site: str, messages: Iterable[Message]) -> list[Delivery]:
    return [delivery(each, site, label=rng.choice(LABELS), sequence=n) for n, each in enumerate(messages, start=1)]


def referrals(rng: random.Random, network: Network) -> Case:
    """One or two referrals of each person, with labels that differ."""
    events = [
        event
        for row in some(network, "intake", "SELECT site, id FROM patient WHERE true")
        for event in labelled(rng, row["site"], (referred(row["id"]) for _ in range(rng.randint(1, 2))))
    ]
    return Case("notifications", events, {"messages": MESSAGES, "labels": LABELLED, "due": DUE})


def referred(patient: str) -> ReferralReceived:
    return ReferralReceived(referral_id=str(uuid4()), patient_id=patient, received_at=to_proto(NOON))


def flags(rng: random.Random, network: Network) -> Case:
    """One to three flags of each person, each heard of once or twice."""
    events = list[Delivery]()
    for row in some(network, "intake", "SELECT site, id FROM patient WHERE true"):
        for _ in range(rng.randint(1, 3)):
            flag = RiskFlagged(risk_flag_id=str(uuid4()), patient_id=row["id"], raised_at=to_proto(NOON))
            events += labelled(rng, row["site"], [flag] * rng.randint(1, 2))
    flag_of = "convert_from(payload, 'UTF8')::json ->> 'riskFlagId' AS flag"
    announced = f"SELECT site, aggregate_type, aggregate_seq, {flag_of} FROM outbox"
    pages = "SELECT site, patient_id, channel, address, template, body, status FROM message"
    raised = "SELECT site, risk_flag_id, patient_id, clinicians, pages, acknowledged_at FROM escalation"
    return Case(
        "notifications",
        events,
        {"escalation": raised, "pages": pages, "labels": LABELLED, "outbox": announced, "due": DUE},
    )


def taken_flags(rng: random.Random, _: Network) -> Case:
    """Some of them with a page that nobody has taken yet, some with none."""
    before, events = ["SELECT 1"], list[Delivery]()
    for site in SITES:
        for _flag in range(4):
            flag, patient = str(uuid4()), str(uuid4())
            events += labelled(rng, site, [taken(flag, patient)] * rng.randint(1, 2))
            if rng.random() < 0.5:
                before.append(_a_page(site, flag, patient))
    return Case("notifications", events, TAKEN, ";".join(before))


def taken(flag: str, patient: str) -> RiskFlagAcknowledged:
    told = {"risk_flag_id": flag, "patient_id": patient, "acknowledged_by": "staff-3077"}
    return RiskFlagAcknowledged(**told, acknowledged_at=to_proto(NOON))


def _a_page(site: str, flag: str, patient: str) -> str:
    columns = (
        "site, id, risk_flag_id, patient_id, clinicians, pages, raised_at, next_page_at, correlation, trace_context"
    )
    values = f"'{site}', '{uuid4()}', '{flag}', '{patient}', '{{staff-2041}}', 1, now(), now(), '', '{{}}'"
    return (
        f"INSERT INTO patient (site, id) VALUES ('{site}', '{patient}');"
        f"INSERT INTO escalation ({columns}) VALUES ({values})"
    )


def admissions(rng: random.Random, network: Network) -> Case:
    """Two seats at each site, each admission heard of once or twice.

    Who sits is decided at the door, by who comes first; how many sit and wait, and what is announced of each, is not.
    """
    rows = some(network, "intake", "SELECT site, id, patient_id FROM admission WHERE true")
    events = [event for row in rows for event in labelled(rng, row["site"], [_admitted(row)] * rng.randint(1, 2))]
    before = ";".join(
        f"INSERT INTO track VALUES ('{site}', '{uuid4()}', 'Evenings', 'evening', 1, 0)" for site in SITES
    )
    how_many = "SELECT site, status, count(*) AS people FROM enrollment GROUP BY site, status"
    state = {
        "enrolled": "SELECT site, admission_id, patient_id, availability, admitted_at FROM enrollment",
        "how many": how_many,
        "tracks": "SELECT site, seats, seats_taken FROM track",
        "announced": SAID,
        "labels": LABELLED,
    }
    return Case("scheduling", events, state, before)


def departures(rng: random.Random, network: Network) -> Case:
    """Of admissions that nobody has heard of before: each has ended, once, and no seat is taken."""
    came = admissions(rng, network)
    rows = some(network, "intake", "SELECT site, id, patient_id FROM admission WHERE true")
    events = [event for row in rows for event in labelled(rng, row["site"], [_left(row)] * rng.randint(1, 2))]
    return replace(came, events=events)


def _left(row: Row) -> AdmissionEnded:
    return AdmissionEnded(admission_id=row["id"], patient_id=row["patient_id"], ended_at=to_proto(NOON))


def _admitted(row: Row) -> PatientAdmitted:
    return PatientAdmitted(admission_id=row["id"], patient_id=row["patient_id"], admitted_at=to_proto(NOON))


def seats(rng: random.Random, _: Network) -> Case:
    events = list[Delivery]()
    for site in SITES:
        for _seat in range(4):
            message = EnrollmentConfirmed(
                enrollment_id=str(uuid4()), patient_id=str(uuid4()), confirmed_at=to_proto(NOON)
            )
            events += labelled(rng, site, [message] * rng.randint(1, 3))
    plans = "SELECT site, patient_id, enrollment_id, status, due_at FROM treatment_plan"
    said = "SELECT site, aggregate_seq, count(*) AS times FROM outbox GROUP BY site, aggregate_seq"
    return Case("care", events, {"plans": plans, "announced": said, "labels": LABELLED})


LINKS = (
    "SELECT site, id, patient_id, family_member_id, granted IS NOT NULL AS granted, revoked IS NOT NULL AS revoked"
    " FROM consent_link"
)


def grants(rng: random.Random, _: Network) -> Case:
    """Some consents whose revocation was heard of first."""
    before, events = [], list[Delivery]()
    for site in SITES:
        for _consent in range(4):
            consent, patient, member = uuid4(), uuid4(), uuid4()
            message = ConsentGranted(
                consent_id=str(consent),
                patient_id=str(patient),
                family_member_id=str(member),
                granted_at=to_proto(NOON),
            )
            events += labelled(rng, site, [message] * rng.randint(1, 2))
            if rng.random() < 0.5:
                columns = "site, id, patient_id, family_member_id, revoked"
                values = f"'{site}', '{consent}', '{patient}', '{member}', now()"
                before.append(f"INSERT INTO consent_link ({columns}) VALUES ({values})")
    return Case("family", events, {"links": LINKS, "labels": LABELLED, "due": DUE}, ";".join(before))


def ends(end: Callable[..., Message]) -> Callable[[random.Random, Network], Case]:
    """Some of consents whose grant has not been heard of yet."""

    def made(rng: random.Random, _: Network) -> Case:
        before, events = [], list[Delivery]()
        for site in SITES:
            for _consent in range(4):
                consent, patient, member = uuid4(), uuid4(), uuid4()
                who = {"consent_id": str(consent), "patient_id": str(patient), "family_member_id": str(member)}
                events += labelled(rng, site, [end(**who)] * rng.randint(1, 2))
                if rng.random() < 0.5:
                    columns = "site, id, patient_id, family_member_id, granted, at"
                    values = f"'{site}', '{consent}', '{patient}', '{member}', now(), now()"
                    before.append(f"INSERT INTO consent_link ({columns}) VALUES ({values})")
        return Case("family", events, {"links": LINKS, "labels": LABELLED}, ";".join(before))

    return made


def entries(rng: random.Random, _: Network) -> Case:
    """Several admissions of a patient, of which the earliest is kept."""
    events = list[Delivery]()
    for site in SITES:
        for _patient in range(4):
            patient = str(uuid4())
            messages = [
                PatientAdmitted(admission_id=str(uuid4()), patient_id=patient, admitted_at=to_proto(NOON))
                for _ in range(rng.randint(1, 3))
            ]
            events += labelled(rng, site, messages)
    state = {"patients": "SELECT site, id, at, correlation, causation FROM patient", "labels": LABELLED, "due": DUE}
    return Case("family", events, state)


SEATED = "SELECT site, id, patient_id FROM enrollment WHERE status = 'confirmed'"
WAITING = "SELECT site, id, patient_id FROM enrollment WHERE status = 'waitlisted'"


def confirmations(rng: random.Random, network: Network) -> Case:
    return _standings(rng, EnrollmentConfirmed, some(network, "scheduling", SEATED), "confirmed_at")


def waits(rng: random.Random, network: Network) -> Case:
    """Also of people who have a seat by now, and are not told to wait."""
    rows = [*some(network, "scheduling", WAITING), *some(network, "scheduling", SEATED)]
    return _standings(rng, EnrollmentWaitlisted, rows, "waitlisted_at")


def _standings(rng: random.Random, event: type[Message], rows: Iterable[Row], since: str) -> Case:
    events = list[Delivery]()
    for row in rows:
        told = {"enrollment_id": row["id"], "patient_id": row["patient_id"], since: to_proto(NOON)}
        events += labelled(rng, row["site"], [event(**told)])
    return Case("notifications", events, {"messages": MESSAGES, "labels": LABELLED, "due": DUE})


def invitations(rng: random.Random, network: Network) -> Case:
    events = list[Delivery]()
    query = "SELECT site, id, patient_id, family_member_id FROM consent WHERE revoked_at IS NULL"
    for row in some(network, "intake", query):
        message = FamilyMemberInvited(
            invitation_id=str(uuid4()),
            family_member_id=row["family_member_id"],
            patient_id=row["patient_id"],
            starts_at=to_proto(NOON + timedelta(days=400)),
            invited_at=to_proto(NOON),
        )
        events += labelled(rng, row["site"], [message])
    members = "SELECT site, id, patient_id, stopped_at FROM family_member"
    return Case("notifications", events, {"messages": MESSAGES, "members": members, "labels": LABELLED, "due": DUE})


def endings(*ends: Callable[..., Message]) -> Callable[[random.Random, Network], Case]:
    """Of consents that have ended, and of some that stand: what waits for those goes on waiting."""

    def made(rng: random.Random, network: Network) -> Case:
        before, events = [], list[Delivery]()
        ended = some(network, "intake", "SELECT * FROM consent WHERE revoked_at IS NOT NULL")
        standing = some(network, "intake", "SELECT * FROM consent WHERE revoked_at IS NULL")
        for row, end in zip([*ended, *standing], cycle(ends), strict=False):
            before.append(_a_waiting_message(row))
            who = {name: row[name] for name in ("patient_id", "family_member_id")}
            events += labelled(rng, row["site"], [end(consent_id=row["id"], **who)] * rng.randint(1, 2))
        return Case("notifications", events, {"messages": MESSAGES, "labels": LABELLED}, ";".join(before))

    return made


def _a_waiting_message(row: Row) -> str:
    """For a family member, or for the patient where none is named."""
    site, patient, member = row["site"], row["patient_id"], row.get("family_member_id")
    columns = (
        "site, id, patient_id, channel, address, template, body, status, release_at, expires_at, next_attempt_at,"
        " attempts, created_at, correlation, causation, trace_context, family_member_id"
    )
    later = "now() + interval '1 day'"
    template, to = ("family_invitation", f"'{member}'") if member else ("referral_received", "NULL")
    values = (
        f"'{site}', '{uuid4()}', '{patient}', 'sms', '+16175550100', '{template}', 'words', 'queued',"
        f" {later}, {later}, {later}, 0, now(), '', '', '{{}}', {to}"
    )
    known = f"INSERT INTO patient (site, id) VALUES ('{site}', '{patient}') ON CONFLICT DO NOTHING;"
    if member:
        known += (
            f"INSERT INTO family_member (site, id, patient_id) VALUES ('{site}', '{member}', '{patient}')"
            " ON CONFLICT DO NOTHING;"
        )
    return f"{known} INSERT INTO message ({columns}) VALUES ({values})"


def updates(rng: random.Random, network: Network) -> Case:
    """Of people who wait, each also for a message to an address that intake does not name."""
    before, events = [], list[Delivery]()
    for row in some(network, "scheduling", WAITING):
        before.append(_a_waiting_message({"site": row["site"], "patient_id": row["patient_id"]}))
        events += labelled(rng, row["site"], [updated(rng, row["patient_id"]) for _ in range(rng.randint(1, 3))])
    return Case("notifications", events, {"messages": MESSAGES, "labels": LABELLED}, ";".join(before))


def updated(rng: random.Random, patient: str) -> PatientUpdated:
    """Their name, or how they are reached, or both."""
    facts = rng.sample([PERSON_FACT_NAME, PERSON_FACT_CONTACT_POINTS], rng.randint(1, 2))
    return PatientUpdated(patient_id=patient, facts=facts, updated_at=to_proto(NOON))


def follows(event: type[Message], since: str) -> Callable[[random.Random, Network], Case]:
    """Of enrolments wherever they stand by now, told as an event of one kind."""

    def made(rng: random.Random, network: Network) -> Case:
        before, events = [], list[Delivery]()
        query = "SELECT site, id, patient_id, admission_id FROM enrollment WHERE true"
        for row in some(network, "scheduling", query):
            before.append(_an_admission(row))
            told = {"enrollment_id": row["id"], "patient_id": row["patient_id"], since: to_proto(NOON)}
            events += [delivery(event(**told), row["site"], sequence=n + 1) for n in range(rng.randint(1, 3))]
        state = {
            "admission": "SELECT site, id, status, ending, enrollment_id, enrolled_at, ended_at FROM admission",
            "referral": "SELECT site, id, status, next_action, stood FROM referral",
        }
        return Case("intake", events, state, ";".join(before))

    return made


def _an_admission(row: Row) -> str:
    site, id, patient = row["site"], row["admission_id"], row["patient_id"]
    return (
        f"INSERT INTO patient VALUES ('{site}', '{patient}', '{SOMEBODY}', 'general', now()) ON CONFLICT DO NOTHING;"
        f"INSERT INTO referral VALUES ('{site}', '{id}', '{patient}', 'admitted', '[]', '', now());"
        "INSERT INTO admission (site, id, referral_id, patient_id, availability, admitted_at)"
        f" VALUES ('{site}', '{id}', '{id}', '{patient}', '{{morning}}', now())"
    )


def raises(service: str) -> Callable[[random.Random, Network], Case]:
    """Of some people, of whom something else may have been heard before."""

    def made(rng: random.Random, _: Network) -> Case:
        before, events = [], list[Delivery]()
        for site in SITES:
            for patient in (str(uuid4()) for _ in range(3)):
                before.append(f"INSERT INTO person_label VALUES ('{site}', '{patient}', '{rng.choice(LABELS)}')")
                events += labelled(rng, site, [raised(patient)] * rng.randint(1, 3))
        return Case(service, events, {"labels": LABELLED}, ";".join(before))

    return made


def raised(patient: str) -> PatientLabelRaised:
    return PatientLabelRaised(patient_id=patient, raised_at=to_proto(NOON))


ALIASES = "SELECT site, person, same_as FROM person_alias"


def merges(rng: random.Random, patients: Sequence[str]) -> list[PatientMerged]:
    """All of them become one: each goes into one that has not gone yet."""
    left, events = list(patients), list[PatientMerged]()
    while len(left) > 1:
        gone = left.pop(rng.randrange(len(left)))
        told = {"merged_patient_id": gone, "patient_id": rng.choice(left)}
        events.append(PatientMerged(**told, merged_at=to_proto(NOON)))
    return events


def _merged(rng: random.Random, service: str, row: Callable[[str, str], str], **state: str) -> Case:
    """Three people of each site, each with a record, who are one person; `row` is SQL that gives a patient one."""
    before, events = [], list[Delivery]()
    for site in SITES:
        patients = [str(uuid4()) for _ in range(3)]
        before += [row(site, patient) for patient in patients]
        for patient in patients:
            before.append(f"INSERT INTO person_label VALUES ('{site}', '{patient}', '{rng.choice(LABELS)}')")
        events += labelled(rng, site, merges(rng, patients))
    return Case(service, events, {**state, "aliases": ALIASES, "labels": LABELLED}, ";".join(before))


def merged_seats(rng: random.Random, _: Network) -> Case:
    def row(site: str, patient: str) -> str:
        columns = "site, id, admission_id, patient_id, availability, status, admitted_at, correlation"
        values = f"'{site}', '{uuid4()}', '{uuid4()}', '{patient}', '{{evening}}', 'waitlisted', now(), ''"
        return f"INSERT INTO enrollment ({columns}) VALUES ({values})"

    return _merged(rng, "scheduling", row, enrolled="SELECT site, id, patient_id, status FROM enrollment")


def merged_plans(rng: random.Random, _: Network) -> Case:
    def row(site: str, patient: str) -> str:
        columns = "site, id, patient_id, enrollment_id, status, drafted_at, due_at, correlation"
        values = f"'{site}', '{uuid4()}', '{patient}', '{uuid4()}', 'draft', now(), now(), ''"
        return f"INSERT INTO treatment_plan ({columns}) VALUES ({values})"

    return _merged(rng, "care", row, plans="SELECT site, id, patient_id FROM treatment_plan")


def merged_families(rng: random.Random, _: Network) -> Case:
    """Of their admissions the first is kept."""

    def row(site: str, patient: str) -> str:
        at = (NOON + timedelta(seconds=rng.randint(0, 10**6))).isoformat()
        link = f"'{site}', '{uuid4()}', '{patient}', '{uuid4()}', now(), '{at}', '', '', '{{}}'"
        admission = f"'{site}', '{patient}', '{at}', '{patient}', '', '{{}}'"
        return (
            "INSERT INTO consent_link (site, id, patient_id, family_member_id, granted, at, correlation, causation,"
            f" trace_context) VALUES ({link}); INSERT INTO patient (site, id, at, correlation, causation,"
            f" trace_context) VALUES ({admission})"
        )

    admitted = "SELECT site, id, at, correlation FROM patient"
    return _merged(rng, "family", row, links=LINKS, admitted=admitted, due=DUE)


def merged_messages(rng: random.Random, _: Network) -> Case:
    """Some of them want no messages, and then none of them does."""

    def row(site: str, patient: str) -> str:
        stop = f"UPDATE patient SET stopped_at = created.at FROM (SELECT '{NOON}'::timestamptz AS at) AS created"
        stopped = f"{stop} WHERE site = '{site}' AND id = '{patient}'" if rng.random() < 0.4 else "SELECT 1"
        who = {"site": site, "patient_id": patient, "family_member_id": str(uuid4())}
        return f"{_a_waiting_message(who)}; {stopped}"

    members = "SELECT site, id, patient_id FROM family_member"
    stopped = "SELECT site, id, stopped_at FROM patient"
    return _merged(rng, "notifications", row, messages=MESSAGES, members=members, stopped=stopped)


CASES: dict[str, Callable[[random.Random, Network], Case]] = {
    "acknowledge_risk_flag": acknowledgements,
    "follow_waitlist": follows(EnrollmentWaitlisted, "waitlisted_at"),
    "follow_seat": follows(EnrollmentConfirmed, "confirmed_at"),
    "follow_end": follows(EnrollmentEnded, "ended_at"),
    "seat_patient": admissions,
    "free_seat": departures,
    "draft_plan": seats,
    "note_consent": grants,
    "end_consent": ends(REVOKED),
    "expire_consent": ends(EXPIRED),
    "replace_consent": ends(SUPERSEDED),
    "note_admission": entries,
    "welcome_patient": referrals,
    "page_clinician": flags,
    "rest_clinician": taken_flags,
    "confirm_enrollment": confirmations,
    "explain_waitlist": waits,
    "invite_family_member": invitations,
    "withhold_messages": endings(REVOKED),
    "withhold_expired": endings(EXPIRED),
    "withhold_superseded": endings(SUPERSEDED),
    "leave_former_addresses": updates,
    "follow_seated_patient": merged_seats,
    "follow_planned_patient": merged_plans,
    "follow_linked_patient": merged_families,
    "follow_messaged_patient": merged_messages,
    "label_seated_patient": raises("scheduling"),
    "label_planned_patient": raises("care"),
    "label_linked_patient": raises("family"),
    "label_messaged_patient": raises("notifications"),
}
