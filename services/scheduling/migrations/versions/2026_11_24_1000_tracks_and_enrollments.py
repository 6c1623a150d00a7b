"""Tracks, their seats, and who holds or waits for one"""

from alembic import op

from stepway_chassis import schema

revision = "2026_11_24_1000"
down_revision = None

TABLES = (
    """
    CREATE TABLE track (
        site text NOT NULL,
        id uuid NOT NULL,
        name text NOT NULL,
        daypart text NOT NULL CHECK (daypart IN ('morning', 'afternoon', 'evening', 'weekend')),
        seats integer NOT NULL CHECK (seats > 0),
        seats_taken integer NOT NULL CHECK (seats_taken BETWEEN 0 AND seats),
        PRIMARY KEY (site, id)
    )""",
    "CREATE INDEX track_free ON track (site, daypart, id) WHERE seats_taken < seats",
    """
    CREATE TABLE enrollment (
        site text NOT NULL,
        id uuid NOT NULL,
        admission_id uuid NOT NULL,
        patient_id uuid NOT NULL,
        availability text[] NOT NULL,
        status text NOT NULL CHECK (status IN ('waitlisted', 'confirmed', 'ended')),
        admitted_at timestamptz NOT NULL,
        track_id uuid,
        confirmed_at timestamptz,
        ended_at timestamptz,
        correlation text NOT NULL,
        PRIMARY KEY (site, id),
        UNIQUE (site, admission_id),
        FOREIGN KEY (site, track_id) REFERENCES track,
        CHECK (status <> 'confirmed' OR track_id IS NOT NULL),
        CHECK ((track_id IS NULL) = (confirmed_at IS NULL)),
        CHECK ((status = 'ended') = (ended_at IS NOT NULL))
    )""",
    "CREATE INDEX enrollment_line ON enrollment (site, admitted_at, id) WHERE status = 'waitlisted'",
)
RIGHTS = {
    "track": "SELECT, INSERT, UPDATE (seats_taken)",
    "enrollment": "SELECT, INSERT, UPDATE (status, track_id, confirmed_at, ended_at)",
}


def upgrade() -> None:
    for statement in (*schema.version_1("scheduling"), *schema.version_2("scheduling"), *TABLES):
        op.execute(statement)
    for table, rights in RIGHTS.items():
        for statement in schema.protect("scheduling", table, rights):
            op.execute(statement)
