"""Records of other systems in contracts."""

from typing import Protocol
from uuid import UUID

from stepway.intake.v1 import import_service_pb2
from stepway_intake.domain.imports import Imported


class _Imports(Protocol):
    import_id: str
    import_content: str


def came(request: _Imports, referral_id: UUID, assessment_id: UUID | None = None) -> Imported | None:
    """What the record becomes; None for what was not imported."""
    if not request.import_id:
        return None
    content = UUID(request.import_content) if request.import_content else None
    return Imported(UUID(request.import_id), referral_id, assessment_id, content)


def imported(found: Imported) -> import_service_pb2.Imported:
    return import_service_pb2.Imported(
        import_id=str(found.id),
        referral_id=str(found.referral_id),
        assessment_id=str(found.assessment_id) if found.assessment_id else "",
        import_content=str(found.content) if found.content else "",
    )
