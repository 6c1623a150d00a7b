"""Family groups, links by consent, and invitations"""

from alembic import op

from stepway_chassis import schema

revision = "2026_11_24_1000"
down_revision = None

TABLES = (
    """
    CREATE TABLE consent_link (
        site text NOT NULL,
        id uuid NOT NULL,
        patient_id uuid NOT NULL,
        family_member_id uuid NOT NULL,
        granted timestamptz,
        revoked timestamptz,
        refused timestamptz,
        at timestamptz,
        correlation text,
        causation text,
        trace_context jsonb,
        PRIMARY KEY (site, id),
        CHECK (granted IS NOT NULL OR revoked IS NOT NULL),
        CHECK (granted IS NULL OR at IS NOT NULL)
    )""",
    """
    CREATE INDEX consent_link_open ON consent_link (site, granted, id)
     WHERE granted IS NOT NULL AND revoked IS NULL AND refused IS NULL""",
    """
    CREATE TABLE patient (
        site text NOT NULL,
        id uuid NOT NULL,
        at timestamptz NOT NULL,
        correlation text NOT NULL,
        causation text NOT NULL,
        trace_context jsonb NOT NULL,
        PRIMARY KEY (site, id)
    )""",
    """
    CREATE TABLE family_group (
        site text NOT NULL,
        id uuid NOT NULL,
        starts_at timestamptz NOT NULL,
        minutes integer NOT NULL CHECK (minutes > 0),
        seats integer NOT NULL CHECK (seats > 0),
        seats_taken integer NOT NULL CHECK (seats_taken BETWEEN 0 AND seats),
        PRIMARY KEY (site, id)
    )""",
    "CREATE INDEX family_group_next ON family_group (site, starts_at, id)",
    """
    CREATE TABLE invitation (
        site text NOT NULL,
        id uuid NOT NULL,
        family_member_id uuid NOT NULL,
        patient_id uuid NOT NULL,
        family_group_id uuid NOT NULL,
        starts_at timestamptz NOT NULL,
        invited_at timestamptz NOT NULL,
        PRIMARY KEY (site, id),
        UNIQUE (site, family_member_id, family_group_id),
        FOREIGN KEY (site, family_group_id) REFERENCES family_group
    )""",
)
RIGHTS = {
    "consent_link": "SELECT, INSERT, UPDATE",
    "patient": "SELECT, INSERT, UPDATE",
    "family_group": "SELECT, INSERT, UPDATE (seats_taken)",
    "invitation": "SELECT, INSERT",
}


def upgrade() -> None:
    for statement in (*schema.version_1("family"), *schema.version_2("family"), *TABLES):
        op.execute(statement)
    for table, rights in RIGHTS.items():
        for statement in schema.protect("family", table, rights):
            op.execute(statement)
