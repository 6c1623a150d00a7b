"""The table of suggestions, and what the record adds to the facts that one is made from."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ARRAY, Column, Integer, RowMapping, Text, Uuid, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert

from stepway_chassis import records
from stepway_chassis.errors import NotFound
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.authority import ages_of
from stepway_intake.domain.facts import Facts, age_group, flagged, together, with_record
from stepway_intake.domain.interviews import facts_in, of_late, standing_in
from stepway_intake.domain.levels_of_care import LevelOfCare, Suggested
from stepway_intake.domain.referrals import Referral
from stepway_intake.domain.risk import Disposition
from stepway_intake.domain.rules import Finding, Reason
from stepway_intake.domain.sections import Form
from stepway_intake.domain.suggestions import Suggestion
from stepway_intake.instruments.definition import Risk
from stepway_intake.store.assessments import assessment
from stepway_intake.store.levels_of_care import level_or_none
from stepway_intake.store.risk import risk_flag
from stepway_intake.store.tables import METADATA
from stepway_intake.store.workups import workup

level_of_care_suggestion = records.records(
    "level_of_care_suggestion",
    METADATA,
    Column("referral_id", Uuid),
    Column("patient_id", Uuid),
    Column("facts", JSONB),
    Column("level", Text),
    Column("at_least", Text),
    Column("reasons", JSONB),
    Column("missing", ARRAY(Text)),
    Column("rule_set", Text),
    Column("payer", Text),
    Column("suggested_to", Text),
    Column("suggested_at", TIME),
    Column("flags", Integer),
)


async def facts_of(tx: Tx, referral: Referral, stated: Facts, *, fresh: timedelta) -> Facts:
    """What is stated, what the patient has answered and said that is not older than `fresh`, the age, open flags."""
    patient, zone = referral.patient, ZoneInfo(tx.site.zone)
    since = tx.now - fresh
    workups = await _workups(tx, patient.id, zone)
    ever, forms = (of_late(workups, day) for day in (date.min, since.astimezone(zone).date()))
    return with_record(
        stated,
        await _bands(tx, patient.id, since),
        interviews=facts_in(forms),
        standing=together(flagged(await _risks_flagged(tx, patient.id)), standing_in(ever)),
        age_group=age_group(patient.person.birth_date, ages_of(tx.site.settings), tx.now.astimezone(zone).date()),
    )


async def _bands(tx: Tx, patient_id: UUID, since: datetime) -> Mapping[str, str]:
    """Of each instrument the newest answers count, in the band that they are treated as; where there is none, none."""
    newest = (
        select(assessment.c.instrument, func.coalesce(assessment.c.treat_as, assessment.c.band).label("band"))
        .where(assessment.c.site == tx.site.name, assessment.c.patient_id == patient_id)
        .where(assessment.c.answered_at >= since)
        .order_by(assessment.c.instrument, assessment.c.answered_at.desc(), assessment.c.id.desc())
        .distinct(assessment.c.instrument)
    )
    return {row.instrument: row.band for row in await tx.execute(newest) if row.band is not None}


async def _workups(tx: Tx, patient_id: UUID, zone: ZoneInfo) -> Sequence[tuple[date, Mapping[str, Form]]]:
    """The day that each began, oldest first, and its forms, whether it is whole by now or not."""
    of_theirs = (workup.c.site == tx.site.name, workup.c.patient_id == patient_id)
    statement = select(workup.c.started_at, workup.c.sections).where(*of_theirs).order_by(workup.c.id)
    return [(row.started_at.astimezone(zone).date(), row.sections) for row in await tx.execute(statement)]


async def _risks_flagged(tx: Tx, patient_id: UUID) -> Collection[Risk]:
    """What the flags say of which it is not on record what was done."""
    risks = (
        select(risk_flag.c.risk)
        .where(risk_flag.c.site == tx.site.name, risk_flag.c.patient_id == patient_id)
        .where(risk_flag.c.disposition == Disposition.PENDING)
    )
    return {Risk(risk) for risk in (await tx.execute(risks)).scalars()}


async def flags_had(tx: Tx, referral: Referral) -> int:
    """How many risk flags the patient has had, whatever became of them."""
    flags = select(func.count()).where(risk_flag.c.site == tx.site.name, risk_flag.c.patient_id == referral.patient.id)
    return int((await tx.execute(flags)).scalar_one())


async def add_suggestion(tx: Tx, made: Suggestion) -> None:
    await tx.execute(
        insert(level_of_care_suggestion).values(
            site=tx.site.name,
            id=made.id,
            referral_id=made.referral_id,
            patient_id=made.patient_id,
            facts={"known": dict(made.facts.known), "may_be_worse": sorted(made.facts.may_be_worse)},
            level=made.finding.level,
            at_least=made.finding.at_least,
            reasons=[asdict(reason) for reason in made.finding.reasons],
            missing=list(made.finding.missing),
            rule_set=made.rule_set,
            payer=made.payer,
            suggested_to=made.suggested_to,
            suggested_at=made.suggested_at,
            flags=made.flags,
        )
    )


async def find_suggestion(tx: Tx, id: UUID) -> Suggestion:
    """Raises NotFound (LEVEL_OF_CARE_SUGGESTION_NOT_FOUND)."""
    row = await records.find(tx, level_of_care_suggestion, id)
    if row is None or not tx.reaches(row["patient_id"]):
        message = "There is no such suggestion at this site."
        raise NotFound("LEVEL_OF_CARE_SUGGESTION_NOT_FOUND", message, field="suggestion_id")
    return _suggestion(row)


async def newest_suggested(tx: Tx, referral: Referral) -> Suggested | None:
    """What a decision on this referral is held against; whoever suggests and whoever decides locks the referral."""
    newest = (
        select(level_of_care_suggestion)
        .where(level_of_care_suggestion.c.site == tx.site.name)
        .where(level_of_care_suggestion.c.referral_id == referral.id)
        .order_by(level_of_care_suggestion.c.id.desc())
        .limit(1)
    )
    row = (await tx.execute(newest)).mappings().first()
    if row is None:
        return None
    levels = level_or_none(row["level"]), level_or_none(row["at_least"])
    return Suggested(row["id"], *levels, row["rule_set"], overtaken=row["flags"] != await flags_had(tx, referral))


def _suggestion(row: RowMapping) -> Suggestion:
    return Suggestion(
        id=row["id"],
        referral_id=row["referral_id"],
        patient_id=row["patient_id"],
        facts=_facts(row["facts"]),
        finding=_finding(row),
        rule_set=row["rule_set"],
        payer=row["payer"],
        suggested_to=row["suggested_to"],
        suggested_at=row["suggested_at"],
        flags=row["flags"],
    )


def _facts(stored: Mapping[str, Any]) -> Facts:
    return Facts(stored["known"], frozenset(stored["may_be_worse"]))


def _finding(row: RowMapping) -> Finding:
    reasons = tuple(Reason(each["code"], LevelOfCare(each["level"]), each["text"]) for each in row["reasons"])
    return Finding(level_or_none(row["level"]), level_or_none(row["at_least"]), reasons, tuple(row["missing"]))
