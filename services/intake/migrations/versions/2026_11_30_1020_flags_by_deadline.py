"""Risk flags by the time of their next step, which those of before had none of"""

from alembic import op

from stepway_chassis import backfill

revision = "2026_11_30_1020"
down_revision = "2026_11_30_1010"

# What was raised before there were times counts as danger that is present: see to it at once.
DUE = "UPDATE risk_flag SET due_at = COALESCE(due_at, now() + interval '15 minutes')"


def upgrade() -> None:
    backfill.every_row(op.get_bind(), "risk_flag", DUE)
    op.execute(
        "ALTER TABLE risk_flag ALTER due_at SET DEFAULT now() + interval '15 minutes'"
    )  # what goes on writing none
    op.execute("CREATE INDEX risk_flag_due ON risk_flag (site, due_at, id) WHERE disposition = 'pending'")
