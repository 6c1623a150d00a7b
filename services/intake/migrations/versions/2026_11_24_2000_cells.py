"""A refused entry names the cell that runs the site"""

from alembic import op

from stepway_chassis import schema

revision = "2026_11_24_2000"
down_revision = "2026_11_24_1000"


def upgrade() -> None:
    for statement in schema.version_3("intake"):
        op.execute(statement)
