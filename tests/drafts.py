"""A workup as the domain has it: begun, filled in, excused from, completed."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

from stepway_intake.domain import workups
from stepway_intake.domain.people import Label, Patient, Person
from stepway_intake.domain.referrals import Referral, Status
from stepway_intake.domain.risk import RiskFlag
from stepway_intake.domain.workups import Excuse, PartStatus, Reason, Workup
from stepway_intake.instruments.catalogue import CURRENT
from stepway_intake.instruments.definition import Definition

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
REFERRAL, PATIENT, WORKUP, FLAG, ASSESSMENT = (UUID(int=number) for number in range(1, 6))
PHQ_9, GAD_7, C_SSRS = (CURRENT[name] for name in ("phq-9", "gad-7", "c-ssrs-screener"))
BECAUSE = Excuse(Reason.DECLINED, "not today", "staff-1", NOON)


def a_referral() -> Referral:
    person = Person("Quillan", "Vexmoor", "1990-04-01", "ADMINISTRATIVE_GENDER_FEMALE", (), "")
    return Referral(REFERRAL, Patient(PATIENT, person, Label.PART2), Status.SCREENING, (), "wants help", NOON)


def a_workup(battery: str = "adult-mental-health", **changes: Any) -> Workup:
    begun = workups.start(a_referral(), battery, id=WORKUP, open_already=False, by="staff-1", at=NOON)
    return replace(begun, **changes)


def saved(
    workup: Workup,
    definition: Definition,
    answers: dict[int, int],
    *,
    age: timedelta = timedelta(0),
    now: datetime = NOON,
    **how: Any,
) -> tuple[Workup, RiskFlag | None]:
    return workups.save_answers(
        workup, definition, answers, assessment_id=ASSESSMENT, flag_id=FLAG, answered_at=now - age, now=now, **how
    )


def ids() -> Iterator[UUID]:
    return (UUID(int=number) for number in count(100))


def completed(workup: Workup) -> workups.Completed:
    return workups.complete(workup, a_referral(), flag_ids=ids(), by="staff-1", at=NOON)


def excused(workup: Workup, *but: str) -> Workup:
    """Every required part that is not done, except some."""
    for part in workups.parts(workup):
        if part.required and part.name not in but and part.status is not PartStatus.DONE:
            workup = workups.excuse(workup, part.name, BECAUSE)
    return workup


def status(workup: Workup, name: str) -> PartStatus:
    return next(part.status for part in workups.parts(workup) if part.name == name)
