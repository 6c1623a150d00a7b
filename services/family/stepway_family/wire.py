"""Between the contracts of family, and of what it hears and asks, and its domain."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from stepway.family.v1 import events_pb2, family_group_pb2, family_group_service_pb2, invitation_pb2
from stepway.intake.v1 import consent_pb2, consent_service_pb2
from stepway.intake.v1 import events_pb2 as intake_events_pb2
from stepway_chassis.events import Event
from stepway_chassis.times import from_proto, to_proto
from stepway_family.domain import Group, Invitation, Origin


def new_group(request: family_group_service_pb2.PlanFamilyGroupRequest, *, id: UUID) -> Group:
    """Raises InvalidInput (TIME_OUT_OF_RANGE)."""
    return Group(id, from_proto(request.starts_at, field="starts_at"), request.minutes, request.seats)


def family_group(group: Group) -> family_group_pb2.FamilyGroup:
    return family_group_pb2.FamilyGroup(
        id=str(group.id),
        starts_at=to_proto(group.starts_at),
        minutes=group.minutes,
        seats=group.seats,
        seats_taken=group.seats_taken,
    )


def invitation(found: Invitation) -> invitation_pb2.Invitation:
    return invitation_pb2.Invitation(
        id=str(found.id),
        family_member_id=str(found.family_member_id),
        patient_id=str(found.patient_id),
        family_group_id=str(found.family_group_id),
        starts_at=to_proto(found.starts_at),
        invited_at=to_proto(found.invited_at),
    )


def origin(event: Event) -> Origin:
    return Origin(event.time, event.correlation, str(event.id), event.context)


def consent(event: Event) -> tuple[UUID, UUID, UUID | None]:
    """Which consent, of which patient, for which family member, if it is for one: granted or ended."""
    message: Any = event.message
    return UUID(message.consent_id), UUID(message.patient_id), _id(message.family_member_id)


def _id(told: str) -> UUID | None:
    return UUID(told) if told else None


def admitted_patient(event: Event) -> UUID:
    assert isinstance(event.message, intake_events_pb2.PatientAdmitted)
    return UUID(event.message.patient_id)


def labelled(event: Event) -> UUID:
    """Whose record is more confidential than before."""
    assert isinstance(event.message, intake_events_pb2.PatientLabelRaised)
    return UUID(event.message.patient_id)


def merged(event: Event) -> tuple[UUID, UUID]:
    """Whose records went, and into whose."""
    message = event.message
    assert isinstance(message, intake_events_pb2.PatientMerged)
    return UUID(message.merged_patient_id), UUID(message.patient_id)


def family_member_invited(made: Invitation) -> events_pb2.FamilyMemberInvited:
    return events_pb2.FamilyMemberInvited(
        invitation_id=str(made.id),
        family_member_id=str(made.family_member_id),
        patient_id=str(made.patient_id),
        starts_at=to_proto(made.starts_at),
        invited_at=to_proto(made.invited_at),
    )


def schedule_questions(pairs: Iterable[tuple[UUID, UUID]]) -> consent_service_pb2.CheckConsentsRequest:
    """May each (patient, family member) pair be told when something is?"""
    questions = [
        consent_service_pb2.ConsentQuestion(
            patient_id=str(patient), family_member_id=str(member), category=consent_pb2.CONSENT_CATEGORY_SCHEDULE
        )
        for patient, member in pairs
    ]
    return consent_service_pb2.CheckConsentsRequest(questions=questions)


def consent_answers(answer: consent_service_pb2.CheckConsentsResponse) -> tuple[list[bool], timedelta]:
    """Yes or no to each question, and for how long a yes may be used."""
    granted = [each.finding == consent_pb2.CONSENT_FINDING_GRANTED for each in answer.answers]
    return granted, answer.use_within.ToTimedelta()
