"""Workups and flags as they may and may not go, by a site's own rules too: each rule, and every way through them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stepway_chassis.errors import Conflict, InvalidInput
from stepway_intake.domain import risk, workups
from stepway_intake.domain.risk import WITHIN, Disposition, RiskFlag, Urgency, Within
from stepway_intake.domain.sections import MAY_TELL_OF_SUBSTANCE_USE, Kind
from stepway_intake.domain.site_rules import rules_of
from stepway_intake.domain.workups import PartStatus, Workup
from stepway_intake.instruments.battery import BATTERIES
from stepway_intake.instruments.catalogue import CURRENT, find
from stepway_intake.instruments.definition import Risk
from tests.drafts import BECAUSE, FLAG, GAD_7, NOON, PATIENT, REFERRAL, a_workup, completed, excused, ids, saved, status


@pytest.mark.parametrize("battery", sorted(BATTERIES))
def test_a_workup_is_whole_when_every_required_part_is_done_or_excused(battery: str) -> None:
    required = [part.name for part in workups.parts(a_workup(battery)) if part.required]
    for left_out in required:
        with pytest.raises(Conflict, match=rf"WORKUP_INCOMPLETE.*: {left_out}\.$"):
            completed(excused(a_workup(battery), left_out))
    assert completed(excused(a_workup(battery))).workup.completed_at == NOON


def test_what_is_only_suggested_may_be_left_out() -> None:
    assert status(a_workup(), "pcl-5") is PartStatus.MISSING
    assert completed(excused(a_workup())).assessments == []


def test_answers_are_scored_by_the_version_that_they_were_given_to() -> None:
    week = find("pcl-5", "week")
    workup, _ = saved(a_workup(), week, dict.fromkeys(range(1, 21), 1))
    (assessment,) = completed(excused(workup)).assessments
    assert (assessment.score.total, assessment.score.version) == (20, "week")
    assert workups.definition_of(workup, "pcl-5", site_version="1") is week


def test_answers_to_another_version_begin_anew() -> None:
    workup, _ = saved(a_workup(), CURRENT["dast-10"], {1: 1, 2: 1})
    workup, _ = saved(workup, find("dast-10", "reworded"), {3: 1})
    assert workup.drafts["dast-10"].answers == {3: 1}


def test_an_excused_part_that_is_done_after_all_is_done() -> None:
    workup = workups.excuse(a_workup(), "gad-7", BECAUSE)
    workup, _ = saved(workup, GAD_7, dict.fromkeys(range(1, 8), 0))
    assert status(workup, "gad-7") is PartStatus.DONE


def test_something_that_is_no_part_of_a_battery_cannot_be_excused_from_it() -> None:
    with pytest.raises(InvalidInput, match="WORKUP_PART_UNKNOWN"):
        workups.excuse(a_workup("adolescent"), "mdq", BECAUSE)


def test_answers_beyond_the_form_are_refused_and_nothing_is_kept() -> None:
    for answers, reason in (({8: 1}, "ITEM_UNKNOWN"), ({1: 4}, "ANSWER_OUT_OF_RANGE")):
        with pytest.raises(InvalidInput, match=reason):
            saved(a_workup(), GAD_7, answers)


@pytest.mark.parametrize(
    ("name", "answers", "of_substance_use"),
    [
        *(("audit", {1: 0}, True), ("dast-10", {1: 0}, True), ("bam", {1: 0}, True), ("bam", {}, False)),
        *(("audit-c", {1: 0}, False), ("audit-c", {1: 2}, False), ("audit-c", {1: 3, 2: 0, 3: 0}, True)),
        *(("audit-c", {1: 4, 2: 4}, True), ("audit-c", {3: 3}, True), ("audit-c", {1: 1, 2: 1}, False)),
        *(("phq-9", dict.fromkeys(range(1, 10), 3), False), ("dast-10", {}, False)),
    ],
)
def test_what_is_answered_about_substances_makes_a_record_one_of_substance_use(
    name: str, answers: dict[int, int], of_substance_use: bool
) -> None:
    assert workups.is_of_substance_use(saved(a_workup(), CURRENT[name], answers)[0]) is of_substance_use


def test_so_does_a_battery_for_whoever_comes_for_it() -> None:
    assert {name for name in BATTERIES if workups.is_of_substance_use(a_workup(name))} == {"dual", "substance-use"}


@pytest.mark.parametrize(
    ("kind", "form", "of_substance_use"),
    [
        (Kind.SUBSTANCE_USE, {"none": True}, False),
        (Kind.SUBSTANCE_USE, {"none": True, "overdoses": 0, "naloxone_at_hand": "TOLD_YES"}, False),
        (Kind.SUBSTANCE_USE, {"substances": [{}]}, True),
        (Kind.SUBSTANCE_USE, {"none": True, "overdoses": 3}, True),
        (Kind.SUBSTANCE_USE, {"none": True, "narrative": "sober since May"}, True),
        (Kind.MEDICAL_EVALUATION, {"withdrawal_risk": "CLINICAL_RISK_NONE", "narrative": "well"}, False),
        (Kind.MEDICAL_EVALUATION, {"withdrawal_risk": "CLINICAL_RISK_LOW"}, True),
        (Kind.MEDICAL_EVALUATION, {"medical_instability": "CLINICAL_RISK_HIGH"}, False),
        (Kind.PSYCHOSOCIAL, {"narrative": "moved here"}, False),
    ],
)
def test_so_do_an_interview_that_tells_of_it_and_a_withdrawal_that_an_examiner_expects(
    kind: Kind, form: dict[str, Any], of_substance_use: bool
) -> None:
    assert workups.is_of_substance_use(workups.save_section(a_workup(), kind, form)) is of_substance_use
    assert not of_substance_use or kind in MAY_TELL_OF_SUBSTANCE_USE


# The site's own rules


def test_a_site_may_name_its_versions_and_its_times_and_keeps_the_rest() -> None:
    rules = rules_of({"instrument_versions": {"dast-10": "reworded"}, "risk_minutes": {"high": [5, 30]}})
    assert rules.versions == {"dast-10": "reworded"}
    assert rules.within == {**WITHIN, Risk.HIGH: Within(timedelta(minutes=5), timedelta(minutes=30))}
    assert rules_of({}).within == WITHIN


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("instrument_versions", each) for each in ({"dast-10": "2"}, {"tea": "1"}, ["dast-10"], None)),
        *(("risk_minutes", each) for each in ({"none": [1, 1]}, {"high": 5}, {"high": [0, 5]}, {"high": [5]}, [])),
        *(("risk_minutes", {"high": each}) for each in ([True, 5], [5, 99999], "55")),
        *(("emergency_email", each) for each in ("lead", 5, None, "a@b@example.org")),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        rules_of({field: value})
    assert (refused.value.reason, refused.value.field) == ("SITE_SETTING_INVALID", field)


# Every way through


class Flag(RuleBasedStateMachine):
    """One flag: what is heard, taken and recorded of it in any order."""

    def __init__(self) -> None:
        super().__init__()
        raised = RiskFlag(FLAG, PATIENT, REFERRAL, Urgency.REVIEW, NOON)
        flag = risk.flag_of(Risk.HIGH, raised, age=timedelta(0))
        assert flag is not None
        self.flag, self.first, self.now = flag, flag, NOON
        self.announced: list[type] = []

    def later(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now

    @rule(minutes=st.integers(-3, 3))
    def a_page_is_acknowledged(self, minutes: int) -> None:
        at = self.later() + timedelta(minutes=minutes)
        self.flag, said = risk.acknowledge(self.flag, by="staff-2", at=at)
        self.announced += [type(said)] if said else []

    @rule()
    def it_is_taken(self) -> None:
        before = self.flag
        refused = self.attempt(lambda: risk.take(before, by="staff-3", at=self.later()))
        assert refused == ("RISK_FLAG_ALREADY_ACKNOWLEDGED" if before.acknowledged_at else "")

    @rule(disposition=st.sampled_from([each for each in Disposition if each is not Disposition.PENDING]))
    def it_is_disposed_of(self, disposition: Disposition) -> None:
        before = self.flag
        refused = self.attempt(lambda: risk.dispose(before, disposition, "seen", by="staff-3", at=self.later()))
        if before.disposed_at:
            assert refused == "RISK_DISPOSITION_ALREADY_RECORDED"
        else:
            assert refused == ("" if before.acknowledged_at else "RISK_FLAG_NOT_ACKNOWLEDGED")

    def attempt(self, change: Callable[[], tuple[RiskFlag, object]]) -> str:
        """The reason of the refusal, or ""."""
        try:
            self.flag, said = change()
        except Conflict as refused:
            return refused.reason
        self.announced.append(type(said))
        return ""

    @rule()
    def it_is_paged_or_falls_back(self) -> None:
        self.flag = risk.fallen_back(risk.paged(self.flag, at=self.later()), at=self.later())

    @invariant()
    def it_is_announced_once_each_and_never_less(self) -> None:
        taken, done = self.flag.acknowledged_at is not None, self.flag.disposition is not Disposition.PENDING
        assert self.announced == [risk.Acknowledged] * taken + [risk.Disposed] * done
        assert (self.flag.risk, self.flag.urgency, self.flag.raised_at) == (Risk.HIGH, Urgency.PAGE, NOON)
        assert done is (self.flag.disposed_at is not None)


class Saving(RuleBasedStateMachine):
    """One workup of the shortest battery, saved in any order and completed at any time."""

    battery = BATTERIES["adolescent"]

    def __init__(self) -> None:
        super().__init__()
        self.workup, self.flagged, self.scored = a_workup("adolescent"), list[Risk](), list[str]()

    def attempt(self, change: Callable[[], Workup]) -> None:
        """Do something to it, or be told that it is closed."""
        if self.workup.completed_at is None:
            self.workup = change()
        else:
            with pytest.raises(Conflict, match="WORKUP_ALREADY_COMPLETED"):
                change()

    @rule(name=st.sampled_from(battery.required), data=st.data())
    def answers_are_saved(self, name: str, data: st.DataObject) -> None:
        definition = CURRENT[name]
        item = data.draw(st.sampled_from(definition.items))
        value = data.draw(st.sampled_from(item.values))

        def change() -> Workup:
            workup, flag = saved(self.workup, definition, {item.number: value})
            self.flagged += [flag.risk] if flag else []
            return workup

        self.attempt(change)

    @rule()
    def nobody_comes_back_to_it(self) -> None:
        late = NOON + workups.LEFT_ALONE
        self.workup, flags = workups.flag_left_open(self.workup, flag_ids=ids(), at=late)
        self.flagged += [flag.risk for flag in flags]
        assert workups.due_at(self.workup) is None
        assert workups.flag_left_open(self.workup, flag_ids=ids(), at=late) == (self.workup, [])

    @rule(name=st.sampled_from(battery.required))
    def an_instrument_is_answered_whole(self, name: str) -> None:
        answers = {item.number: item.values[0] for item in CURRENT[name].items}
        self.attempt(lambda: saved(self.workup, CURRENT[name], answers)[0])

    @rule(name=st.sampled_from(battery.sections))
    def a_form_is_saved(self, name: str) -> None:
        self.attempt(lambda: workups.save_section(self.workup, Kind(name), {"narrative": "told"}))

    @rule(name=st.sampled_from([*battery.required, *battery.sections]))
    def a_part_is_excused(self, name: str) -> None:
        self.attempt(lambda: workups.excuse(self.workup, name, BECAUSE))

    @rule()
    def all_else_is_excused(self) -> None:
        if self.workup.completed_at is None:
            self.workup = excused(self.workup)

    @precondition(lambda self: self.workup.completed_at is None)
    @rule()
    def it_is_completed(self) -> None:
        undone = [part for part in workups.parts(self.workup) if part.required and part.status in UNDONE]
        if undone:
            with pytest.raises(Conflict, match="WORKUP_INCOMPLETE"):
                completed(self.workup)
            return
        done = completed(self.workup)
        self.workup, self.scored = done.workup, [each.instrument for each in done.assessments]
        self.flagged += [flag.risk for flag in done.flags]

    @invariant()
    def what_is_scored_is_what_was_answered_and_no_danger_is_missed(self) -> None:
        if self.workup.completed_at is None:
            assert self.scored == []
            return
        assert self.scored == [name for name, draft in self.workup.drafts.items() if draft.answers]
        for name in ("phq-9m", "c-ssrs-screener"):
            answers = self.workup.drafts[name].answers if name in self.workup.drafts else {}
            left = workups.risk_of(CURRENT[name], answers)
            assert left is Risk.NONE or any(each.rank >= left.rank for each in self.flagged)


UNDONE = (PartStatus.MISSING, PartStatus.STARTED)
TestFlag, TestSaving = Flag.TestCase, Saving.TestCase
TestFlag.settings = TestSaving.settings = settings(stateful_step_count=25)
