"""Transfers: whatever is lost, repeated or decided at once between two sites, the patient ends at exactly one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid5

import pytest

from stepway_chassis.errors import Conflict, InvalidInput
from stepway_intake.domain import transfers
from stepway_intake.domain.admissions import Authorization, Course, Daypart, Ending, Population, Prescription
from stepway_intake.domain.admissions import Status as AdmissionStatus
from stepway_intake.domain.consents import Category, Finding
from stepway_intake.domain.people import Label, Patient
from stepway_intake.domain.transfers import Answers, Record, Side, Status, Transfer
from tests.unit.test_admissions import an_admission
from tests.unit.test_consents import a_consent
from tests.unit.test_intake_domain import NOON, PATIENT, a_person

TRANSFER = UUID(int=21)
CONSENT = a_consent(family_member_id=None, recipient_site="lakeside", version=2, notice_version="short")
COURSE = Course(
    Population.DUAL,
    9,
    modalities=(Prescription("cbt", 60),),
    authorization=Authorization("A-1", 20, "2026-12-01", "2026-12-31"),
)
ADMISSION = an_admission(course=COURSE)
SOMEBODY = Patient(PATIENT, a_person(), Label.PART2)


def answers(*granted: Category) -> Answers:
    return {
        category: (Finding.GRANTED, CONSENT) if category in granted else (Finding.NEVER_GRANTED, None)
        for category in transfers.ASKED
    }


ALL = answers(*transfers.ASKED)


def offered(**changes: Any) -> Transfer:
    given = {"flagged": False, "id": TRANSFER, "to": "lakeside", "at_site": "northside", "at": NOON, **changes}
    return transfers.offer(ADMISSION, CONSENT, **given)


def received() -> Transfer:
    return replace(
        offered(), side=Side.RECEIVING, other_site="northside", patient_id=None, admission_id=None, told=True
    )


def test_an_offer_shows_what_the_other_site_decides_by_and_no_payer_and_no_prescription() -> None:
    assert offered().course == Course(Population.DUAL, 9)


@pytest.mark.parametrize(
    ("label", "granted", "covered"),
    [
        (Label.GENERAL, (Category.PLAN, Category.SCHEDULE), True),
        (Label.GENERAL, (Category.PLAN,), False),
        (Label.PART2, (Category.PLAN, Category.SCHEDULE), False),
        (Label.PART2, (Category.PLAN, Category.SCHEDULE, Category.SUBSTANCE_USE), True),
        (Label.PART2, (), False),
    ],
)
def test_nothing_crosses_unless_all_that_is_needed_is_covered(
    label: Label, granted: tuple[Category, ...], covered: bool
) -> None:
    assert (transfers.consent_for(answers(*granted), label) is not None) is covered


def test_who_pays_crosses_only_where_a_consent_covers_that() -> None:
    accepted = replace(offered(), status=Status.ACCEPTED)
    without = answers(Category.PLAN, Category.SCHEDULE, Category.SUBSTANCE_USE)
    whole, part = (transfers.crosses(accepted, ADMISSION, SOMEBODY, each) for each in (ALL, without))
    assert whole
    assert part
    assert (whole.course, part.course) == (COURSE, replace(COURSE, authorization=None))
    assert (whole.consent_id, whole.consent_version, whole.notice_version) == (CONSENT.id, 2, "short")
    assert transfers.crosses(offered(), ADMISSION, SOMEBODY, ALL) is None


def test_a_patient_who_has_left_or_without_consent_or_to_the_same_site_is_not_offered() -> None:
    left = replace(ADMISSION, status=AdmissionStatus.ENDED, ending=Ending.LEFT, ended_at=NOON)
    given: dict[str, Any] = {"flagged": False, "id": TRANSFER, "at_site": "northside", "at": NOON}
    for admission, consent, to, reason in (
        (left, CONSENT, "lakeside", "ADMISSION_ENDED"),
        (ADMISSION, None, "lakeside", "TRANSFER_NOT_CONSENTED"),
        (ADMISSION, CONSENT, "northside", "TRANSFER_TO_SAME_SITE"),
    ):
        with pytest.raises((Conflict, InvalidInput)) as refused:
            transfers.offer(admission, consent, to=to, **given)
        assert refused.value.reason == reason


def test_nobody_is_handed_over_before_it_is_on_record_what_was_done_about_a_sign_of_danger() -> None:
    with pytest.raises(Conflict) as refused:
        offered(flagged=True)
    assert refused.value.reason == "RISK_FLAG_UNDISPOSED"
    with pytest.raises(Conflict) as refused:
        transfers.release(offered(), CONSENT, flagged=True, at=NOON)
    assert refused.value.reason == "RISK_FLAG_UNDISPOSED"
    assert transfers.release(offered(), None, flagged=True, at=NOON).status is Status.WITHDRAWN
    accepted = transfers.release(offered(), CONSENT, flagged=False, at=NOON)
    with pytest.raises(Conflict) as refused:  # the answer that had the record was lost
        transfers.release(accepted, CONSENT, flagged=True, at=NOON)
    assert refused.value.reason == "RISK_FLAG_UNDISPOSED"
    assert transfers.release(accepted, CONSENT, flagged=False, at=NOON + timedelta(hours=1)) == accepted
    assert transfers.release(accepted, None, flagged=True, at=NOON) == accepted
    assert (accepted.consent_id, accepted.consent_version, accepted.notice_version) == (CONSENT.id, 2, "short")


def test_an_offer_is_told_only_while_a_consent_covers_it_and_of_one_that_does_not_stand_nothing_is_shown() -> None:
    assert transfers.confirm(offered(), CONSENT, at=NOON) == offered()
    withdrawn = transfers.confirm(offered(), None, at=NOON)
    assert (withdrawn.status, withdrawn.told) == (Status.WITHDRAWN, False)
    assert transfers.confirm(withdrawn, None, at=NOON) == withdrawn
    told = transfers.emptied(withdrawn)
    assert (told.course, told.availability) == (Course(), ())


def test_the_label_of_what_arrives_is_the_highest_known() -> None:
    record = Record(a_person(), Label.PART2, COURSE, (Daypart.EVENING,), CONSENT.id, 1, "")
    accepted = transfers.accept(received(), at=NOON)
    _, referral, admission = transfers.arrive(accepted, record, Label.GENERAL, ids=ids(), at=NOON)
    assert referral.patient.label is Label.PART2
    assert admission.transfer_id == TRANSFER
    assert len({referral.id, referral.patient.id, admission.id, PATIENT}) == 4


def ids() -> Callable[[], UUID]:
    made = iter(range(1000))
    return lambda: uuid5(TRANSFER, str(next(made)))


@dataclass(frozen=True)
class Heard:
    """What a replica had read of its own site's transfer, and what it has heard in answer; not written down yet."""

    about: Transfer
    record: Record | None


@dataclass(frozen=True)
class Network:
    """Both sites, each with two replicas: calls that are still under way, answers that are not written down yet.

    `consented` ends with a revocation, and `lapsed` is from when that is acknowledged: half a second later.
    """

    sending: Transfer
    receiving: Transfer | None = None
    consented: bool = True
    lapsed: bool = False
    late: tuple[Transfer, ...] = ()
    heard: tuple[Heard, ...] = ()
    arrived: int = 0

    def at(self, side: Side) -> Transfer | None:
        return self.sending if side is Side.SENDING else self.receiving

    def keep(self, after: Transfer, **changes: Any) -> "Network":
        return replace(self, **{after.side.value: after}, **changes)

    def untold(self) -> list[Transfer]:
        return [each for each in (self.sending, self.receiving) if each is not None and not each.told]


def tried(change: Callable[[], Network]) -> list[Network]:
    """What is refused changes nothing."""
    try:
        return [change()]
    except Conflict as refused:
        return [] if refused.reason == "TRANSFER_NOT_OPEN" else [change()]


def decisions(now: Network) -> Iterator[Network]:
    """By the staff of either site, and by the patient."""
    yield from tried(lambda: now.keep(transfers.withdraw(now.sending, at=NOON)))
    if (receiving := now.receiving) is not None:
        yield from tried(lambda: now.keep(transfers.accept(receiving, at=NOON)))
        yield from tried(lambda: now.keep(transfers.decline(receiving, at=NOON)))
    yield replace(now, consented=False)
    if not now.consented:
        heard = tuple(each for each in now.heard if each.record is None)
        late = tuple(each for each in now.late if each.status is not Status.OFFERED)
        yield replace(now, lapsed=True, heard=heard, late=late)


def calls(now: Network) -> Iterator[Network]:
    """One is begun, and one that was begun arrives; its answer may be lost with whoever waits for it."""
    if len(now.late) < 2:
        yield from (begun(now, each) for each in now.untold())
    for about in dict.fromkeys(now.late):
        left = list(now.late)
        left.remove(about)
        after, record = answered(replace(now, late=tuple(left)), about)
        yield after
        if len(now.heard) < 2:
            yield replace(after, heard=(*after.heard, Heard(about, record)))


def begun(now: Network, about: Transfer) -> Network:
    """An offer is asked about before it is told."""
    after = transfers.confirm(about, CONSENT if now.consented else None, at=NOON)
    return replace(now, late=(*now.late, about)) if after == about else now.keep(after)


def answered(now: Network, about: Transfer) -> tuple[Network, Record | None]:
    """What the other site does with a call; a refusal is an answer, too."""
    if about.side is Side.SENDING:
        now = now if now.receiving else now.keep(received())  # of one that was withdrawn, too, the offer is told first
    try:
        return told(now, about)
    except Conflict:
        return now, None


def told(now: Network, about: Transfer) -> tuple[Network, Record | None]:
    if about.status is Status.OFFERED:
        assert not now.lapsed
        return now, None
    if about.status is Status.ACCEPTED:
        after = transfers.release(now.sending, CONSENT if now.consented else None, flagged=False, at=NOON)
        answers_now = ALL if now.consented else answers()
        return now.keep(after), transfers.crosses(after, ADMISSION, SOMEBODY, answers_now)
    if about.status is Status.IMPORTED:
        return now.keep(transfers.close(now.sending, Side.SENDING, at=NOON)), None
    other = now.at(Side.RECEIVING if about.side is Side.SENDING else Side.SENDING)
    assert other is not None
    return now.keep(transfers.ended_by_other(other, about.status, at=NOON)), None


def writings(now: Network) -> Iterator[Network]:
    """A replica writes down what it has heard, perhaps long after others did, or is killed before."""
    for heard in dict.fromkeys(now.heard):
        left = list(now.heard)
        left.remove(heard)
        without = replace(now, heard=tuple(left))
        yield without
        yield from tried(partial(written, without, heard))


def written(now: Network, heard: Heard) -> Network:
    about, kept = heard.about, now.at(heard.about.side)
    assert kept is not None
    if (about.side, about.status) == (Side.RECEIVING, Status.ACCEPTED):
        if heard.record is None:
            return now.keep(transfers.give_up(kept, at=NOON))
        moved, _, _ = transfers.arrive(kept, heard.record, Label.GENERAL, ids=ids(), at=NOON)
        assert not now.lapsed
        return now.keep(moved, arrived=now.arrived + 1)
    if (about.side, about.status) == (Side.RECEIVING, Status.IMPORTED):
        return now.keep(transfers.close(kept, Side.RECEIVING, at=NOON))
    return now.keep(transfers.delivered(kept)) if kept.status is about.status else now


def everything_that_can_happen() -> set[Network]:
    seen, left = set[Network](), [Network(offered())]
    while left:
        now = left.pop()
        if now not in seen:
            seen.add(now)
            left += [*decisions(now), *calls(now), *writings(now)]
    return seen


def settled(now: Network) -> Network:
    """Left alone, with both sites up and nobody deciding anything more."""
    while now.untold():
        for about in now.untold():
            now = begun(now, about)
            if about in now.late:
                now, record = answered(replace(now, late=()), about)
                now = written(now, Heard(about, record))
    return now


BOTH_KNOW = {
    (Status.OFFERED, Status.OFFERED),
    (Status.CLOSED, Status.CLOSED),
    (Status.DECLINED, Status.DECLINED),
    (Status.WITHDRAWN, Status.WITHDRAWN),
    (Status.WITHDRAWN, Status.DECLINED),  # decided at once: the patient stays, either way
}


def test_whatever_is_lost_late_repeated_or_decided_at_once_the_patient_ends_at_exactly_one_site() -> None:
    """Every state that two replicas at each site can get into: none has two patients, and each comes to one end."""
    states = everything_that_can_happen()
    assert len(states) > 1000
    for now in states:
        has_it = now.receiving is not None and now.receiving.status in {Status.IMPORTED, Status.CLOSED}
        assert now.arrived == int(has_it)
        assert now.sending.status is not Status.CLOSED or has_it
        end = settled(now)
        assert end.receiving
        assert (end.sending.status, end.receiving.status) in BOTH_KNOW
        assert (end.receiving.status is Status.CLOSED) is (end.arrived == 1)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("side", Side)
def test_a_transfer_that_has_ended_stays_as_it_is(side: Side, status: Status) -> None:
    start = offered() if side is Side.SENDING else received()
    ended = replace(start, status=status, ended_at=NOON)
    for decide in (transfers.withdraw, transfers.accept, transfers.decline):
        if status is not Status.OFFERED:
            with pytest.raises(Conflict) as refused:
                decide(ended, at=NOON)
            assert refused.value.reason == "TRANSFER_NOT_OPEN"
