"""Suggestions of a level of care, what a decision says of them, and hand-offs to other providers"""

from alembic import op

from stepway_chassis import schema

revision = "2026_11_25_1020"
down_revision = "2026_11_25_1010"

LEVELS = "'outpatient', 'intensive_outpatient', 'partial_hospitalization', 'residential', 'inpatient', 'emergency'"

TABLES = (
    f"""
    CREATE TABLE level_of_care_suggestion (
        site text NOT NULL,
        id uuid NOT NULL,
        referral_id uuid NOT NULL,
        patient_id uuid NOT NULL,
        facts jsonb NOT NULL,
        level text CHECK (level IN ({LEVELS})),
        at_least text CHECK (at_least IN ({LEVELS})),
        reasons jsonb NOT NULL,
        missing text[] NOT NULL,
        rule_set text NOT NULL,
        payer text NOT NULL,
        suggested_to text NOT NULL,
        suggested_at timestamptz NOT NULL,
        flags integer NOT NULL,
        PRIMARY KEY (site, id),
        FOREIGN KEY (site, referral_id) REFERENCES referral,
        CHECK ((level IS NULL) = (missing <> '{{}}'))
    )""",
    "CREATE INDEX level_of_care_suggestion_newest ON level_of_care_suggestion (site, referral_id, id)",
    "CREATE INDEX level_of_care_suggestion_patient ON level_of_care_suggestion (site, patient_id)",
    f"""
    CREATE TABLE hand_off (
        site text NOT NULL,
        id uuid NOT NULL,
        referral_id uuid NOT NULL,
        patient_id uuid NOT NULL,
        level text NOT NULL CHECK (level IN ({LEVELS})),
        provider_name text NOT NULL,
        provider_phone text NOT NULL,
        provider_email text NOT NULL,
        note text NOT NULL,
        status text NOT NULL CHECK (status IN ('open', 'confirmed', 'ended')),
        due_at timestamptz NOT NULL,
        started_by text NOT NULL,
        started_at timestamptz NOT NULL,
        attempts integer NOT NULL CHECK (attempts >= 0),
        last_attempt_at timestamptz,
        closed_by text,
        closed_at timestamptz,
        confirmed_with text,
        appointment_at timestamptz,
        end_reason text CHECK (end_reason IN ('provider_declined', 'patient_declined', 'patient_unreachable',
                                              'in_care_elsewhere', 'other')),
        end_text text,
        PRIMARY KEY (site, id),
        FOREIGN KEY (site, referral_id) REFERENCES referral,
        CHECK ((attempts = 0) = (last_attempt_at IS NULL)),
        CHECK ((status = 'open') = (closed_at IS NULL)),
        CHECK ((closed_at IS NULL) = (closed_by IS NULL)),
        CHECK ((status = 'confirmed') = (confirmed_with IS NOT NULL)),
        CHECK (status = 'confirmed' OR appointment_at IS NULL),
        CHECK ((status = 'ended') = (end_reason IS NOT NULL)),
        CHECK ((end_reason IS NULL) = (end_text IS NULL))
    )""",
    "CREATE UNIQUE INDEX hand_off_of_referral ON hand_off (site, referral_id) WHERE status = 'open'",
    "CREATE INDEX hand_off_patient ON hand_off (site, patient_id)",
    "CREATE INDEX hand_off_open ON hand_off (site, id) WHERE status = 'open'",
    """
    CREATE TABLE hand_off_attempt (
        site text NOT NULL,
        id uuid NOT NULL,
        hand_off_id uuid NOT NULL,
        outcome text NOT NULL CHECK (outcome IN ('no_answer', 'message_left', 'spoken')),
        note text NOT NULL,
        made_by text NOT NULL,
        made_at timestamptz NOT NULL,
        PRIMARY KEY (site, id),
        FOREIGN KEY (site, hand_off_id) REFERENCES hand_off
    )""",
    "CREATE INDEX hand_off_attempt_newest ON hand_off_attempt (site, hand_off_id, id)",
)
CHANGES = (
    f"""
    ALTER TABLE level_of_care_decision
        ADD suggestion_id uuid,
        ADD suggested_level text CHECK (suggested_level IN ({LEVELS})),
        ADD suggested_at_least text CHECK (suggested_at_least IN ({LEVELS})),
        ADD rule_set text,
        ADD override_reason text CHECK (override_reason IN ('clinical_judgement', 'patient_choice',
            'level_not_available', 'payer_decision', 'court_order', 'other')),
        ADD override_text text,
        ADD tool_results jsonb NOT NULL DEFAULT '[]',
        ADD CHECK (level IN ({LEVELS})),
        ADD CHECK ((suggestion_id IS NULL) = (rule_set IS NULL)),
        ADD CHECK ((override_reason IS NULL) = (override_text IS NULL)),
        ADD CHECK (override_reason IS NULL OR suggestion_id IS NOT NULL),
        ADD CHECK (suggested_level IS NULL OR suggested_level = level OR override_reason IS NOT NULL),
        ADD FOREIGN KEY (site, suggestion_id) REFERENCES level_of_care_suggestion""",
)
RIGHTS = {
    "level_of_care_suggestion": "SELECT, INSERT, UPDATE (patient_id)",
    "hand_off": "SELECT, INSERT, UPDATE (patient_id, status, attempts, last_attempt_at, closed_by, closed_at,"
    " confirmed_with, appointment_at, end_reason, end_text)",
    "hand_off_attempt": "SELECT, INSERT",
}


def upgrade() -> None:
    for statement in (*TABLES, *CHANGES):
        op.execute(statement)
    for table, rights in RIGHTS.items():
        for statement in schema.protect("intake", table, rights):
            op.execute(statement)
