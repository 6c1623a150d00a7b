"""InstrumentService: how an instrument is answered, and the words that this site may show."""

from stepway.intake.v1 import assessment_pb2
from stepway.intake.v1.instrument_service_pb2 import (
    GetInstrumentRequest,
    GetInstrumentResponse,
    InstallContentPackRequest,
    InstallContentPackResponse,
)
from stepway_chassis.database import Database
from stepway_chassis.ids import uuid7
from stepway_chassis.transaction import Tx
from stepway_intake.domain import content_packs
from stepway_intake.domain.site_rules import rules_of
from stepway_intake.instruments.catalogue import find
from stepway_intake.instruments.definition import Definition
from stepway_intake.store import content_packs as store
from stepway_intake.wire import content_packs as wire
from stepway_intake.wire.assessments import name


class InstrumentService:
    SERVICE = "stepway.intake.v1.InstrumentService"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetInstrument(self, request: GetInstrumentRequest, _: object) -> GetInstrumentResponse:
        return await self._database.query(request, self._get)

    async def _get(self, tx: Tx, request: GetInstrumentRequest) -> GetInstrumentResponse:
        definition = _definition(tx, request.instrument, request.version)
        tx.concerns()
        installed = await store.newest_pack(tx, definition.name, definition.version, request.language)
        return wire.instrument(definition, content_packs.wording_of(definition, request.language, installed))

    async def InstallContentPack(self, request: InstallContentPackRequest, _: object) -> InstallContentPackResponse:
        return await self._database.command(request, InstallContentPackResponse, self._install)

    async def _install(self, tx: Tx, request: InstallContentPackRequest) -> InstallContentPackResponse:
        definition = _definition(tx, request.instrument, request.version)
        tx.concerns()
        pack = wire.new_content_pack(request, definition, id=uuid7(tx.now), by=tx.caller.subject, at=tx.now)
        await store.add_content_pack(tx, content_packs.install(pack, definition))
        return InstallContentPackResponse(content_pack=wire.content_pack(pack))


def _definition(tx: Tx, instrument: assessment_pb2.Instrument, version: str) -> Definition:
    named = name(instrument)
    return find(named, version or rules_of(tx.site.settings).versions.get(named, ""))
