"""FHIR as other systems send it: patients, answers, panels of Observations, and the Bundle around them."""

from collections.abc import Sequence
from typing import Any

LOINC = "http://loinc.org"
ANSWERED = "2026-01-15T09:30:00Z"
CODES = ("LA6568-5", "LA6569-3", "LA6570-1", "LA6571-9")
PHQ_9_ITEMS = (
    *("44250-9", "44255-8", "44259-0", "44254-1", "44251-7"),
    *("44258-2", "44252-5", "44253-3", "44260-8"),
)
PHQ_9_TOTAL = "44261-6"
PHQ_9_PANEL = "44249-1"

Resource = dict[str, Any]


def a_bundle(*resources: Resource, kind: str = "collection") -> Resource:
    return {"resourceType": "Bundle", "type": kind, "entry": [{"resource": resource} for resource in resources]}


def a_patient(id: str, **changes: Any) -> Resource:
    return {"resourceType": "Patient", "id": id, "name": [{"family": f"Orrin {id}"}]} | changes


def a_response(patient: str, values: Sequence[int | None], *, total: int | None = None, **changes: Any) -> Resource:
    """A PHQ-9 whose linkIds are LOINC codes, answered with LOINC answer codes where there are such."""
    items = [an_item(f"/{code}", value) for code, value in zip(PHQ_9_ITEMS, values, strict=True)]
    if total is not None:
        items.append({"linkId": f"/{PHQ_9_TOTAL}", "answer": [{"valueDecimal": total}]})
    response = {
        "resourceType": "QuestionnaireResponse",
        "id": f"answers-of-{patient}",
        "status": "completed",
        "subject": {"reference": f"Patient/{patient}"},
        "authored": ANSWERED,
        "item": items,
    }
    return response | changes


def an_item(link: str, value: int | None) -> Resource:
    return {"linkId": link} if value is None else {"linkId": link, "answer": [an_answer(value)]}


def an_answer(value: int) -> Resource:
    known = 0 <= value < len(CODES)
    return {"valueCoding": {"system": LOINC, "code": CODES[value]}} if known else {"valueInteger": value}


def members_of(patient: str, values: Sequence[int | None]) -> list[Resource]:
    """An Observation for each item of a PHQ-9 that is answered."""
    return [
        an_observation(f"{patient}-{code}", patient, code, valueInteger=value)
        for code, value in zip(PHQ_9_ITEMS, values, strict=True)
        if value is not None
    ]


def a_panel(patient: str, members: Sequence[Resource], **changes: Any) -> Resource:
    references = [{"reference": f"Observation/{member['id']}"} for member in members]
    return an_observation(f"{patient}-panel", patient, PHQ_9_PANEL, hasMember=references) | changes


def an_observation(id: str, patient: str, code: str, **more: Any) -> Resource:
    return {
        "resourceType": "Observation",
        "id": id,
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": ANSWERED,
        **more,
    }
