"""What holds of texts and emails: to patients, to families while a consent stands, to clinicians."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta

from tests.faults.history import History
from tests.faults.journey_checks import Consent, consents_of
from tests.faults.observed import Event, Observed, Row

Reach = Counter[tuple[str, str]]  # channel and address
AFTER_A_STALL = timedelta(seconds=5)
NEWS = {"enrollment_confirmed": "confirmed", "enrollment_waitlisted": "waitlisted"}


def faults(history: History, seen: Observed) -> Iterator[str]:
    yield from _welcomes(seen)
    yield from _news(seen)
    yield from _family_messages(history, seen)
    yield from _consented(history, seen)
    yield from _pages(seen)
    yield from _acknowledgements(seen)
    yield from _ends(history, seen)
    yield from _hand_overs(seen)


def _reach(rows: list[Row]) -> dict[str, Reach]:
    """How each of these people can be reached."""
    channel = {"phone": "sms", "email": "email"}
    return {
        row["id"]: Counter({(channel[each["system"]], each["value"]) for each in row["person"]["contact_points"]})
        for row in rows
    }


def _written(seen: Observed, template: str) -> dict[str, Reach]:
    """To whom messages were written, by the event that they go back to."""
    written: dict[str, Reach] = defaultdict(Counter)
    for row in seen.tables["notifications"]["message"]:
        if row["template"] == template:
            written[row["causation"]][row["channel"], row["address"]] += 1
    return written


def _differs(event: Event, wanted: Reach, written: Reach) -> Iterator[str]:
    if written != wanted:
        yield f"{event.token} {event.id}: wanted {wanted.total()} messages, found {written.total()}"


def _welcomes(seen: Observed) -> Iterator[str]:
    """One message for each way to reach the person, for each referral."""
    reach = _reach(seen.tables["intake"]["patient"])
    patients = {row["id"]: row["patient_id"] for row in seen.tables["intake"]["referral"]}
    written = _written(seen, "referral_received")
    for event in seen.announced("intake", "referral_received"):
        yield from _differs(event, reach.get(patients.get(event.about, ""), Counter()), written[event.id])


def _news(seen: Observed) -> Iterator[str]:
    """What was said of an enrolment is written once to each address, or, when it was no longer so, not at all.

    The event is a hint: by the time it is heard somebody who waited may have a seat, or have left. What is still so at
    the end was so all the time, and has been written.
    """
    reach = _reach(seen.tables["intake"]["patient"])
    enrollments = {row["id"]: row for row in seen.tables["scheduling"]["enrollment"]}
    for token, status in NEWS.items():
        written = _written(seen, token)
        events = seen.announced("scheduling", token)
        for event in events:
            row = enrollments.get(event.about, {"patient_id": "", "status": ""})
            if written[event.id] or row["status"] == status:
                yield from _differs(event, reach.get(row["patient_id"], Counter()), written[event.id])
        for stray in written.keys() - {event.id for event in events}:
            yield f"{token}: messages were written after {stray}, which nobody announced"


def _family_messages(history: History, seen: Observed) -> Iterator[str]:
    """To every address of whoever is invited, once, or to none if their consent has ended by then."""
    reach = _reach(seen.tables["intake"]["family_member"])
    invitations = {row["id"]: row for row in seen.tables["family"]["invitation"]}
    consents = consents_of(history, seen)
    written = _written(seen, "family_invitation")
    for event in seen.announced("family", "family_member_invited"):
        row = invitations.get(event.about)
        if row is None:
            continue  # found by another check
        invited_at = datetime.fromisoformat(row["invited_at"])
        pair = row["patient_id"], row["family_member_id"]
        if written[event.id] or any(each.stands_since(invited_at) for each in consents.get(pair, [])):
            yield from _differs(event, reach.get(row["family_member_id"], Counter()), written[event.id])


def _consented(history: History, seen: Observed) -> Iterator[str]:
    """Nothing came out at the end of a channel after the caller knew that the consent had ended."""
    consents = consents_of(history, seen)
    to_family = {row["id"]: row for row in seen.tables["notifications"]["message"] if row["family_member_id"]}
    for out in (*seen.texts, *seen.mails):
        row = to_family.get(out.message)
        if row and not any(_covered(history, each, out.at) for each in _about(consents, row)):
            yield f"message {out.message}: handed over at {out.at}, when no consent covered it"


def _about(consents: dict[tuple[str, str], list[Consent]], row: Row) -> list[Consent]:
    return consents.get((row["patient_id"], row["family_member_id"]), [])


def _covered(history: History, consent: Consent, at: datetime) -> bool:
    """What came out just after its process was stopped and went on had begun before it was stopped."""
    began = [start for start, end in history.stalls if start <= at <= end + AFTER_A_STALL]
    return any(consent.held(time) for time in (at, *began))


def _pages(seen: Observed) -> Iterator[str]:
    """One escalation for each flag that must not wait, and as many pages as it has counted, however it began."""
    tables = seen.tables["notifications"]
    flags = {row["id"] for row in seen.tables["intake"]["risk_flag"] if row["urgency"] == "page"}
    raised = Counter(row["risk_flag_id"] for row in tables["escalation"])
    for flag in flags | raised.keys():
        if raised[flag] != (1 if flag in flags else 0):
            yield f"flag {flag}: {raised[flag]} escalations"
    written = Counter(row["escalation_id"] for row in tables["message"] if row["template"] == "escalation_page")
    advanced = Counter(event.about for event in seen.announced("notifications", "escalation_advanced"))
    for row in tables["escalation"]:
        if (written[row["id"]], advanced[row["id"]]) != (row["pages"], row["pages"] - 1):
            found = f"{written[row['id']]} pages, advanced {advanced[row['id']]} times"
            yield f"escalation {row['id']}: {found}, and it counts {row['pages']}"
    yield from _paged(seen)


def _paged(seen: Observed) -> Iterator[str]:
    """Where a page came out, notifications knows it, and intake has asked until it knew it or somebody took it."""
    tables = seen.tables["notifications"]
    delivered = {row["escalation_id"] for row in tables["message"] if row["status"] == "delivered"}
    for row in tables["escalation"]:
        if (row["paged_at"] is not None) != (row["id"] in delivered):
            yield f"escalation {row['id']}: paged_at is {row['paged_at']}"
    for flag in seen.tables["intake"]["risk_flag"]:
        if flag["urgency"] == "page" and not (flag["paged_at"] or flag["acknowledged_by"]):
            yield f"flag {flag['id']}: intake does not know that it was paged"


def _acknowledgements(seen: Observed) -> Iterator[str]:
    """A flag knows who has taken its page, and only then."""
    takers = {row["risk_flag_id"]: row["acknowledged_by"] for row in seen.tables["notifications"]["escalation"]}
    for flag in seen.tables["intake"]["risk_flag"]:
        if flag["acknowledged_by"] != takers.get(flag["id"]):
            yield f"flag {flag['id']}: taken by {takers.get(flag['id'])}, and knows of {flag['acknowledged_by']}"


def _ends(history: History, seen: Observed) -> Iterator[str]:
    """Every message was handed over, but pages that somebody has taken, and what no consent covers any more."""
    consents = consents_of(history, seen)
    taken = {row["id"] for row in seen.tables["notifications"]["escalation"] if row["acknowledged_by"]}
    for row in seen.tables["notifications"]["message"]:
        match row["status"]:
            case "delivered":
                continue
            case "expired" if row["escalation_id"] in taken:
                continue
            case "withheld" if row["family_member_id"] and _may_be_withheld(_about(consents, row), row):
                continue
            case status:
                yield f"message {row['id']} ({row['template']}) is {status}"


def _may_be_withheld(consents: list[Consent], row: Row) -> bool:
    stood = any(each.stands_since(datetime.fromisoformat(row["created_at"])) for each in consents)
    return any(each.revoked for each in consents) and not stood


def _hand_overs(seen: Observed) -> Iterator[str]:
    """A text lies there once; a mail was sent, perhaps again, but always under its own Message-ID."""
    messages = seen.tables["notifications"]["message"]
    for channel, found in (("sms", seen.texts), ("email", seen.mails)):
        there = {out.message for out in found}
        ours = {row["id"] for row in messages if row["channel"] == channel}
        wanted = {row["id"] for row in messages if row["channel"] == channel and row["status"] == "delivered"}
        yield from (f"{channel} {id}: delivered, and not there" for id in wanted - there)
        yield from (f"{channel} {id}: there, and of no message" for id in there - ours)
    times = Counter(out.message for out in seen.texts)
    yield from (f"sms {id}: there {count} times" for id, count in times.items() if count > 1)
