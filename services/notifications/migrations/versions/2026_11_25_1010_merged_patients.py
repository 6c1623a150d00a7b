"""What is kept of a patient follows them when their records are merged"""

from alembic import op

from stepway_chassis import schema

revision = "2026_11_25_1010"
down_revision = "2026_11_24_2200"

CHANGES = (
    "CREATE INDEX escalation_patient ON escalation (site, patient_id)",
    "CREATE INDEX family_member_patient ON family_member (site, patient_id)",
    "GRANT UPDATE (patient_id) ON escalation, family_member TO notifications_app",
    "GRANT DELETE ON patient TO notifications_app",
)


def upgrade() -> None:
    for statement in (*schema.version_5("notifications"), *CHANGES):
        op.execute(statement)
