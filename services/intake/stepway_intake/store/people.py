"""The table of patients: who they are, and how somebody is stored wherever one is."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Text
from sqlalchemy.dialects.postgresql import JSONB, insert

from stepway_chassis import records
from stepway_chassis.errors import NotFound
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.people import ContactPoint, Label, Patient, Person, RelatedPerson
from stepway_intake.store.tables import METADATA

patient = records.records(
    "patient", METADATA, Column("person", JSONB), Column("label", Text), Column("created_at", TIME)
)


async def add_patient(tx: Tx, new: Patient) -> None:
    values = {"id": new.id, "person": asdict(new.person), "label": new.label, "created_at": tx.now}
    await tx.execute(insert(patient), {"site": tx.site.name, **values})


async def find_patient(tx: Tx, id: UUID) -> Patient:
    """Raises NotFound (PATIENT_NOT_FOUND)."""
    row = await records.find(tx, patient, id)
    if row is None or not tx.reaches(id):
        raise NotFound("PATIENT_NOT_FOUND", "There is no such patient at this site.", field="patient_id")
    return Patient(row["id"], person(row["person"]), Label(row["label"]))


def person(stored: Mapping[str, Any]) -> Person:
    return Person(**{**stored, "contact_points": _contact_points(stored)})


def related_person(stored: Mapping[str, Any]) -> RelatedPerson:
    return RelatedPerson(**{**stored, "contact_points": _contact_points(stored)})


def _contact_points(stored: Mapping[str, Any]) -> tuple[ContactPoint, ...]:
    return tuple(ContactPoint(**point) for point in stored["contact_points"])
