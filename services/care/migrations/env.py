"""Where Alembic begins; the chassis does the rest."""

from stepway_chassis.migrations import run_env

run_env()
