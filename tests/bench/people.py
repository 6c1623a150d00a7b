"""Sites that have been at work for a while: people with a referral that is due some day and a consent that stands."""

from collections.abc import Sequence

from tests.bench.stand import Stand

PEOPLE = 200  # at each site; about half of their referrals are due by tonight
SETTLE = """
    WITH came AS (
        INSERT INTO patient (site, id, person, label, created_at)
        SELECT site, uuidv7(),
               '{"given_name": "Quillan", "family_name": "Vexmoor", "birth_date": "1990-04-01", "language": "",
                 "gender": "ADMINISTRATIVE_GENDER_UNSPECIFIED",
                 "contact_points": [{"system": "phone", "value": "+12125550142"}]}', 'part2', now()
          FROM unnest(ARRAY[%(sites)s]) AS site, generate_series(1, %(people)d)
        RETURNING site, id
    ), referred AS (
        INSERT INTO referral (site, id, patient_id, status, related_people, reason, received_at, next_action, due_at)
        SELECT site, uuidv7(), id, 'screening', '[]', 'wants help', now(), 'assess',
               now() + (random() - 0.5) * interval '14 days'
          FROM came
    )
    INSERT INTO consent (site, id, patient_id, recipient_class, categories, purpose, signed_at, granted_at, expires_at,
                         legal_basis, signer)
    SELECT site, uuidv7(), id, 'health_plans', '{schedule,attendance}', 'bench', now(), now(),
           now() + interval '1 year', 'hipaa', 'patient'
      FROM came"""


def settle(stand: Stand, sites: Sequence[str]) -> None:
    """Past intake, which would announce 200 people at each of 200 sites for longer than the bench takes."""
    names = ", ".join(f"'{site}'" for site in sites)
    stand.sql("stepway_intake", SETTLE % {"sites": names, "people": PEOPLE})
    stand.sql("stepway_intake", "VACUUM ANALYZE patient, referral, consent")


def some(stand: Stand, table: str, column: str, sites: Sequence[str], each: int) -> list[tuple[str, str]]:
    """So many of those at each of these sites: the site and an id of theirs, the sites taking turns."""
    names = ", ".join(f"'{site}'" for site in sites)
    query = f"""
        SELECT site, {column}::text AS id FROM (
            SELECT site, {column}, row_number() OVER (PARTITION BY site ORDER BY id DESC) AS number
              FROM {table} WHERE site IN ({names})
        ) AS numbered WHERE number <= {each} ORDER BY number, site"""
    return [(row["site"], row["id"]) for row in stand.rows("stepway_intake", query)]
