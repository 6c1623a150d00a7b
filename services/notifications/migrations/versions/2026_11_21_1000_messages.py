"""Messages, whom they go to, and pages to the clinician on call"""

from alembic import op

from stepway_chassis import schema

revision = "2026_11_21_1000"
down_revision = None

TABLES = (
    """
    CREATE TABLE patient (
        site text NOT NULL,
        id uuid NOT NULL,
        label text NOT NULL CHECK (label IN ('general', 'part2')),
        stopped_at timestamptz,
        PRIMARY KEY (site, id)
    )""",
    """
    CREATE TABLE message (
        site text NOT NULL,
        id uuid NOT NULL,
        patient_id uuid NOT NULL,
        channel text NOT NULL CHECK (channel IN ('sms', 'email')),
        address text NOT NULL,
        template text NOT NULL CHECK (template IN ('referral_received', 'escalation_page')),
        body text NOT NULL,
        status text NOT NULL CHECK (status IN ('queued', 'delivered', 'failed', 'withheld', 'expired')),
        release_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        next_attempt_at timestamptz NOT NULL,
        claimed_until timestamptz,
        attempts integer NOT NULL,
        delivered_at timestamptz,
        created_at timestamptz NOT NULL,
        correlation text NOT NULL,
        causation text NOT NULL,
        trace_context jsonb NOT NULL,
        PRIMARY KEY (site, id),
        FOREIGN KEY (site, patient_id) REFERENCES patient
    )""",
    "CREATE INDEX message_due ON message (site, next_attempt_at) WHERE status = 'queued'",
    "CREATE INDEX message_patient ON message (site, patient_id)",
    """
    CREATE TABLE escalation (
        site text NOT NULL,
        id uuid NOT NULL,
        risk_flag_id uuid NOT NULL,
        patient_id uuid NOT NULL,
        clinician text NOT NULL,
        raised_at timestamptz NOT NULL,
        acknowledged_at timestamptz,
        acknowledged_by text,
        correlation text NOT NULL,
        PRIMARY KEY (site, id),
        UNIQUE (site, risk_flag_id),
        FOREIGN KEY (site, patient_id) REFERENCES patient,
        CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL))
    )""",
)
RIGHTS = {
    "patient": "SELECT, INSERT, UPDATE",
    "message": "SELECT, INSERT, UPDATE",
    "escalation": "SELECT, INSERT, UPDATE (acknowledged_at, acknowledged_by)",
}


def upgrade() -> None:
    for statement in (*schema.version_1("notifications"), *TABLES):
        op.execute(statement)
    for table, rights in RIGHTS.items():
        for statement in schema.protect("notifications", table, rights):
            op.execute(statement)
