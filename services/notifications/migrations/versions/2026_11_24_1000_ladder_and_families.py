"""The ladder that pages climb, and messages to family members"""

from alembic import op

from stepway_chassis import schema

revision = "2026_11_24_1000"
down_revision = "2026_11_21_1000"

# Forced row-level security would show the owner no row of any site: it is off for as long as labels are moved.
MOVE_LABELS = (
    "ALTER TABLE patient NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE person_label NO FORCE ROW LEVEL SECURITY",
    "INSERT INTO person_label (site, person, label) SELECT site, id, label FROM patient",
    "ALTER TABLE person_label FORCE ROW LEVEL SECURITY",
    "ALTER TABLE patient FORCE ROW LEVEL SECURITY",
    "ALTER TABLE patient DROP COLUMN label",
)
LADDER = (
    "ALTER TABLE escalation NO FORCE ROW LEVEL SECURITY",
    """
    ALTER TABLE escalation
     ADD clinicians text[], ADD pages integer NOT NULL DEFAULT 1, ADD next_page_at timestamptz,
     ADD paged_at timestamptz, ADD trace_context jsonb NOT NULL DEFAULT '{}'""",
    "UPDATE escalation SET clinicians = ARRAY[clinician]",
    "ALTER TABLE escalation ALTER clinicians SET NOT NULL, DROP COLUMN clinician",
    "ALTER TABLE escalation FORCE ROW LEVEL SECURITY",
    "CREATE INDEX escalation_unanswered ON escalation (site, next_page_at) WHERE next_page_at IS NOT NULL",
    "GRANT UPDATE (clinicians, pages, next_page_at, paged_at) ON escalation TO notifications_app",
)
FAMILIES = (
    """
    CREATE TABLE family_member (
        site text NOT NULL,
        id uuid NOT NULL,
        patient_id uuid NOT NULL,
        stopped_at timestamptz,
        PRIMARY KEY (site, id),
        FOREIGN KEY (site, patient_id) REFERENCES patient
    )""",
    """
    ALTER TABLE message ADD family_member_id uuid, ADD escalation_id uuid,
     ADD FOREIGN KEY (site, family_member_id) REFERENCES family_member,
     ADD FOREIGN KEY (site, escalation_id) REFERENCES escalation""",
    "CREATE INDEX message_family_member ON message (site, family_member_id) WHERE family_member_id IS NOT NULL",
    "CREATE INDEX message_escalation ON message (site, escalation_id) WHERE escalation_id IS NOT NULL",
    "ALTER TABLE message DROP CONSTRAINT message_template_check",
    """
    ALTER TABLE message ADD CONSTRAINT message_template_check CHECK (template IN ('referral_received',
     'enrollment_confirmed', 'enrollment_waitlisted', 'family_invitation', 'escalation_page'))""",
)


def upgrade() -> None:
    for statement in (*schema.version_2("notifications"), *MOVE_LABELS, *LADDER, *FAMILIES):
        op.execute(statement)
    for statement in schema.protect("notifications", "family_member", "SELECT, INSERT, UPDATE (stopped_at)"):
        op.execute(statement)
