"""Consents with all that the law asks for, admissions that follow their seat, and transfers between sites"""

from alembic import op

from stepway_chassis import backfill, schema

revision = "2026_11_25_1040"
down_revision = "2026_11_25_1030"

PARTY = """
    CREATE TABLE party (
        site text NOT NULL,
        id uuid NOT NULL,
        patient_id uuid NOT NULL,
        name text NOT NULL,
        kind text NOT NULL,
        PRIMARY KEY (site, id),
        FOREIGN KEY (site, patient_id) REFERENCES patient
    )"""
PARTY_PATIENT = "CREATE INDEX party_patient ON party (site, patient_id)"
# `revoked_at` is when a consent has ended in whichever way, so that an earlier version takes each for revoked: a no.
# `recipient` is made by the database, so that it is there for what an earlier version writes.
CONSENT = (
    "ALTER TABLE consent ALTER family_member_id DROP NOT NULL, ALTER expires_at DROP NOT NULL",
    """
    ALTER TABLE consent
        ADD party_id uuid,
        ADD recipient_class text NOT NULL DEFAULT '',
        ADD recipient_site text NOT NULL DEFAULT '',
        ADD legal_basis text NOT NULL DEFAULT 'unstated',
        ADD signer text NOT NULL DEFAULT 'unstated',
        ADD signer_name text NOT NULL DEFAULT '',
        ADD expires_with text NOT NULL DEFAULT 'date',
        ADD copy_given_at timestamptz,
        ADD notice_version text NOT NULL DEFAULT '',
        ADD version integer NOT NULL DEFAULT 1,
        ADD supersedes_id uuid,
        ADD ending text NOT NULL DEFAULT ''
         CHECK (ending IN ('', 'revoked', 'expired', 'superseded', 'authority_ended')),
        ADD due_at timestamptz,
        ADD FOREIGN KEY (site, party_id) REFERENCES party,
        ADD FOREIGN KEY (site, supersedes_id) REFERENCES consent,
        ADD CHECK (ending = '' OR revoked_at IS NOT NULL)""",
    """
    ALTER TABLE consent ADD recipient text NOT NULL GENERATED ALWAYS AS (COALESCE(
        family_member_id::text, party_id::text,
        CASE WHEN recipient_class <> '' THEN 'class/' || recipient_class END, 'site/' || recipient_site)) STORED""",
    "CREATE INDEX consent_for ON consent (site, patient_id, recipient, id)",
    "CREATE INDEX consent_due ON consent (site, due_at) WHERE revoked_at IS NULL AND due_at IS NOT NULL",
    "CREATE UNIQUE INDEX consent_superseded ON consent (site, supersedes_id)",
    "GRANT UPDATE (ending, due_at) ON consent TO intake_app",
)
# Whoever had signed, each consent of before has a date: the loop ends those that still stand then.
DUE = "UPDATE consent SET due_at = expires_at WHERE revoked_at IS NULL"
WAKE = """
    INSERT INTO work (site, loop, due_at)
    SELECT site, 'expiring', min(due_at) FROM consent WHERE revoked_at IS NULL AND due_at IS NOT NULL GROUP BY site
    ON CONFLICT (loop, site) DO UPDATE SET due_at = LEAST(work.due_at, excluded.due_at)"""
TRANSFER = (
    """
    CREATE TABLE transfer (
        site text NOT NULL,
        id uuid NOT NULL,
        side text NOT NULL CHECK (side IN ('sending', 'receiving')),
        status text NOT NULL
         CHECK (status IN ('offered', 'accepted', 'imported', 'closed', 'declined', 'withdrawn')),
        other_site text NOT NULL,
        patient_id uuid,
        admission_id uuid,
        course jsonb NOT NULL,
        availability text[] NOT NULL,
        told boolean NOT NULL,
        offered_at timestamptz NOT NULL,
        accepted_at timestamptz,
        imported_at timestamptz,
        ended_at timestamptz,
        trace_context jsonb NOT NULL,
        PRIMARY KEY (site, id),
        FOREIGN KEY (site, patient_id) REFERENCES patient,
        FOREIGN KEY (site, admission_id) REFERENCES admission,
        CHECK (side = 'receiving' OR admission_id IS NOT NULL)
    )""",
    "CREATE INDEX transfer_patient ON transfer (site, patient_id)",
    "CREATE INDEX transfer_untold ON transfer (site, id) WHERE NOT told",
    """
    CREATE UNIQUE INDEX transfer_under_way ON transfer (site, admission_id)
     WHERE side = 'sending' AND status IN ('offered', 'accepted')""",
)
ADMISSION = (
    """
    ALTER TABLE admission
        ADD course jsonb NOT NULL DEFAULT '{}',
        ADD status text NOT NULL DEFAULT 'admitted'
         CHECK (status IN ('admitted', 'waitlisted', 'enrolled', 'ended')),
        ADD ending text NOT NULL DEFAULT '' CHECK (ending IN ('', 'left', 'transferred')),
        ADD enrollment_id uuid,
        ADD enrolled_at timestamptz,
        ADD ended_at timestamptz,
        ADD earlier_admission_id uuid,
        ADD transfer_id uuid,
        ADD FOREIGN KEY (site, earlier_admission_id) REFERENCES admission,
        ADD CHECK ((status = 'ended') = (ended_at IS NOT NULL)),
        ADD CHECK ((status = 'ended') = (ending <> ''))""",
    "DROP INDEX admission_patient",
    "CREATE INDEX admission_patient ON admission (site, patient_id, id)",
    "GRANT UPDATE (status, ending, enrollment_id, enrolled_at, ended_at) ON admission TO intake_app",
)
RIGHTS = {
    "party": "SELECT, INSERT, UPDATE (patient_id)",
    "transfer": "SELECT, INSERT, UPDATE (status, patient_id, admission_id, told, accepted_at, imported_at, ended_at)",
}


def upgrade() -> None:
    for statement in (PARTY, PARTY_PATIENT, *CONSENT, *ADMISSION, *TRANSFER):
        op.execute(statement)
    for table, rights in RIGHTS.items():
        for statement in schema.protect("intake", table, rights):
            op.execute(statement)
    backfill.everywhere(op.get_bind(), DUE)
    backfill.everywhere(op.get_bind(), WAKE)
