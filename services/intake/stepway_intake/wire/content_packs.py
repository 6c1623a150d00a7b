"""Instruments and content packs in contracts."""

from datetime import datetime
from uuid import UUID

from stepway.intake.v1 import content_pack_pb2, instrument_service_pb2
from stepway_chassis.errors import InvalidInput
from stepway_chassis.times import to_proto
from stepway_intake.domain.content_packs import ContentPack
from stepway_intake.instruments.definition import Definition
from stepway_intake.instruments.words import ItemWording, Wording
from stepway_intake.wire import assessments


def new_content_pack(
    request: instrument_service_pb2.InstallContentPackRequest,
    definition: Definition,
    *,
    id: UUID,
    by: str,
    at: datetime,
) -> ContentPack:
    """Raises InvalidInput (ITEM_REPEATED)."""
    items = tuple(ItemWording(each.item, each.text, tuple(each.answers)) for each in request.wording)
    if len({item.item for item in items}) < len(items):
        raise InvalidInput("ITEM_REPEATED", "Word each item once.", field="wording")
    return ContentPack(
        id=id,
        instrument=definition.name,
        version=definition.version,
        language=request.language,
        notice=request.notice,
        permission=request.permission,
        items=items,
        installed_by=by,
        installed_at=at,
    )


def content_pack(pack: ContentPack) -> content_pack_pb2.ContentPack:
    return content_pack_pb2.ContentPack(
        id=str(pack.id),
        instrument=assessments.instrument(pack.instrument),
        version=pack.version,
        language=pack.language,
        notice=pack.notice,
        permission=pack.permission,
        installed_by=pack.installed_by,
        installed_at=to_proto(pack.installed_at),
    )


def instrument(definition: Definition, wording: Wording | None) -> instrument_service_pb2.GetInstrumentResponse:
    return instrument_service_pb2.GetInstrumentResponse(
        instrument=assessments.instrument(definition.name),
        version=definition.version,
        title=definition.title,
        licence=f"INSTRUMENT_LICENCE_{definition.licence.name}",
        credit=definition.credit,
        window_days=definition.window_days,
        panel_loinc=definition.panel_loinc,
        total_loinc=definition.total_loinc,
        items=[
            instrument_service_pb2.InstrumentItem(
                item=item.number, values=item.values, loinc=item.loinc, required=item.required
            )
            for item in definition.items
        ],
        wording=[_item(each) for each in wording.items] if wording else [],
        notice=wording.notice if wording else "",
    )


def _item(wording: ItemWording) -> content_pack_pb2.ItemWording:
    return content_pack_pb2.ItemWording(item=wording.item, text=wording.text, answers=wording.answers)
