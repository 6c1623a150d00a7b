"""Assessments in contracts: the instruments, the answers, the score."""

from datetime import datetime

from stepway.intake.v1 import assessment_pb2, assessment_service_pb2, events_pb2
from stepway_chassis.errors import InvalidInput
from stepway_chassis.times import from_proto, to_proto
from stepway_intake.domain.assessments import Assessment
from stepway_intake.instruments.catalogue import GAD_7, PHQ_9
from stepway_intake.instruments.definition import Band, Definition

_INSTRUMENTS = {
    assessment_pb2.INSTRUMENT_PHQ_9: PHQ_9,
    assessment_pb2.INSTRUMENT_GAD_7: GAD_7,
}
_INSTRUMENT_OF = {definition.name: value for value, definition in _INSTRUMENTS.items()}
_BAND = {
    None: assessment_pb2.SEVERITY_BAND_UNSPECIFIED,
    Band.MINIMAL: assessment_pb2.SEVERITY_BAND_MINIMAL,
    Band.MILD: assessment_pb2.SEVERITY_BAND_MILD,
    Band.MODERATE: assessment_pb2.SEVERITY_BAND_MODERATE,
    Band.MODERATELY_SEVERE: assessment_pb2.SEVERITY_BAND_MODERATELY_SEVERE,
    Band.SEVERE: assessment_pb2.SEVERITY_BAND_SEVERE,
}


def definition(instrument: assessment_pb2.Instrument) -> Definition:
    return _INSTRUMENTS[instrument]


def answers(request: assessment_service_pb2.RecordAssessmentRequest) -> dict[int, int]:
    """Raises InvalidInput (ITEM_REPEATED)."""
    found: dict[int, int] = {}
    for answer in request.answers:
        if answer.item in found:
            raise InvalidInput("ITEM_REPEATED", "Answer each item once.", field="answers")
        found[answer.item] = answer.value
    return found


def answered_at(request: assessment_service_pb2.RecordAssessmentRequest, now: datetime) -> datetime:
    """Raises InvalidInput (TIME_OUT_OF_RANGE)."""
    return from_proto(request.answered_at, field="answered_at") if request.HasField("answered_at") else now


def assessment(made: Assessment) -> assessment_pb2.Assessment:
    return assessment_pb2.Assessment(
        id=str(made.id),
        referral_id=str(made.referral_id),
        instrument=_INSTRUMENT_OF[made.instrument],
        answers=[assessment_pb2.Answer(item=item, value=value) for item, value in sorted(made.answers.items())],
        score=assessment_pb2.Score(
            total=made.score.total,
            band=_BAND[made.score.band],
            missing=made.score.missing,
            rule=made.score.rule,
        ),
        answered_at=to_proto(made.answered_at),
    )


def assessment_completed(made: Assessment, at: datetime) -> events_pb2.AssessmentCompleted:
    return events_pb2.AssessmentCompleted(
        assessment_id=str(made.id), referral_id=str(made.referral_id), completed_at=to_proto(at)
    )
