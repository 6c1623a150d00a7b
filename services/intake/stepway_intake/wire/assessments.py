"""Assessments in contracts: the instruments, the answers, the score."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from stepway.intake.v1 import assessment_pb2, assessment_service_pb2, events_pb2
from stepway_chassis.errors import InvalidInput
from stepway_chassis.times import from_proto, to_proto
from stepway_intake.domain.assessments import Assessment, delta
from stepway_intake.domain.risk import RiskFlag
from stepway_intake.instruments.catalogue import CURRENT
from stepway_intake.instruments.definition import Band
from stepway_intake.instruments.scoring import Score
from stepway_intake.wire.risk import risk_flag


def instrument(name: str) -> str:
    return f"INSTRUMENT_{name.upper().replace('-', '_')}"


_NAME = {assessment_pb2.Instrument.Value(instrument(each)): each for each in CURRENT}


def name(asked: assessment_pb2.Instrument) -> str:
    return _NAME[asked]


def answers(given: Iterable[assessment_pb2.Answer]) -> dict[int, int]:
    """Raises InvalidInput (ITEM_REPEATED)."""
    found: dict[int, int] = {}
    for answer in given:
        if answer.item in found:
            raise InvalidInput("ITEM_REPEATED", "Answer each item once.", field="answers")
        found[answer.item] = answer.value
    return found


def coded(request: assessment_service_pb2.RecordCodedAssessmentRequest) -> dict[str, str | int]:
    """By LOINC code, the answer code or the value. Raises InvalidInput (ITEM_REPEATED)."""
    found: dict[str, str | int] = {}
    for answer in request.coded_answers:
        if answer.loinc in found:
            raise InvalidInput("ITEM_REPEATED", "Answer each item once.", field="coded_answers")
        found[answer.loinc] = answer.answer_code if answer.HasField("answer_code") else answer.value
    return found


def answered_at(given: Timestamp | None, now: datetime) -> datetime:
    """Raises InvalidInput (TIME_OUT_OF_RANGE)."""
    return now if given is None else from_proto(given, field="answered_at")


def assessment(made: Assessment) -> assessment_pb2.Assessment:
    return assessment_pb2.Assessment(
        id=str(made.id),
        referral_id=str(made.referral_id),
        patient_id=str(made.patient_id),
        instrument=instrument(made.instrument),
        answers=given_answers(made.answers),
        score=score(made.score),
        answered_at=to_proto(made.answered_at),
        workup_id=str(made.workup_id or ""),
    )


def given_answers(given: Mapping[int, int]) -> list[assessment_pb2.Answer]:
    return [assessment_pb2.Answer(item=item, value=value) for item, value in sorted(given.items())]


def score(made: Score) -> assessment_pb2.Score:
    return assessment_pb2.Score(
        total=made.total,
        band=_band(made.band),
        missing=made.missing,
        rule=made.rule,
        version=made.version,
        treat_as=_band(made.treat_as),
        permille=made.permille,
        scales=[assessment_pb2.ScaleTotal(scale=scale, total=total) for scale, total in made.scales.items()],
        findings=[assessment_pb2.Finding(rule=rule, outcome=outcome) for rule, outcome in made.findings.items()],
    )


def _band(band: Band | None) -> str:
    return f"SEVERITY_BAND_{band.name if band else 'UNSPECIFIED'}"


def score_told(
    made: Assessment, before: Assessment | None, flags: Iterable[RiskFlag]
) -> assessment_service_pb2.GetScoreResponse:
    return assessment_service_pb2.GetScoreResponse(
        patient_id=str(made.patient_id),
        instrument=instrument(made.instrument),
        answered_at=to_proto(made.answered_at),
        score=score(made.score),
        previous_assessment_id=str(before.id) if before else "",
        delta=delta(made.score, before.score if before else None),
        risk_flags=[risk_flag(flag) for flag in flags],
    )


def assessment_completed(made: Assessment, at: datetime) -> events_pb2.AssessmentCompleted:
    return events_pb2.AssessmentCompleted(
        assessment_id=str(made.id), referral_id=str(made.referral_id), completed_at=to_proto(at)
    )
