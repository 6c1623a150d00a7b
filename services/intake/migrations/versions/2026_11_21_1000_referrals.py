"""People, referrals, assessments and risk flags"""

from alembic import op

from stepway_chassis import schema

revision = "2026_11_21_1000"
down_revision = None

TABLES = (
    """
    CREATE TABLE patient (
        site text NOT NULL,
        id uuid NOT NULL,
        person jsonb NOT NULL,
        label text NOT NULL CHECK (label IN ('general', 'part2')),
        created_at timestamptz NOT NULL,
        PRIMARY KEY (site, id)
    )""",
    """
    CREATE TABLE referral (
        site text NOT NULL,
        id uuid NOT NULL,
        patient_id uuid NOT NULL,
        status text NOT NULL CHECK (status IN ('received', 'screening')),
        related_people jsonb NOT NULL,
        reason text NOT NULL,
        received_at timestamptz NOT NULL,
        PRIMARY KEY (site, id),
        FOREIGN KEY (site, patient_id) REFERENCES patient
    )""",
    """
    CREATE TABLE assessment (
        site text NOT NULL,
        id uuid NOT NULL,
        referral_id uuid NOT NULL,
        patient_id uuid NOT NULL,
        instrument text NOT NULL,
        answers jsonb NOT NULL,
        total integer,
        band text,
        missing integer NOT NULL,
        rule text NOT NULL,
        answered_at timestamptz NOT NULL,
        PRIMARY KEY (site, id),
        FOREIGN KEY (site, referral_id) REFERENCES referral
    )""",
    """
    CREATE TABLE risk_flag (
        site text NOT NULL,
        id uuid NOT NULL,
        patient_id uuid NOT NULL,
        referral_id uuid NOT NULL,
        urgency text NOT NULL CHECK (urgency IN ('page', 'review')),
        raised_at timestamptz NOT NULL,
        acknowledged_at timestamptz,
        acknowledged_by text,
        PRIMARY KEY (site, id),
        FOREIGN KEY (site, referral_id) REFERENCES referral,
        CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL))
    )""",
    "CREATE INDEX risk_flag_open ON risk_flag (site, id) WHERE acknowledged_at IS NULL",
)
RIGHTS = {
    "patient": "SELECT, INSERT",
    "referral": "SELECT, INSERT, UPDATE (status)",
    "assessment": "SELECT, INSERT",
    "risk_flag": "SELECT, INSERT, UPDATE (acknowledged_at, acknowledged_by)",
}


def upgrade() -> None:
    for statement in (*schema.version_1("intake"), *TABLES):
        op.execute(statement)
    for table, rights in RIGHTS.items():
        for statement in schema.protect("intake", table, rights):
            op.execute(statement)
