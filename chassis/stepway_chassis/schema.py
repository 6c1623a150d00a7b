"""The chassis's own tables, and how a table is closed to every site but its own."""

from collections.abc import Iterable

EXEMPT = frozenset({"alembic_version", "site", "work"})  # the tables without row-level security
OWN_SITE = "site = NULLIF(current_setting('app.site', true), '')"

_WRITTEN = ("site", "actor", "actor_kind", "action", "people", "purpose", "outcome", "reason", "trace_id")


def protect(service: str, table: str, app: str, *, keeper: str = "") -> list[str]:
    """SQL that closes `table` to other sites and grants `app` and `keeper` the named rights on it."""
    statements = [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY own_site ON {table} USING ({OWN_SITE}) WITH CHECK ({OWN_SITE})",
        f"GRANT {app} ON {table} TO {service}_app",
    ]
    return [*statements, f"GRANT {keeper} ON {table} TO {service}_keeper"] if keeper else statements


def version_1(service: str) -> Iterable[str]:
    """The chassis's tables as they were first made."""
    yield from _sites(service)
    yield from _outbox(service)
    yield from _inbox(service)
    yield from _calls(service)


def version_2(service: str) -> Iterable[str]:
    """The highest label heard of each person."""
    yield """
        CREATE TABLE person_label (
            site text NOT NULL,
            person uuid NOT NULL,
            label text NOT NULL CHECK (label IN ('general', 'part2')),
            PRIMARY KEY (site, person)
        )"""
    yield from protect(service, "person_label", "SELECT, INSERT, UPDATE")


def version_3(service: str) -> Iterable[str]:
    """A refused entry names the cell that runs the site; the relay takes the oldest of each site."""
    yield ENTER_SITE
    yield "CREATE INDEX outbox_waiting ON outbox (site, id) WHERE published_at IS NULL"


def version_4(service: str) -> Iterable[str]:
    """The audit's rows numbered and chained, and the seals over them."""
    yield "ALTER TABLE audit ADD COLUMN seq bigint, ADD COLUMN hash bytea, ADD UNIQUE (site, seq)"
    yield "CREATE INDEX audit_unsealed ON audit (site, id) WHERE seq IS NULL"
    yield f"GRANT UPDATE (seq, hash) ON audit TO {service}_keeper"
    # The database alone says which row it is and when it was written.
    yield f"REVOKE INSERT ON audit FROM {service}_app"
    yield f"GRANT INSERT ({', '.join(_WRITTEN)}) ON audit TO {service}_app"
    yield """
        CREATE TABLE audit_seal (
            site text NOT NULL,
            seq bigint NOT NULL,
            hash bytea NOT NULL,
            head text NOT NULL,
            sealed_at timestamptz NOT NULL,
            PRIMARY KEY (site, seq)
        )"""
    yield from protect(service, "audit_seal", "SELECT", keeper="SELECT, INSERT")
    yield f"GRANT SELECT, INSERT, UPDATE ON event_head TO {service}_keeper"
    yield f"GRANT INSERT ON outbox TO {service}_keeper"


def version_5(service: str) -> Iterable[str]:
    """Who was merged into whom, and by which id somebody's records are kept by now."""
    yield """
        CREATE TABLE person_alias (
            site text NOT NULL,
            person uuid NOT NULL,
            same_as uuid NOT NULL CHECK (same_as <> person),
            merged_at timestamptz NOT NULL,
            PRIMARY KEY (site, person)
        )"""
    yield from protect(service, "person_alias", "SELECT, INSERT")
    yield f"GRANT DELETE ON person_label TO {service}_app"
    yield CURRENT_PERSON
    yield MERGE_PERSON


# Whoever writes under an id holds it until the commit; each lock is had before the row is read, in a fresh snapshot.
CURRENT_PERSON = """
    CREATE FUNCTION current_person(at_site text, wanted uuid) RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
    DECLARE
        other uuid;
    BEGIN
        LOOP
            PERFORM pg_advisory_xact_lock_shared(hashtextextended('person/' || at_site || '/' || wanted, 0));
            SELECT same_as INTO other FROM person_alias WHERE site = at_site AND person = wanted;
            IF NOT FOUND THEN
                RETURN wanted;
            END IF;
            wanted := other;
        END LOOP;
    END $$"""
# The exclusive lock waits for all who write under the id that goes; whatever they wrote is seen, and moved, after it.
MERGE_PERSON = """
    CREATE FUNCTION merge_person(at_site text, gone uuid, kept uuid, at timestamptz) RETURNS uuid
    LANGUAGE plpgsql VOLATILE AS $$
    DECLARE
        heard text;
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtextextended('person/' || at_site || '/' || gone, 0));
        INSERT INTO person_alias (site, person, same_as, merged_at) VALUES (at_site, gone, kept, at)
        ON CONFLICT DO NOTHING;
        kept := current_person(at_site, kept);
        DELETE FROM person_label WHERE site = at_site AND person = gone RETURNING label INTO heard;
        IF FOUND THEN
            INSERT INTO person_label AS known (site, person, label) VALUES (at_site, kept, heard)
            ON CONFLICT (site, person) DO UPDATE SET label = GREATEST(known.label, excluded.label);
        END IF;
        RETURN kept;
    END $$"""

# The lock comes first and the row is read by a later statement, so that a move that held the lock is seen.
ENTER_SITE = """
    CREATE OR REPLACE FUNCTION enter_site(wanted text, by_cell text, OUT zone text, OUT settings jsonb)
    LANGUAGE plpgsql VOLATILE AS $$
    DECLARE
        found_cell text;
        found_state text;
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(hashtextextended('site/' || wanted, 0));
        SELECT site.zone, site.settings, site.cell, site.state
          INTO zone, settings, found_cell, found_state FROM site WHERE site.site = wanted;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'no such site' USING ERRCODE = 'SW001';
        ELSIF found_state <> 'active' THEN
            RAISE EXCEPTION 'the site is draining' USING ERRCODE = 'SW003';
        ELSIF found_cell <> by_cell THEN
            RAISE EXCEPTION 'another cell runs this site' USING ERRCODE = 'SW002', DETAIL = found_cell;
        END IF;
        PERFORM set_config('app.site', wanted, true);
    END $$"""


def _sites(service: str) -> Iterable[str]:
    yield """
        CREATE TABLE site (
            site text PRIMARY KEY CHECK (site ~ '^[a-z][a-z0-9-]{1,30}$'),
            zone text NOT NULL,
            settings jsonb NOT NULL,
            revision bigint NOT NULL CHECK (revision > 0),
            cell text NOT NULL DEFAULT 'shared',
            epoch bigint NOT NULL DEFAULT 1,
            state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'draining'))
        )"""
    yield f"GRANT SELECT ON site TO {service}_app, {service}_keeper, {service}_relay"
    yield f"GRANT SELECT, INSERT, UPDATE ON site TO {service}_registrar"
    yield ENTER_SITE
    yield """
        CREATE TABLE work (
            site text NOT NULL REFERENCES site,
            loop text NOT NULL,
            due_at timestamptz NOT NULL,
            PRIMARY KEY (loop, site)
        )"""
    yield "CREATE INDEX work_due ON work (loop, due_at)"
    yield f"GRANT SELECT, INSERT, UPDATE, DELETE ON work TO {service}_app, {service}_keeper"


def _outbox(service: str) -> Iterable[str]:
    yield """
        CREATE TABLE event_head (
            site text NOT NULL,
            aggregate_type text NOT NULL,
            aggregate_id uuid NOT NULL,
            seq bigint NOT NULL,
            last_by_type jsonb NOT NULL,
            PRIMARY KEY (site, aggregate_type, aggregate_id)
        )"""
    yield from protect(service, "event_head", "SELECT, INSERT, UPDATE")
    yield """
        CREATE TABLE outbox (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            event_id uuid NOT NULL,
            site text NOT NULL,
            aggregate_type text NOT NULL,
            aggregate_id uuid NOT NULL,
            aggregate_seq bigint NOT NULL,
            shard smallint NOT NULL
                GENERATED ALWAYS AS ((hashtextextended(aggregate_type || '/' || aggregate_id::text, 0) & 15)) STORED,
            subject text NOT NULL,
            headers jsonb NOT NULL,
            payload bytea NOT NULL,
            created_at timestamptz NOT NULL,
            published_at timestamptz,
            stream_seq bigint,
            attempts integer NOT NULL DEFAULT 0,
            last_error text,
            UNIQUE (site, aggregate_type, aggregate_id, aggregate_seq),
            UNIQUE (site, event_id)
        )"""
    yield "CREATE INDEX outbox_unpublished ON outbox (shard, id) WHERE published_at IS NULL"
    yield "CREATE INDEX outbox_published ON outbox (site, published_at)"
    yield from protect(service, "outbox", "SELECT, INSERT", keeper="SELECT, DELETE")
    yield """
        CREATE TABLE outbox_blocked (
            site text NOT NULL,
            aggregate_type text NOT NULL,
            aggregate_id uuid NOT NULL,
            event_id uuid NOT NULL,
            reason text NOT NULL,
            blocked_at timestamptz NOT NULL,
            PRIMARY KEY (site, aggregate_type, aggregate_id)
        )"""
    yield from protect(service, "outbox_blocked", "SELECT", keeper="SELECT, DELETE")
    for table, rights in (
        ("outbox", "SELECT, UPDATE (published_at, stream_seq, attempts, last_error)"),
        ("outbox_blocked", "SELECT, INSERT, UPDATE"),
    ):
        yield f"CREATE POLICY relay_all ON {table} TO {service}_relay USING (true) WITH CHECK (true)"
        yield f"GRANT {rights} ON {table} TO {service}_relay"


def _inbox(service: str) -> Iterable[str]:
    yield """
        CREATE TABLE inbox (
            site text NOT NULL,
            consumer text NOT NULL,
            event_id uuid NOT NULL,
            handled_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (site, consumer, event_id)
        )"""
    yield "CREATE INDEX inbox_handled ON inbox (site, handled_at)"
    yield from protect(service, "inbox", "SELECT, INSERT", keeper="SELECT, DELETE")
    yield """
        CREATE TABLE delivery_failure (
            site text NOT NULL,
            consumer text NOT NULL,
            event_id uuid NOT NULL,
            count integer NOT NULL,
            error_type text NOT NULL,
            failed_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (site, consumer, event_id)
        )"""
    yield from protect(service, "delivery_failure", "SELECT, INSERT, UPDATE, DELETE")
    yield """
        CREATE TABLE dead_letter (
            site text NOT NULL,
            id uuid NOT NULL DEFAULT uuidv7(),
            consumer text NOT NULL,
            event_id uuid NOT NULL,
            subject text NOT NULL,
            headers jsonb NOT NULL,
            payload bytea NOT NULL,
            reason text NOT NULL,
            error_type text NOT NULL,
            count integer NOT NULL,
            state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'retrying')),
            first_at timestamptz NOT NULL DEFAULT now(),
            last_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (site, id),
            UNIQUE (site, consumer, event_id)
        )"""
    yield from protect(service, "dead_letter", "SELECT, INSERT, UPDATE, DELETE", keeper="SELECT, UPDATE")


def _calls(service: str) -> Iterable[str]:
    yield """
        CREATE TABLE idempotency (
            site text NOT NULL,
            subject text NOT NULL,
            rpc text NOT NULL,
            request_id uuid NOT NULL,
            request_hash bytea NOT NULL,
            response bytea,
            people uuid[],
            created_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (site, subject, rpc, request_id)
        )"""
    yield "CREATE INDEX idempotency_created ON idempotency (site, created_at)"
    yield from protect(service, "idempotency", "SELECT, INSERT, UPDATE", keeper="SELECT, DELETE")
    yield """
        CREATE TABLE audit (
            site text NOT NULL,
            id uuid NOT NULL DEFAULT uuidv7(),
            at timestamptz NOT NULL DEFAULT now(),
            actor text NOT NULL,
            actor_kind text NOT NULL,
            action text NOT NULL,
            people uuid[] NOT NULL,
            purpose text NOT NULL,
            outcome text NOT NULL CHECK (outcome IN ('DONE', 'REPEATED', 'REFUSED')),
            reason text NOT NULL,
            trace_id text NOT NULL,
            PRIMARY KEY (site, id)
        )"""
    yield from protect(service, "audit", "SELECT, INSERT", keeper="SELECT")
