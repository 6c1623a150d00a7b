"""What the demo says it has checked of intake: a suggestion, a merge, the work queue; kept, broken or untried."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console

from stepway.intake.v1.level_of_care_pb2 import LEVEL_OF_CARE_INTENSIVE_OUTPATIENT
from stepway.intake.v1.level_of_care_suggestion_pb2 import LevelOfCareSuggestion, SuggestionReason
from stepway.intake.v1.referral_pb2 import REFERRAL_ACTION_CONTACT, REFERRAL_ACTION_UNSPECIFIED, Referral
from stepway.intake.v1.risk_flag_pb2 import RiskFlag
from stepway_chassis.times import to_proto
from stepway_cli.demo import doubles, story, weighing, work
from stepway_cli.demo.doubles import Doubled
from stepway_cli.demo.weighing import Weighed
from stepway_cli.sites import SiteRecord

OPEN = LevelOfCareSuggestion(missing=["risk"])
SETTLED = LevelOfCareSuggestion(level=LEVEL_OF_CARE_INTENSIVE_OUTPATIENT, reasons=[SuggestionReason(code="impaired")])
WEIGHED = Weighed("r", OPEN, SETTLED, "OVERRIDE_MISSING")
DOUBLED = Doubled("northside", "kept", "former", ("name",), "kept")
EDGES = {service: [{"person": "former", "same_as": "kept"}] for service in ("intake", "care")}


def test_what_the_run_had_nobody_for_is_untried() -> None:
    untried = [weighing.check(None), doubles.merged(None, {}, 0), work.nobody_missing([], {"northside": []})]
    assert [promise.kept for promise in untried] == [None] * 3


def test_a_suggestion_that_waits_for_the_risk_and_gives_its_reasons_is_kept() -> None:
    assert weighing.check(WEIGHED).kept is True
    assert weighing.suggested(WEIGHED) == {"r": LEVEL_OF_CARE_INTENSIVE_OUTPATIENT}


@pytest.mark.parametrize("changes", [{"unsaid": SETTLED}, {"said": OPEN}, {"refusal": ""}])
def test_a_level_without_the_risk_without_a_reason_or_overruled_in_silence_breaks_it(changes: dict[str, str]) -> None:
    assert weighing.check(replace(WEIGHED, **changes)).kept is False  # type: ignore[arg-type]


def test_a_merge_that_every_service_follows_is_kept() -> None:
    assert doubles.merged(DOUBLED, EDGES, 0).kept is True


@pytest.mark.parametrize(
    ("doubled", "edges", "left"),
    [
        (DOUBLED, EDGES | {"care": []}, 0),
        (DOUBLED, EDGES, 1),
        (replace(DOUBLED, found_by=()), EDGES, 0),
        (replace(DOUBLED, known_as="former"), EDGES, 0),
    ],
)
def test_a_merge_that_somebody_has_not_heard_of_or_that_was_no_merge_breaks_it(
    doubled: Doubled, edges: dict[str, list[dict[str, str]]], left: int
) -> None:
    assert doubles.merged(doubled, edges, left).kept is False


def due(id: str, minute: int, action: int = REFERRAL_ACTION_CONTACT) -> Referral:
    return Referral(id=id, next_action=action, due_at=to_proto(NOON.replace(minute=minute)))  # type: ignore[arg-type]


NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
UNDER_WAY = [{"site": "northside", "id": "a"}, {"site": "northside", "id": "b"}]


def test_a_queue_with_everybody_in_it_what_is_due_first_in_front_is_kept() -> None:
    assert work.nobody_missing(UNDER_WAY, {"northside": [due("a", 1), due("b", 2)]}).kept is True


@pytest.mark.parametrize(
    "queue",
    [
        [due("a", 1)],
        [due("a", 1), due("b", 2), due("b", 2)],
        [due("b", 2), due("a", 1)],
        [due("a", 1), due("b", 2, REFERRAL_ACTION_UNSPECIFIED)],
    ],
)
def test_a_queue_that_lacks_somebody_or_a_step_or_its_order_breaks_it(queue: list[Referral]) -> None:
    assert work.nobody_missing(UNDER_WAY, {"northside": queue}).kept is False


def test_the_work_queue_marks_what_is_overdue_and_has_open_flags_by_their_time() -> None:
    out = Console(record=True, width=120)
    queue = [due("a", 29), due("b", 30)]
    record = SiteRecord("northside", "America/New_York", 1, {})
    flag = RiskFlag(referral_id="c", acknowledged_at=to_proto(NOON), due_at=to_proto(NOON.replace(minute=28)))
    story.tell_work(out, {"northside": queue}, {"northside": [flag]}, [record], NOON.replace(minute=30))
    flagged, overdue, in_time = (line.rstrip() for line in out.export_text().splitlines() if "EST" in line)
    assert "say what was done about the flag" in flagged
    assert overdue.endswith("07:29 EST, overdue")
    assert in_time.endswith("07:30 EST")
