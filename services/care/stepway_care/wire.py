"""Between the contracts of care, and of what it hears, and its domain."""

from datetime import datetime
from uuid import UUID

from stepway.care.v1 import events_pb2, treatment_plan_pb2
from stepway.intake.v1 import events_pb2 as intake_events_pb2
from stepway.scheduling.v1 import events_pb2 as scheduling_events_pb2
from stepway_care.domain import Plan, Status
from stepway_chassis.events import Event
from stepway_chassis.times import from_proto, to_proto

_STATUS = {Status.DRAFT: treatment_plan_pb2.TREATMENT_PLAN_STATUS_DRAFT}


def treatment_plan(found: Plan) -> treatment_plan_pb2.TreatmentPlan:
    return treatment_plan_pb2.TreatmentPlan(
        id=str(found.id),
        patient_id=str(found.patient_id),
        enrollment_id=str(found.enrollment_id),
        status=_STATUS[found.status],
        drafted_at=to_proto(found.drafted_at),
        due_at=to_proto(found.due_at),
    )


def seated(event: Event) -> tuple[UUID, UUID, datetime]:
    """Which enrolment, of which patient, since when."""
    message = event.message
    assert isinstance(message, scheduling_events_pb2.EnrollmentConfirmed)
    since = from_proto(message.confirmed_at, field="confirmed_at")
    return UUID(message.enrollment_id), UUID(message.patient_id), since


def labelled(event: Event) -> UUID:
    """Whose record is more confidential than before."""
    assert isinstance(event.message, intake_events_pb2.PatientLabelRaised)
    return UUID(event.message.patient_id)


def merged(event: Event) -> tuple[UUID, UUID]:
    """Whose records went, and into whose."""
    message = event.message
    assert isinstance(message, intake_events_pb2.PatientMerged)
    return UUID(message.merged_patient_id), UUID(message.patient_id)


def plan_drafted(drafted: Plan) -> events_pb2.PlanDrafted:
    return events_pb2.PlanDrafted(
        treatment_plan_id=str(drafted.id),
        patient_id=str(drafted.patient_id),
        drafted_at=to_proto(drafted.drafted_at),
    )
