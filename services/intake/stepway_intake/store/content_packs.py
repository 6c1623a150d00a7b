"""The table of content packs; what was installed once stays on record."""

from dataclasses import asdict

from sqlalchemy import Column, RowMapping, Text, select
from sqlalchemy.dialects.postgresql import JSONB, insert

from stepway_chassis import records
from stepway_chassis.records import TIME
from stepway_chassis.transaction import Tx
from stepway_intake.domain.content_packs import ContentPack
from stepway_intake.instruments.words import ItemWording
from stepway_intake.store.tables import METADATA

content_pack = records.records(
    "content_pack",
    METADATA,
    Column("instrument", Text),
    Column("version", Text),
    Column("language", Text),
    Column("notice", Text),
    Column("permission", Text),
    Column("items", JSONB),
    Column("installed_by", Text),
    Column("installed_at", TIME),
)


async def add_content_pack(tx: Tx, pack: ContentPack) -> None:
    values = {name: getattr(pack, name) for name in ("id", "instrument", "version", "language", "notice", "permission")}
    installed = {"installed_by": pack.installed_by, "installed_at": pack.installed_at}
    items = [asdict(item) for item in pack.items]
    await tx.execute(insert(content_pack), {"site": tx.site.name, **values, **installed, "items": items})


async def newest_pack(tx: Tx, instrument: str, version: str, language: str) -> ContentPack | None:
    statement = (
        select(content_pack)
        .where(content_pack.c.site == tx.site.name, content_pack.c.instrument == instrument)
        .where(content_pack.c.version == version, content_pack.c.language == language)
        .order_by(content_pack.c.id.desc())
        .limit(1)
    )
    row = (await tx.execute(statement)).mappings().first()
    return None if row is None else _content_pack(row)


def _content_pack(row: RowMapping) -> ContentPack:
    items = tuple(ItemWording(each["item"], each["text"], tuple(each["answers"])) for each in row["items"])
    plain = {name: row[name] for name in ("id", "instrument", "version", "language", "notice", "permission")}
    return ContentPack(**plain, items=items, installed_by=row["installed_by"], installed_at=row["installed_at"])
