"""What is kept of a patient follows them when their records are merged"""

from alembic import op

from stepway_chassis import schema

revision = "2026_11_25_1010"
down_revision = "2026_11_24_2200"

CHANGES = (
    "CREATE INDEX enrollment_patient ON enrollment (site, patient_id)",
    "GRANT UPDATE (patient_id) ON enrollment TO scheduling_app",
)


def upgrade() -> None:
    for statement in (*schema.version_5("scheduling"), *CHANGES):
        op.execute(statement)
