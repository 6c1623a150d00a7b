"""ImportService: what records of other systems have become; and how a handler learns that one came before."""

from uuid import UUID

from stepway.intake.v1.import_service_pb2 import FindImportedRequest, FindImportedResponse
from stepway_chassis.database import Database
from stepway_chassis.transaction import Tx
from stepway_intake.domain import imports
from stepway_intake.domain.imports import Imported
from stepway_intake.store import imports as store
from stepway_intake.wire import imports as wire


async def before(tx: Tx, came: Imported | None) -> Imported | None:
    """What an imported record became when it came before; else None, and it is kept what it becomes now."""
    known = None if came is None else await store.claim(tx, came)
    return known and came and imports.repeated(came, known)


class ImportService:
    SERVICE = "stepway.intake.v1.ImportService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def FindImported(self, request: FindImportedRequest, _: object) -> FindImportedResponse:
        return await self._database.query(request, self._find)

    async def _find(self, tx: Tx, request: FindImportedRequest) -> FindImportedResponse:
        found = await store.those_of(tx, map(UUID, request.import_ids))
        tx.concerns(*{patient for _, patient in found})
        return FindImportedResponse(imported=[wire.imported(each) for each, _ in found])
