"""By which consent the record of a transfer crosses, and with which notice"""

from alembic import op

revision = "2026_11_30_1000"
down_revision = "2026_11_25_1050"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE transfer
            ADD consent_id uuid,
            ADD consent_version integer NOT NULL DEFAULT 0,
            ADD notice_version text NOT NULL DEFAULT ''""")
    op.execute("GRANT UPDATE (consent_id, consent_version, notice_version) ON transfer TO intake_app")
