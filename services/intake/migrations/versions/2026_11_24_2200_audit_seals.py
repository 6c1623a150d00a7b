"""The audit is sealed"""

from alembic import op

from stepway_chassis import schema

revision = "2026_11_24_2200"
down_revision = "2026_11_24_2000"


def upgrade() -> None:
    for statement in schema.version_4("intake"):
        op.execute(statement)
