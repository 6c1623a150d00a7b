"""Content packs: the words of an instrument at one site, and by whose leave they are there."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from stepway_chassis.errors import InvalidInput
from stepway_intake.instruments.definition import Definition, Licence
from stepway_intake.instruments.words import SHIPPED, ItemWording, Wording


@dataclass(frozen=True)
class ContentPack:
    """`permission` is what the site has in writing from the holder."""

    id: UUID
    instrument: str
    version: str
    language: str
    notice: str
    permission: str
    items: tuple[ItemWording, ...]
    installed_by: str
    installed_at: datetime


def install(pack: ContentPack, definition: Definition) -> ContentPack:
    """Raises InvalidInput PERMISSION_MISSING, ITEM_UNKNOWN, WORDING_INCOMPLETE, ANSWERS_MISCOUNTED."""
    if definition.licence is Licence.PERMISSION_REQUIRED and not pack.permission.strip():
        message = "Say what the site has in writing from the holder of this instrument."
        raise InvalidInput("PERMISSION_MISSING", message, field="permission")
    worded = {wording.item: wording for wording in pack.items}
    _check_items(worded, definition)
    for item in definition.items:
        if item.number in worded and len(worded[item.number].answers) not in (0, len(item.values)):
            message = "Give each value of the item its words, lowest first, or none of them."
            raise InvalidInput("ANSWERS_MISCOUNTED", message, field=f"wording.{item.number}")
    return pack


def _check_items(worded: Mapping[int, ItemWording], definition: Definition) -> None:
    if not worded.keys() <= definition.by_number.keys():
        raise InvalidInput("ITEM_UNKNOWN", f"{definition.name} has no such item", field="wording")
    if not {item.number for item in definition.items if item.required} <= worded.keys():
        raise InvalidInput("WORDING_INCOMPLETE", "Give every item that a score asks for its words.", field="wording")


def wording_of(definition: Definition, language: str, installed: ContentPack | None) -> Wording | None:
    """What the site has installed last, or what is shipped with the current version, or nothing."""
    if installed is not None:
        return Wording(installed.notice, installed.items)
    return SHIPPED.get((definition.name, language)) if definition.current else None
