"""Treatment plans"""

from alembic import op

from stepway_chassis import schema

revision = "2026_11_24_1000"
down_revision = None

TABLES = (
    """
    CREATE TABLE treatment_plan (
        site text NOT NULL,
        id uuid NOT NULL,
        patient_id uuid NOT NULL,
        enrollment_id uuid NOT NULL,
        status text NOT NULL CHECK (status IN ('draft')),
        drafted_at timestamptz NOT NULL,
        due_at timestamptz NOT NULL,
        correlation text NOT NULL,
        PRIMARY KEY (site, id),
        UNIQUE (site, enrollment_id)
    )""",
)


def upgrade() -> None:
    for statement in (*schema.version_1("care"), *schema.version_2("care"), *TABLES):
        op.execute(statement)
    for statement in schema.protect("care", "treatment_plan", "SELECT, INSERT"):
        op.execute(statement)
