"""The ladder that pages climb, and messages to family members"""

from alembic import op

from stepway_chassis import backfill, schema

revision = "2026_11_24_1000"
down_revision = "2026_11_21_1000"

# patient.label and escalation.clinician stay until no process of an earlier version runs; the triggers keep them and
# what has taken their place in step, whichever version writes. A later migration drops both.
LABELS = (
    """
    CREATE FUNCTION label_of_patient() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.label IS NULL THEN
            NEW.label := coalesce((SELECT label FROM person_label WHERE site = NEW.site AND person = NEW.id), 'part2');
        ELSE
            INSERT INTO person_label AS known (site, person, label) VALUES (NEW.site, NEW.id, NEW.label)
                ON CONFLICT (site, person) DO UPDATE SET label = greatest(known.label, excluded.label);
        END IF;
        RETURN NEW;
    END $$""",
    """
    CREATE FUNCTION label_of_person() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE patient SET label = NEW.label WHERE site = NEW.site AND id = NEW.person AND label < NEW.label;
        RETURN NULL;
    END $$""",
    """
    CREATE TRIGGER label_of_patient BEFORE INSERT OR UPDATE OF label ON patient
        FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION label_of_patient()""",
    """
    CREATE TRIGGER label_of_person AFTER INSERT OR UPDATE ON person_label
        FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION label_of_person()""",
)
MOVE_LABELS = "INSERT INTO person_label (site, person, label) SELECT site, id, label FROM patient"
LADDER = (
    """
    ALTER TABLE escalation
     ADD clinicians text[], ADD pages integer NOT NULL DEFAULT 1, ADD next_page_at timestamptz,
     ADD paged_at timestamptz, ADD trace_context jsonb NOT NULL DEFAULT '{}'""",
    """
    CREATE FUNCTION page_again(at_site text) RETURNS interval LANGUAGE sql STABLE AS $$
        SELECT make_interval(secs => coalesce(max((settings -> 'page_again_seconds')::int), 300)) FROM site
         WHERE site = at_site AND jsonb_typeof(settings -> 'page_again_seconds') = 'number'
    $$""",
    """
    CREATE FUNCTION ladder_of_escalation() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.clinicians IS NULL THEN
            NEW.clinicians := ARRAY[NEW.clinician];
            NEW.next_page_at := NEW.raised_at + page_again(NEW.site);
            INSERT INTO work (site, loop, due_at) VALUES (NEW.site, 'escalating', NEW.next_page_at)
                ON CONFLICT (loop, site) DO UPDATE SET due_at = least(work.due_at, excluded.due_at);
        END IF;
        IF NEW.acknowledged_at IS NOT NULL THEN
            NEW.next_page_at := NULL;
        END IF;
        NEW.clinician := NEW.clinicians[1];
        RETURN NEW;
    END $$""",
    "CREATE INDEX escalation_unanswered ON escalation (site, next_page_at) WHERE next_page_at IS NOT NULL",
    "GRANT UPDATE (clinicians, pages, next_page_at, paged_at) ON escalation TO notifications_app",
)
# A page and its escalation were written in one transaction, at one moment. Nobody is paged after seven days.
NAME_PAGES = """
    UPDATE message AS m SET escalation_id = e.id FROM escalation AS e
     WHERE m.site = e.site AND m.patient_id = e.patient_id AND m.created_at = e.raised_at
       AND template = 'escalation_page'"""
FILL_LADDER = """
    UPDATE escalation AS e SET clinicians = ARRAY[clinician],
        paged_at = (SELECT min(delivered_at) FROM message WHERE site = e.site AND escalation_id = e.id),
        next_page_at = CASE WHEN acknowledged_at IS NULL AND raised_at > now() - interval '7 days'
                            THEN raised_at + page_again(site) END"""
WAKE_LADDER = """
    INSERT INTO work (site, loop, due_at)
    SELECT site, 'escalating', min(next_page_at) FROM escalation WHERE next_page_at IS NOT NULL GROUP BY site"""
CLOSE_LADDER = (
    "ALTER TABLE escalation ALTER clinicians SET NOT NULL",
    """
    CREATE TRIGGER ladder_of_escalation BEFORE INSERT OR UPDATE ON escalation
        FOR EACH ROW EXECUTE FUNCTION ladder_of_escalation()""",
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
    _run(*schema.version_2("notifications"), *LADDER, *FAMILIES)
    for statement in schema.protect("notifications", "family_member", "SELECT, INSERT, UPDATE (stopped_at)"):
        op.execute(statement)
    backfill.every_row(op.get_bind(), "patient", MOVE_LABELS)
    backfill.everywhere(op.get_bind(), NAME_PAGES)
    backfill.every_row(op.get_bind(), "escalation", FILL_LADDER)
    backfill.everywhere(op.get_bind(), WAKE_LADDER)
    _run(*LABELS, *CLOSE_LADDER)


def _run(*statements: str) -> None:
    for statement in statements:
        op.execute(statement)
