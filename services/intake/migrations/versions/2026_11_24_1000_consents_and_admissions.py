"""Level-of-care decisions, family members, consents and admissions; what the watchdog keeps of a flag"""

from alembic import op

from stepway_chassis import backfill, schema

revision = "2026_11_24_1000"
down_revision = "2026_11_21_1000"

CHANGES = (
    "ALTER TABLE referral DROP CONSTRAINT referral_status_check",
    """
    ALTER TABLE referral ADD CONSTRAINT referral_status_check
     CHECK (status IN ('received', 'screening', 'decided', 'admitted'))""",
    "CREATE INDEX referral_patient ON referral (site, patient_id)",
    "ALTER TABLE risk_flag ADD paged_at timestamptz, ADD trace_context jsonb",
    "GRANT UPDATE (paged_at) ON risk_flag TO intake_app",
    """
    CREATE INDEX risk_flag_unpaged ON risk_flag (site, id)
     WHERE urgency = 'page' AND paged_at IS NULL AND acknowledged_at IS NULL""",
)
# Whether somebody was paged about a flag of before is not known here: the watchdog asks, and is told.
WAKE_WATCHDOG = """
    INSERT INTO work (site, loop, due_at)
    SELECT site, 'watchdog', now() FROM risk_flag WHERE urgency = 'page' AND acknowledged_at IS NULL GROUP BY site"""
TABLES = (
    """
    CREATE TABLE level_of_care_decision (
        site text NOT NULL,
        id uuid NOT NULL,
        referral_id uuid NOT NULL,
        patient_id uuid NOT NULL,
        level text NOT NULL,
        rationale text NOT NULL,
        decided_by text NOT NULL,
        decided_at timestamptz NOT NULL,
        PRIMARY KEY (site, id),
        UNIQUE (site, referral_id),
        FOREIGN KEY (site, referral_id) REFERENCES referral
    )""",
    """
    CREATE TABLE admission (
        site text NOT NULL,
        id uuid NOT NULL,
        referral_id uuid NOT NULL,
        patient_id uuid NOT NULL,
        availability text[] NOT NULL,
        admitted_at timestamptz NOT NULL,
        PRIMARY KEY (site, id),
        UNIQUE (site, referral_id),
        FOREIGN KEY (site, referral_id) REFERENCES referral
    )""",
    """
    CREATE TABLE family_member (
        site text NOT NULL,
        id uuid NOT NULL,
        patient_id uuid NOT NULL,
        person jsonb NOT NULL,
        PRIMARY KEY (site, id),
        FOREIGN KEY (site, patient_id) REFERENCES patient
    )""",
    """
    CREATE TABLE consent (
        site text NOT NULL,
        id uuid NOT NULL,
        patient_id uuid NOT NULL,
        family_member_id uuid NOT NULL,
        categories text[] NOT NULL,
        purpose text NOT NULL,
        signed_at timestamptz NOT NULL,
        granted_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        revoked_at timestamptz,
        PRIMARY KEY (site, id),
        FOREIGN KEY (site, family_member_id) REFERENCES family_member
    )""",
    "CREATE INDEX consent_between ON consent (site, patient_id, family_member_id, id)",
)
RIGHTS = {
    "level_of_care_decision": "SELECT, INSERT",
    "admission": "SELECT, INSERT",
    "family_member": "SELECT, INSERT",
    "consent": "SELECT, INSERT, UPDATE (revoked_at)",
}


def upgrade() -> None:
    for statement in (*schema.version_2("intake"), *CHANGES, *TABLES):
        op.execute(statement)
    for table, rights in RIGHTS.items():
        for statement in schema.protect("intake", table, rights):
            op.execute(statement)
    backfill.everywhere(op.get_bind(), WAKE_WATCHDOG)
