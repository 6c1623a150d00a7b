"""Brings one service's database to the newest version: Alembic, run once by the operator and never by a replica."""

from pathlib import Path
from typing import Any

from alembic import command, context
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine


async def upgrade(url: str, folder: Path, *, to: str = "head") -> None:
    """Run the migrations in `folder`, up to the version `to`, as the role that owns the database."""
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1), hide_parameters=True)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_upgrade, folder, to)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, folder: Path, to: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def run_env() -> None:
    """What each service's env.py does: every version in a transaction of its own, and no long wait for a lock."""
    connection: Any = context.config.attributes["connection"]
    connection.execute(text("SET lock_timeout = '5s'"))
    connection.commit()
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
