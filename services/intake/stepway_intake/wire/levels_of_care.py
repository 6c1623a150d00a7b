"""Decisions on a level of care in contracts."""

from stepway.intake.v1 import events_pb2, level_of_care_pb2
from stepway_chassis.times import to_proto
from stepway_intake.domain.levels_of_care import Decision, LevelOfCare

_LEVEL_OF = {level_of_care_pb2.LevelOfCare.Value(f"LEVEL_OF_CARE_{level.name}"): level for level in LevelOfCare}


def level(wanted: level_of_care_pb2.LevelOfCare) -> LevelOfCare:
    return _LEVEL_OF[wanted]


def decision(made: Decision) -> level_of_care_pb2.LevelOfCareDecision:
    return level_of_care_pb2.LevelOfCareDecision(
        id=str(made.id),
        referral_id=str(made.referral_id),
        patient_id=str(made.patient_id),
        level=f"LEVEL_OF_CARE_{made.level.name}",
        rationale=made.rationale,
        decided_by=made.decided_by,
        decided_at=to_proto(made.decided_at),
    )


def level_of_care_decided(made: Decision) -> events_pb2.LevelOfCareDecided:
    return events_pb2.LevelOfCareDecided(
        decision_id=str(made.id),
        referral_id=str(made.referral_id),
        patient_id=str(made.patient_id),
        decided_at=to_proto(made.decided_at),
    )
