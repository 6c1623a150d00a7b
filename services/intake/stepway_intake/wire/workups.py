"""Workups in contracts: the battery, its parts, the forms."""

from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict

from stepway.intake.v1 import events_pb2, workup_pb2, workup_section_pb2, workup_service_pb2
from stepway_chassis.times import to_proto
from stepway_intake.domain.sections import Form, Kind
from stepway_intake.domain.workups import Draft, Part, Reason, Workup, definition_of, parts
from stepway_intake.instruments.battery import BATTERIES
from stepway_intake.instruments.scoring import unanswered
from stepway_intake.wire import assessments

_BATTERY_OF = {workup_pb2.Battery.Value(f"BATTERY_{name.upper().replace('-', '_')}"): name for name in BATTERIES}
_KIND_OF = {workup_section_pb2.WorkupSectionKind.Value(f"WORKUP_SECTION_KIND_{kind.name}"): kind for kind in Kind}
_REASON_OF = {workup_pb2.ExcuseReason.Value(f"EXCUSE_REASON_{reason.name}"): reason for reason in Reason}


def battery(asked: workup_pb2.Battery) -> str:
    return _BATTERY_OF[asked]


def reason(given: workup_pb2.ExcuseReason) -> Reason:
    return _REASON_OF[given]


def part(request: workup_service_pb2.ExcuseWorkupPartRequest) -> str:
    """The name of an instrument or of a section."""
    if request.WhichOneof("part") == "instrument":
        return assessments.name(request.instrument)
    return _KIND_OF[request.section]


def section(sent: workup_section_pb2.WorkupSection) -> tuple[Kind, Form]:
    content = sent.WhichOneof("content")
    form = MessageToDict(getattr(sent, content), preserving_proto_field_name=True)
    return Kind(content), form


def workup(found: Workup) -> workup_pb2.Workup:
    """Whole, with every answer and form."""
    told = workup_in_list(found)
    told.parts.extend(_part(found, each) for each in parts(found))
    return told


def workup_in_list(found: Workup) -> workup_pb2.Workup:
    return workup_pb2.Workup(
        id=str(found.id),
        referral_id=str(found.referral_id),
        patient_id=str(found.patient_id),
        battery=f"BATTERY_{found.battery.upper().replace('-', '_')}",
        started_at=to_proto(found.started_at),
        started_by=found.started_by,
        completed_at=to_proto(found.completed_at),
        completed_by=found.completed_by or "",
    )


def _part(found: Workup, part: Part) -> workup_pb2.WorkupPart:
    excuse = found.excuses.get(part.name)
    about: dict[str, Any] = {"required": part.required, "status": f"WORKUP_PART_STATUS_{part.status.name}"}
    if excuse:
        about |= {"excuse_reason": f"EXCUSE_REASON_{excuse.reason.name}", "excuse_note": excuse.note}
    kind = next((each for each in Kind if each == part.name), None)
    inside = _instrument_part(found, part.name) if kind is None else _section_part(kind, found.sections.get(kind))
    return workup_pb2.WorkupPart(**about, **inside)


def _instrument_part(found: Workup, name: str) -> dict[str, Any]:
    draft: Draft | None = found.drafts.get(name)
    definition, answers = definition_of(found, name), draft.answers if draft else {}
    return {
        "instrument": assessments.instrument(name),
        "answers": assessments.given_answers(answers),
        "missing": len(unanswered(definition, answers)),
        "assessment_id": str(draft.assessment_id) if draft else "",
        "version": definition.version if draft else "",
    }


def _section_part(kind: Kind, form: Form | None) -> dict[str, Any]:
    """A form that an older version wrote is read as far as this one knows it."""
    if form is None:
        return {"section": f"WORKUP_SECTION_KIND_{kind.name}"}
    content = ParseDict({kind.value: dict(form)}, workup_section_pb2.WorkupSection(), ignore_unknown_fields=True)
    return {"section": f"WORKUP_SECTION_KIND_{kind.name}", "content": content}


def workup_started(started: Workup) -> events_pb2.WorkupStarted:
    return events_pb2.WorkupStarted(
        workup_id=str(started.id),
        referral_id=str(started.referral_id),
        patient_id=str(started.patient_id),
        started_at=to_proto(started.started_at),
    )


def workup_completed(completed: Workup) -> events_pb2.WorkupCompleted:
    return events_pb2.WorkupCompleted(
        workup_id=str(completed.id),
        referral_id=str(completed.referral_id),
        patient_id=str(completed.patient_id),
        completed_at=to_proto(completed.completed_at),
    )
