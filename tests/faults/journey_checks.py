"""What holds of the records of the journey: each change announced once, seats, plans, and who is invited."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from tests.faults.history import History, Kind
from tests.faults.observed import Observed, Row

Pair = tuple[str, str]  # a patient and a family member
_WAY = ("received", "screening", "decided", "admitted", "waitlisted")


@dataclass(frozen=True)
class Consent:
    """`covers` says whether an invitation needs it; `known_at` and `ended_at` are when the callers had the answer."""

    covers: bool
    revoked: bool
    granted_at: datetime
    known_at: datetime | None
    ended_at: datetime | None

    def held(self, at: datetime) -> bool:
        """Whether something could rightly be told at that time."""
        return self.covers and self.granted_at <= at and (self.ended_at is None or at <= self.ended_at)

    def stands_since(self, at: datetime) -> bool:
        """Whether everybody had to find it, from that time until now."""
        return self.covers and not self.revoked and self.known_at is not None and self.known_at <= at


def consents_of(history: History, seen: Observed) -> dict[Pair, list[Consent]]:
    known = {command.ids["id"]: command.answered_at for command in history.acknowledged(Kind.GRANT)}
    ended = {command.ids["id"]: command.answered_at for command in history.acknowledged(Kind.REVOKE)}
    consents: dict[Pair, list[Consent]] = defaultdict(list)
    for row in seen.tables["intake"]["consent"]:
        covers, granted_at = "schedule" in row["categories"], datetime.fromisoformat(row["granted_at"])
        answered = known.get(row["id"]), ended.get(row["id"])
        consent = Consent(covers, row["revoked_at"] is not None, granted_at, *answered)
        consents[row["patient_id"], row["family_member_id"]].append(consent)
    return consents


def faults(history: History, seen: Observed) -> Iterator[str]:
    yield from _announcements(seen)
    yield from _enrollments(seen)
    yield from _seats(seen)
    yield from _plans(seen)
    yield from _links(seen)
    yield from _invitations(history, seen)
    yield from _expected(history, seen)


def _announcements(seen: Observed) -> Iterator[str]:
    """What became true was announced once, and what was announced is true."""
    intake, scheduling, messages = (seen.tables[name] for name in ("intake", "scheduling", "notifications"))
    flags, pages, enrollments = intake["risk_flag"], messages["escalation"], scheduling["enrollment"]
    yield from _once(seen, "intake", "referral_received", intake["referral"])
    yield from _moves(seen, intake["referral"], intake["admission"])
    yield from _once(seen, "intake", "assessment_completed", intake["assessment"])
    yield from _once(seen, "intake", "risk_flagged", (flag for flag in flags if flag["urgency"] == "page"))
    yield from _once(seen, "intake", "risk_review_requested", (flag for flag in flags if flag["urgency"] == "review"))
    yield from _once(seen, "intake", "level_of_care_decided", intake["level_of_care_decision"])
    yield from _once(seen, "intake", "consent_granted", intake["consent"])
    yield from _once(seen, "intake", "consent_revoked", (row for row in intake["consent"] if row["revoked_at"]))
    yield from _once(seen, "intake", "patient_admitted", intake["admission"])
    yield from _once(seen, "scheduling", "enrollment_confirmed", (row for row in enrollments if row["confirmed_at"]))
    yield from _once(seen, "scheduling", "enrollment_ended", (row for row in enrollments if row["ended_at"]))
    yield from _once(seen, "care", "plan_drafted", seen.tables["care"]["treatment_plan"])
    yield from _once(seen, "family", "family_member_invited", seen.tables["family"]["invitation"])
    yield from _once(seen, "notifications", "escalation_raised", pages)
    yield from _once(seen, "notifications", "escalation_acknowledged", (row for row in pages if row["acknowledged_by"]))
    delivered = (row for row in messages["message"] if row["status"] == "delivered")
    yield from _once(seen, "notifications", "message_delivered", delivered)
    yield from _once(seen, "notifications", "message_failed", ())


def _moves(seen: Observed, referrals: Iterable[Row], admissions: Iterable[Row]) -> Iterator[str]:
    """Nobody is called and nothing is closed under load: a referral was announced at each step of this way, once.

    Whoever has waited for a seat is back among the admitted.
    """
    moves = Counter(event.about for event in seen.announced("intake", "referral_moved"))
    waited = {event.about for event in seen.announced("intake", "admission_waitlisted")}
    have_waited = {row["referral_id"] for row in admissions if row["id"] in waited}
    for row in referrals:
        back = 2 * (row["status"] == "admitted" and row["id"] in have_waited)
        if moves[row["id"]] != _WAY.index(row["status"]) + back:
            yield f"referral {row['id']}: it is {row['status']}, and was said to have moved {moves[row['id']]} times"


def _once(seen: Observed, service: str, token: str, rows: Iterable[Row]) -> Iterator[str]:
    announced = Counter(event.about for event in seen.announced(service, token))
    there = {row["id"] for row in rows}
    for id in there | announced.keys():
        if announced[id] != (1 if id in there else 0):
            yield f"{token} of {id}: announced {announced[id]} times, and it is {'' if id in there else 'not '}there"


def _enrollments(seen: Observed) -> Iterator[str]:
    """One for each admission; it begins with a seat or in the line, and of the line is said nothing else."""
    enrollments = seen.tables["scheduling"]["enrollment"]
    times = Counter(row["admission_id"] for row in enrollments)
    for admission in {row["id"] for row in seen.tables["intake"]["admission"]} | times.keys():
        if times[admission] != 1:
            yield f"admission {admission}: {times[admission]} enrolments"
    began = {event.about: event.sequence for event in seen.announced("scheduling", "enrollment_waitlisted")}
    waited = Counter(event.about for event in seen.announced("scheduling", "enrollment_waitlisted"))
    seated = {event.about: event.sequence for event in seen.announced("scheduling", "enrollment_confirmed")}
    for row in enrollments:
        if waited[row["id"]] > 1 or 1 not in (began.get(row["id"]), seated.get(row["id"])):
            yield f"enrolment {row['id']}: it was said {waited[row['id']]} times that it waits, and not at first"


def _seats(seen: Observed) -> Iterator[str]:
    """No more than there are, as many as are held, and none free that suits somebody who waits."""
    enrollments = seen.tables["scheduling"]["enrollment"]
    tracks = {row["id"]: row for row in seen.tables["scheduling"]["track"]}
    held = Counter(row["track_id"] for row in enrollments if row["status"] == "confirmed")
    for id, track in tracks.items():
        if not held[id] == track["seats_taken"] <= track["seats"]:
            yield f"track {id}: {held[id]} hold a seat, {track['seats_taken']} of {track['seats']} are taken"
    free = {(row["site"], row["daypart"]) for row in tracks.values() if row["seats_taken"] < row["seats"]}
    for row in enrollments:
        if row["status"] == "waitlisted" and free & {(row["site"], daypart) for daypart in row["availability"]}:
            yield f"enrolment {row['id']}: it waits, and a seat that suits is free"
        if row["track_id"] and tracks[row["track_id"]]["daypart"] not in row["availability"]:
            yield f"enrolment {row['id']}: it has a seat that does not suit"


def _plans(seen: Observed) -> Iterator[str]:
    drafted = Counter(row["enrollment_id"] for row in seen.tables["care"]["treatment_plan"])
    seated = {row["id"] for row in seen.tables["scheduling"]["enrollment"] if row["confirmed_at"]}
    for id in seated | drafted.keys():
        if drafted[id] != (1 if id in seated else 0):
            yield f"enrolment {id}: {drafted[id]} treatment plans, and {'a' if id in seated else 'never a'} seat"


def _links(seen: Observed) -> Iterator[str]:
    """Family knows of each consent what intake knows, and who was admitted."""
    there = {row["id"]: row["revoked_at"] is not None for row in seen.tables["intake"]["consent"]}
    heard = {row["id"]: row["revoked"] is not None for row in seen.tables["family"]["consent_link"] if row["granted"]}
    for id in there.keys() | heard.keys():
        if there.get(id) != heard.get(id):
            yield f"consent {id}: revoked is {there.get(id)}, and family has heard {heard.get(id)}"
    admitted = {row["patient_id"] for row in seen.tables["intake"]["admission"]}
    for id in admitted ^ {row["id"] for row in seen.tables["family"]["patient"]}:
        yield f"patient {id}: intake and family do not agree whether they were admitted"


def _invitations(history: History, seen: Observed) -> Iterator[str]:
    """One for each family member while all groups are to come, each with a seat, and never without a consent."""
    consents = consents_of(history, seen)
    invitations = seen.tables["family"]["invitation"]
    times = Counter(row["family_member_id"] for row in invitations)
    yield from (f"family member {id}: invited {count} times" for id, count in times.items() if count > 1)
    for row in invitations:
        known = consents.get((row["patient_id"], row["family_member_id"]), [])
        if not any(consent.held(datetime.fromisoformat(row["invited_at"])) for consent in known):
            yield f"invitation {row['id']}: no consent covered it"
    taken = Counter(row["family_group_id"] for row in invitations)
    for group in seen.tables["family"]["family_group"]:
        if not taken[group["id"]] == group["seats_taken"] <= group["seats"]:
            yield f"group {group['id']}: {taken[group['id']]} invited, {group['seats_taken']} of {group['seats']} taken"


def _expected(history: History, seen: Observed) -> Iterator[str]:
    """Whoever may come, and whose patient is in the programme, is invited as soon as there is room."""
    groups = seen.tables["family"]["family_group"]
    room = {group["site"] for group in groups if group["seats_taken"] < group["seats"]}
    admitted = {row["patient_id"]: row["site"] for row in seen.tables["intake"]["admission"]}
    invited = {row["family_member_id"] for row in seen.tables["family"]["invitation"]}
    for (patient, member), consents in consents_of(history, seen).items():
        may_come = any(consent.covers and not consent.revoked for consent in consents)
        if may_come and member not in invited and admitted.get(patient) in room:
            yield f"family member {member}: may come and is not invited, and there is room"
