"""What records of other systems have become"""

from alembic import op

from stepway_chassis import schema

revision = "2026_11_25_1050"
down_revision = "2026_11_25_1040"

# It is written before what it names, so that of two twins the later one waits; the keys are checked at the commit.
TABLE = """
    CREATE TABLE imported (
        site text NOT NULL,
        id uuid NOT NULL,
        referral_id uuid NOT NULL,
        assessment_id uuid,
        content uuid,
        PRIMARY KEY (site, id),
        FOREIGN KEY (site, referral_id) REFERENCES referral DEFERRABLE INITIALLY DEFERRED,
        FOREIGN KEY (site, assessment_id) REFERENCES assessment DEFERRABLE INITIALLY DEFERRED
    )"""


def upgrade() -> None:
    for statement in (TABLE, *schema.protect("intake", "imported", "SELECT, INSERT")):
        op.execute(statement)
