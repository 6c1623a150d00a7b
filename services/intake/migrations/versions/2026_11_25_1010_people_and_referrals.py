"""What people are found by, whose records were merged, and what has to be done about a referral next"""

from itertools import islice

from alembic import op
from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB

from stepway_chassis import backfill, schema
from stepway_intake.domain.people import keys_of
from stepway_intake.store.people import person

revision = "2026_11_25_1010"
down_revision = "2026_11_24_2200"

CHANGES = (
    "ALTER TABLE patient ADD merged_into uuid",
    "GRANT UPDATE (person, label, merged_into) ON patient TO intake_app",
    """
    CREATE TABLE person_key (
        site text NOT NULL,
        kind text NOT NULL CHECK (kind IN ('name', 'birth_date', 'phone', 'email')),
        value text NOT NULL,
        patient_id uuid NOT NULL,
        PRIMARY KEY (site, kind, value, patient_id),
        FOREIGN KEY (site, patient_id) REFERENCES patient
    )""",
    "CREATE INDEX person_key_patient ON person_key (site, patient_id)",
    *schema.protect("intake", "person_key", "SELECT, INSERT, DELETE"),
    "ALTER TABLE referral DROP CONSTRAINT referral_status_check",
    """
    ALTER TABLE referral ADD CONSTRAINT referral_status_check
     CHECK (status IN ('received', 'contacted', 'screening', 'assessment', 'decided', 'waitlisted', 'admitted',
                       'referred_out', 'declined', 'unreachable'))""",
    # A process of an earlier version goes on writing referrals: somebody has to be reached within a day.
    """
    ALTER TABLE referral ADD source text, ADD sender text NOT NULL DEFAULT '', ADD owner text,
     ADD next_action text DEFAULT 'contact', ADD due_at timestamptz DEFAULT now() + interval '1 day',
     ADD attempts integer NOT NULL DEFAULT 0, ADD missed integer NOT NULL DEFAULT 0,
     ADD contacted_at timestamptz, ADD admitted_at timestamptz, ADD stood text,
     ADD closing_reason text NOT NULL DEFAULT ''""",
    """
    GRANT UPDATE (patient_id, owner, next_action, due_at, attempts, missed, contacted_at, admitted_at, stood,
                  closing_reason) ON referral TO intake_app""",
    "CREATE INDEX referral_due ON referral (site, due_at, id) WHERE due_at IS NOT NULL",
    "CREATE INDEX referral_owned ON referral (site, owner, due_at, id) WHERE due_at IS NOT NULL",
    "CREATE INDEX referral_received ON referral (site, received_at)",
)
FOLLOWERS = ("assessment", "risk_flag", "level_of_care_decision", "admission", "family_member", "consent")
PLACE_REFERRALS = """
    UPDATE referral AS known SET
        admitted_at = (SELECT admitted_at FROM admission WHERE site = known.site AND referral_id = known.id),
        next_action = CASE status WHEN 'received' THEN 'contact' WHEN 'screening' THEN 'assess'
                                  WHEN 'decided' THEN 'admit' END,
        due_at = CASE WHEN status <> 'admitted' THEN GREATEST(received_at + interval '1 day', now()) END"""
ADD_KEY = text(
    "INSERT INTO person_key (site, kind, value, patient_id)"
    " VALUES (current_setting('app.site'), :kind, :value, :patient_id)"
)


def upgrade() -> None:
    for statement in (*schema.version_5("intake"), *CHANGES):
        op.execute(statement)
    for table in FOLLOWERS:
        op.execute(f"CREATE INDEX {table}_patient ON {table} (site, patient_id)")
        op.execute(f"GRANT UPDATE (patient_id) ON {table} TO intake_app")
    backfill.every_row(op.get_bind(), "referral", PLACE_REFERRALS)
    backfill.in_each_site(op.get_bind(), add_keys)


def add_keys(connection: Connection) -> None:
    """Of everybody whom the site knows."""
    people = connection.execute(text("SELECT id, person FROM patient").columns(person=JSONB)).all()
    keys = (
        {"kind": key.kind, "value": key.value, "patient_id": id}
        for id, stored in people
        if stored
        for key in keys_of(person(stored))
    )
    while batch := list(islice(keys, 1000)):
        connection.execute(ADD_KEY, batch)
