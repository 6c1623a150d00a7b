"""Who has taken a sign of danger in intake, whether or not a page about it was heard of"""

from alembic import op

from stepway_chassis import schema

revision = "2026_11_25_1100"
down_revision = "2026_11_25_1010"

TABLE = """
    CREATE TABLE taken_flag (
        site text NOT NULL,
        id uuid NOT NULL,
        taken_at timestamptz NOT NULL,
        taken_by text NOT NULL,
        PRIMARY KEY (site, id)
    )"""


def upgrade() -> None:
    op.execute(TABLE)
    for statement in schema.protect("notifications", "taken_flag", "SELECT, INSERT"):
        op.execute(statement)
