"""Asking intake how a patient can be reached by now."""

from uuid import UUID

from stepway_chassis.rpc.client import Peers
from stepway_notifications import wire
from stepway_notifications.domain.messages import Contact

_PATIENT = "stepway.intake.v1.ReferralService/GetPatientContact"


async def of_patient(peers: Peers, patient_id: UUID, *, site: str) -> list[Contact]:
    """Raises what intake refuses with."""
    return wire.contacts((await peers.call(_PATIENT, wire.contact_question(patient_id), site=site)).contact_points)
