"""Workups: a comprehensive assessment on its way, saved bit by bit and scored when it is whole."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from stepway_chassis.errors import Conflict, InvalidInput
from stepway_intake.domain.assessments import Assessment, check_answered_at, scored
from stepway_intake.domain.referrals import Referral
from stepway_intake.domain.risk import HISTORICAL, WITHIN, RiskFlag, Urgency, Within, flag_of
from stepway_intake.domain.sections import Form, Kind, tell_of_substance_use
from stepway_intake.instruments.battery import BATTERIES
from stepway_intake.instruments.catalogue import CURRENT, find
from stepway_intake.instruments.definition import Definition, Risk
from stepway_intake.instruments.scoring import check, risk_of, said_of_danger, speaks_of_substance_use, unanswered

SUBSTANCE_USE = frozenset({"dual", "substance-use"})
"""The batteries of whoever comes for it."""
LEFT_ALONE = timedelta(hours=8)
"""After this long a draft that leaves a question about danger open is flagged: on the same day (APA, PHQ-9 item 9)."""


class Reason(StrEnum):
    """Why a part is not done."""

    DECLINED = "declined"
    UNABLE = "unable"
    NOT_APPLICABLE = "not_applicable"
    NO_COMMON_LANGUAGE = "no_common_language"
    DONE_ELSEWHERE = "done_elsewhere"
    LATER = "later"


class PartStatus(StrEnum):
    MISSING = "missing"
    STARTED = "started"
    DONE = "done"
    EXCUSED = "excused"


_UNDONE = (PartStatus.MISSING, PartStatus.STARTED)


@dataclass(frozen=True)
class Draft:
    """Answers to one instrument that are not scored yet.

    `flagged` is what the last flag was raised for, by answers given at `flagged_at`; `left_open_at` is when it was
    flagged that a question about danger is open, until none is or answers are saved more than 48 h later.
    """

    assessment_id: UUID
    version: str
    answers: Mapping[int, int]
    answered_at: datetime
    saved_at: datetime
    flagged: Risk = Risk.NONE
    flagged_at: datetime | None = None
    left_open_at: datetime | None = None


@dataclass(frozen=True)
class Excuse:
    reason: Reason
    note: str
    by: str
    at: datetime


@dataclass(frozen=True)
class Part:
    """One instrument or section of a workup, by name."""

    name: str
    required: bool
    status: PartStatus


@dataclass(frozen=True)
class Workup:
    """Drafts are by instrument, sections by kind, excuses by the name of either."""

    id: UUID
    referral_id: UUID
    patient_id: UUID
    battery: str
    started_at: datetime
    started_by: str
    drafts: Mapping[str, Draft] = field(default_factory=dict)
    sections: Mapping[str, Form] = field(default_factory=dict)
    excuses: Mapping[str, Excuse] = field(default_factory=dict)
    completed_at: datetime | None = None
    completed_by: str | None = None


@dataclass(frozen=True)
class Completed:
    """What a completed workup leaves: an assessment of each instrument, and flags for what was left open."""

    workup: Workup
    assessments: Sequence[Assessment]
    flags: Sequence[RiskFlag]


def start(referral: Referral, battery: str, *, id: UUID, open_already: bool, by: str, at: datetime) -> Workup:
    """Raises Conflict (WORKUP_ALREADY_OPEN)."""
    if open_already:
        raise Conflict("WORKUP_ALREADY_OPEN", "This referral has a workup on its way; list workups and resume it.")
    return Workup(id, referral.id, referral.patient.id, battery, started_at=at, started_by=by)


def save_answers(
    workup: Workup,
    definition: Definition,
    answers: Mapping[int, int],
    withdrawn: Sequence[int] = (),
    *,
    assessment_id: UUID,
    flag_id: UUID,
    answered_at: datetime,
    now: datetime,
    raised: Sequence[RiskFlag] = (),
    within: Mapping[Risk, Within] = WITHIN,
) -> tuple[Workup, RiskFlag | None]:
    """Keep answers, and flag the danger that they show unless a flag of the last two days says so already.

    `raised` are the flags that this draft has led to; once it is on record what was done, what is said later is new.
    Raises Conflict (WORKUP_ALREADY_COMPLETED), InvalidInput ANSWERED_IN_FUTURE, ITEM_UNKNOWN, ANSWER_OUT_OF_RANGE.
    """
    _check_open(workup)
    check_answered_at(answered_at, now=now)
    draft = _draft(workup, definition, assessment_id, answered_at, now)
    kept = {item: value for item, value in {**draft.answers, **answers}.items() if item not in withdrawn}
    check(definition, kept)
    danger = said_of_danger(definition, kept)
    asked = not definition.risk_items.isdisjoint(answers)
    again = said_of_danger(definition, answers) is not Risk.NONE and _seen_to(raised, danger, before=answered_at)
    anew = asked and _said_anew(draft, answered_at, now)
    if danger.rank <= draft.flagged.rank and not (again or anew):
        danger = Risk.NONE
    flag = flag_of(danger, _flag(workup, draft.assessment_id, flag_id, now), age=now - answered_at, within=within)
    draft = replace(draft, answers=kept, answered_at=answered_at, saved_at=now)
    if draft.left_open_at and (now - draft.left_open_at > HISTORICAL or not _leaves_open(definition, kept)):
        draft = replace(draft, left_open_at=None)
    if flag:
        draft = replace(draft, flagged=danger, flagged_at=answered_at)
    return replace(workup, drafts={**workup.drafts, definition.name: draft}), flag


def save_section(workup: Workup, kind: Kind, form: Form) -> Workup:
    """Raises Conflict (WORKUP_ALREADY_COMPLETED)."""
    _check_open(workup)
    return replace(workup, sections={**workup.sections, kind: form})


def excuse(workup: Workup, part: str, why: Excuse) -> Workup:
    """Raises Conflict (WORKUP_ALREADY_COMPLETED), InvalidInput WORKUP_PART_UNKNOWN."""
    _check_open(workup)
    if part not in {each.name for each in parts(workup)}:
        raise InvalidInput("WORKUP_PART_UNKNOWN", "Name a part of this workup's battery.", field="part")
    return replace(workup, excuses={**workup.excuses, part: why})


def complete(
    workup: Workup,
    referral: Referral,
    *,
    flag_ids: Iterator[UUID],
    by: str,
    at: datetime,
    within: Mapping[Risk, Within] = WITHIN,
) -> Completed:
    """Score what is answered, and flag each question about danger that was left open and is not flagged yet.

    Raises Conflict (WORKUP_ALREADY_COMPLETED, WORKUP_INCOMPLETE).
    """
    _check_open(workup)
    if undone := [part.name for part in parts(workup) if part.required and part.status in _UNDONE]:
        message = f"Do what is missing or only begun, or say why it is not done: {', '.join(undone)}."
        raise Conflict("WORKUP_INCOMPLETE", message)
    answered = {name: draft for name, draft in workup.drafts.items() if draft.answers}
    flags = [_left_open(workup, name, draft, next(flag_ids), at, within) for name, draft in answered.items()]
    return Completed(
        replace(workup, completed_at=at, completed_by=by),
        [_scored(workup, referral, name, draft) for name, draft in answered.items()],
        [flag for flag in (*flags, _never_asked(workup, next(flag_ids), at, within)) if flag],
    )


def is_of_substance_use(workup: Workup) -> bool:
    """By its battery, or by what was answered or told; the record is Part 2 from then on (42 CFR 2.11)."""
    answered = ((find(name, draft.version), draft.answers) for name, draft in workup.drafts.items())
    told = tell_of_substance_use(workup.sections)
    return workup.battery in SUBSTANCE_USE or told or any(speaks_of_substance_use(*each) for each in answered)


def due_at(workup: Workup) -> datetime | None:
    """When a draft will have been left alone with a question about danger open; None while there is none to flag."""
    if workup.completed_at is not None:
        return None
    left = (draft for name, draft in workup.drafts.items() if _unflagged(name, draft) is not Risk.NONE)
    return min((draft.saved_at + LEFT_ALONE for draft in left), default=None)


def flag_left_open(
    workup: Workup, *, flag_ids: Iterator[UUID], at: datetime, within: Mapping[Risk, Within] = WITHIN
) -> tuple[Workup, Sequence[RiskFlag]]:
    """Flag what each draft that was left alone leaves open about danger; a workup may never be completed."""
    if workup.completed_at is not None:
        return workup, []
    left = {name: draft for name, draft in workup.drafts.items() if draft.saved_at + LEFT_ALONE <= at}
    flags = {name: _left_open(workup, name, draft, next(flag_ids), at, within) for name, draft in left.items()}
    flagged = {name: replace(left[name], left_open_at=at) for name, flag in flags.items() if flag}
    return replace(workup, drafts={**workup.drafts, **flagged}), [flag for flag in flags.values() if flag]


def parts(workup: Workup) -> Sequence[Part]:
    """Of the battery in its order, then what was added to it."""
    battery = BATTERIES[workup.battery]
    instruments = dict.fromkeys((*battery.required, *battery.suggested, *workup.drafts))
    sections = dict.fromkeys((*battery.sections, *workup.sections))
    return [
        *(Part(name, name in battery.required, _instrument_status(workup, name)) for name in instruments),
        *(Part(name, name in battery.sections, _section_status(workup, name)) for name in sections),
    ]


def definition_of(workup: Workup, instrument: str, version: str = "", site_version: str = "") -> Definition:
    """The version that is named, or was begun, or that the site uses.

    Raises InvalidInput (INSTRUMENT_VERSION_UNKNOWN).
    """
    begun = workup.drafts.get(instrument)
    return find(instrument, version or (begun.version if begun else site_version))


def _check_open(workup: Workup) -> None:
    if workup.completed_at is not None:
        raise Conflict("WORKUP_ALREADY_COMPLETED", "Record what is repeated as an assessment, or begin a new workup.")


def _said_anew(draft: Draft, answered_at: datetime, now: datetime) -> bool:
    """Later than what was flagged, which is too old by now to have anybody look today."""
    return draft.flagged_at is not None and answered_at > draft.flagged_at and now - draft.flagged_at > HISTORICAL


def _seen_to(raised: Sequence[RiskFlag], danger: Risk, *, before: datetime) -> bool:
    """Whether it was on record by then what was done about each flag of such danger."""
    disposed = [flag.disposed_at for flag in raised if flag.risk.rank >= danger.rank]
    return bool(disposed) and all(at is not None and at < before for at in disposed)


def _draft(workup: Workup, definition: Definition, assessment_id: UUID, answered_at: datetime, now: datetime) -> Draft:
    """What is there of this instrument; neither answers to another version of it nor their flags are of this one."""
    begun = workup.drafts.get(definition.name)
    if begun and begun.version == definition.version:
        return begun
    return Draft(begun.assessment_id if begun else assessment_id, definition.version, {}, answered_at, saved_at=now)


def _leaves_open(definition: Definition, answers: Mapping[int, int]) -> bool:
    return risk_of(definition, answers) is Risk.UNANSWERED


def _instrument_status(workup: Workup, name: str) -> PartStatus:
    answers, definition = _answers(workup, name), definition_of(workup, name)
    if answers and not unanswered(definition, answers) and not _leaves_open(definition, answers):
        return PartStatus.DONE
    if name in workup.excuses:
        return PartStatus.EXCUSED
    return PartStatus.STARTED if answers else PartStatus.MISSING


def _section_status(workup: Workup, name: str) -> PartStatus:
    if name in workup.sections:
        return PartStatus.DONE
    return PartStatus.EXCUSED if name in workup.excuses else PartStatus.MISSING


def _scored(workup: Workup, referral: Referral, name: str, draft: Draft) -> Assessment:
    return scored(
        referral,
        find(name, draft.version),
        draft.answers,
        assessment_id=draft.assessment_id,
        answered_at=draft.answered_at,
        workup_id=workup.id,
    )


def _left_open(
    workup: Workup, name: str, draft: Draft, flag_id: UUID, at: datetime, within: Mapping[Risk, Within]
) -> RiskFlag | None:
    """What the answers say, or leave open, beyond what was flagged."""
    beyond = _unflagged(name, draft)
    return flag_of(beyond, _flag(workup, draft.assessment_id, flag_id, at), age=at - draft.answered_at, within=within)


def _unflagged(name: str, draft: Draft) -> Risk:
    danger = risk_of(find(name, draft.version), draft.answers) if draft.answers else Risk.NONE
    if danger is Risk.UNANSWERED and draft.left_open_at:
        return Risk.NONE
    anew = danger is Risk.UNANSWERED and _said_anew(draft, draft.answered_at, draft.saved_at)
    return danger if anew or danger.rank > draft.flagged.rank else Risk.NONE


def _never_asked(workup: Workup, flag_id: UUID, at: datetime, within: Mapping[Risk, Within]) -> RiskFlag | None:
    """An instrument that asks about danger was not begun, for whatever reason: that is never a no."""
    not_begun = (name for name in BATTERIES[workup.battery].required if not _answers(workup, name))
    open_ = any(CURRENT[name].risks for name in not_begun)
    danger = Risk.UNANSWERED if open_ else Risk.NONE
    return flag_of(danger, _flag(workup, None, flag_id, at), age=timedelta(0), within=within)


def _answers(workup: Workup, name: str) -> Mapping[int, int]:
    draft = workup.drafts.get(name)
    return draft.answers if draft else {}


def _flag(workup: Workup, assessment_id: UUID | None, flag_id: UUID, at: datetime) -> RiskFlag:
    return RiskFlag(
        flag_id, workup.patient_id, workup.referral_id, Urgency.REVIEW, raised_at=at, assessment_id=assessment_id
    )
