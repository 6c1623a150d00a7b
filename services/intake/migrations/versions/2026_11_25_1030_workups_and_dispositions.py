"""Whole scores, workups, the words of instruments, and what becomes of a risk flag after it was taken"""

from alembic import op

from stepway_chassis import schema

revision = "2026_11_25_1030"
down_revision = "2026_11_25_1020"

CHANGES = (
    """
    ALTER TABLE assessment
     ADD version text NOT NULL DEFAULT '1',
     ADD treat_as text,
     ADD permille integer,
     ADD scales jsonb NOT NULL DEFAULT '{}',
     ADD findings jsonb NOT NULL DEFAULT '{}',
     ADD workup_id uuid""",
    "CREATE INDEX assessment_repeats ON assessment (site, patient_id, instrument, answered_at, id)",
    # Of flags raised before this a page was for danger that was present; of a review that is the careful reading.
    """
    ALTER TABLE risk_flag
     ADD risk text NOT NULL DEFAULT 'present',
     ADD assessment_id uuid,
     ADD due_at timestamptz,
     ADD disposed_within interval NOT NULL DEFAULT '72 hours',
     ADD disposition text NOT NULL DEFAULT 'pending',
     ADD disposition_note text NOT NULL DEFAULT '',
     ADD disposed_by text,
     ADD disposed_at timestamptz,
     ADD fallback_at timestamptz,
     ADD CHECK ((disposition = 'pending') = (disposed_at IS NULL)),
     ADD CHECK (disposed_at IS NULL OR acknowledged_at IS NOT NULL)""",
    """
    GRANT UPDATE (due_at, disposition, disposition_note, disposed_by, disposed_at, fallback_at)
     ON risk_flag TO intake_app""",
    "CREATE INDEX risk_flag_undisposed ON risk_flag (site, id) WHERE disposition = 'pending'",
    "CREATE INDEX risk_flag_of_assessment ON risk_flag (site, assessment_id)",
    """
    CREATE TABLE workup (
        site text NOT NULL,
        id uuid NOT NULL,
        referral_id uuid NOT NULL,
        patient_id uuid NOT NULL,
        battery text NOT NULL,
        started_at timestamptz NOT NULL,
        started_by text NOT NULL,
        drafts jsonb NOT NULL,
        sections jsonb NOT NULL,
        excuses jsonb NOT NULL,
        completed_at timestamptz,
        completed_by text,
        due_at timestamptz,
        PRIMARY KEY (site, id),
        FOREIGN KEY (site, referral_id) REFERENCES referral,
        CHECK ((completed_at IS NULL) = (completed_by IS NULL))
    )""",
    """
    CREATE TABLE content_pack (
        site text NOT NULL,
        id uuid NOT NULL,
        instrument text NOT NULL,
        version text NOT NULL,
        language text NOT NULL,
        notice text NOT NULL,
        permission text NOT NULL,
        items jsonb NOT NULL,
        installed_by text NOT NULL,
        installed_at timestamptz NOT NULL,
        PRIMARY KEY (site, id)
    )""",
    "CREATE INDEX content_pack_of ON content_pack (site, instrument, version, language, id)",
    "CREATE INDEX workup_patient ON workup (site, patient_id)",
    "CREATE INDEX workup_due ON workup (site, due_at) WHERE due_at IS NOT NULL",
    "CREATE UNIQUE INDEX workup_open ON workup (site, referral_id) WHERE completed_at IS NULL",
)
RIGHTS = {
    "workup": "SELECT, INSERT, UPDATE (patient_id, drafts, sections, excuses, completed_at, completed_by, due_at)",
    "content_pack": "SELECT, INSERT",
}


def upgrade() -> None:
    for statement in CHANGES:
        op.execute(statement)
    for table, rights in RIGHTS.items():
        for statement in schema.protect("intake", table, rights):
            op.execute(statement)
