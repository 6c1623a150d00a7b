"""A decision on a level of care may replace the one before; rows are only added, and one stands

A process of the version before admits nobody, and hands off nobody, about whom was decided again; it refuses with a
defect, and whoever asks again at one of this version is answered.
"""

from alembic import op

revision = "2026_11_30_1010"
down_revision = "2026_11_30_1000"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE level_of_care_decision
            ADD replaces uuid,
            DROP CONSTRAINT level_of_care_decision_site_referral_id_key,
            ADD UNIQUE NULLS NOT DISTINCT (site, referral_id, replaces),
            ADD FOREIGN KEY (site, replaces) REFERENCES level_of_care_decision""")
