"""What is kept of a patient follows them when their records are merged"""

from alembic import op

from stepway_chassis import schema

revision = "2026_11_25_1010"
down_revision = "2026_11_24_2200"

CHANGES = (
    "CREATE INDEX consent_link_patient ON consent_link (site, patient_id)",
    "CREATE INDEX invitation_patient ON invitation (site, patient_id)",
    "GRANT UPDATE (patient_id) ON invitation TO family_app",
    "GRANT DELETE ON patient TO family_app",
)


def upgrade() -> None:
    for statement in (*schema.version_5("family"), *CHANGES):
        op.execute(statement)
