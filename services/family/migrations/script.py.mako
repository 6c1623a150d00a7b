"""${message}"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Expand only: old code runs on the new tables. env.py gives up on a lock after 5 s."""
    ${upgrades if upgrades else "..."}
