"""What is kept of a patient follows them when their records are merged"""

from alembic import op

from stepway_chassis import schema

revision = "2026_11_25_1010"
down_revision = "2026_11_24_2200"

CHANGES = (
    "CREATE INDEX treatment_plan_patient ON treatment_plan (site, patient_id)",
    "GRANT UPDATE (patient_id) ON treatment_plan TO care_app",
)


def upgrade() -> None:
    for statement in (*schema.version_5("care"), *CHANGES):
        op.execute(statement)
