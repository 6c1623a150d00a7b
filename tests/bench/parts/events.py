"""Events a second: the relay beside a windowed publish, a consumer beside a bare pull with an inbox row."""

from tests.bench import pipelines
from tests.bench.figures import Aim, Figure, Findings, ratio
from tests.bench.floor import places
from tests.bench.pipelines import REFERRALS
from tests.bench.stand import FEW_SITES, Stand

EVENTS = 3000

_BACKLOG = f"""
    INSERT INTO outbox (event_id, site, aggregate_type, aggregate_id, aggregate_seq, subject, headers, payload,
                        created_at)
    SELECT event, spread.site, aggregate_type, aggregate, 1, replace(subject, example.site, spread.site),
           (headers - 'traceparent') || jsonb_build_object('ce-id', event, 'Nats-Msg-Id', event), payload, now()
      FROM (SELECT * FROM outbox WHERE {REFERRALS} LIMIT 1) AS example,
           (SELECT number, uuidv7() AS event, gen_random_uuid() AS aggregate
              FROM generate_series(1, {EVENTS}) AS number) AS made,
           LATERAL (SELECT 'site-' || lpad((number % {FEW_SITES})::text, 3, '0') AS site) AS spread"""
_RELAYED = f"""
    WITH last AS (SELECT published_at FROM outbox WHERE {REFERRALS} ORDER BY id DESC LIMIT {EVENTS}),
         marks AS (SELECT published_at, count(*) AS events FROM last GROUP BY published_at)
    SELECT (sum(events) - (SELECT events FROM marks ORDER BY published_at LIMIT 1))
           / extract(epoch FROM max(published_at) - min(published_at)) AS rate FROM marks"""  # from the first mark on
_HANDLED = f"""
    SELECT count(*) / extract(epoch FROM max(handled_at) - min(handled_at)) AS rate
      FROM (SELECT handled_at FROM inbox ORDER BY handled_at DESC LIMIT {EVENTS}) AS last"""
_UNPUBLISHED = f"SELECT FROM outbox WHERE published_at IS NULL AND {REFERRALS}"
_NONE = "SELECT WHERE false"


def measure(stand: Stand) -> Findings:
    rates: dict[str, list[float]] = {}
    with stand.service("intake"):
        _one_referral(stand)
        for _ in range(stand.rounds):
            for name, rate in _round(stand).items():
                rates.setdefault(name, []).append(rate)
    figures = {name: Figure(name, "events/s", rounds) for name, rounds in rates.items()}
    ratios = [
        ratio(figures["relay"], figures["publish with a window"], aim=Aim(least=0.6)),
        ratio(figures["listener"], figures["bare consumer"]),
    ]
    return Findings(ratios, [*figures.values()])


def _one_referral(stand: Stand) -> None:
    """The example that the backlog is made of."""
    crowds = {"all": {"at": stand.staff[:1], "callers": 1}}
    address = stand.platform.address("intake")
    stand.worker.do("call", address=address, method=pipelines.RECEIVE_REFERRAL, crowds=crowds, seconds=0.1)


def _round(stand: Stand) -> dict[str, float]:
    admin = stand.platform.nats_admin
    return {
        "publish with a window": stand.worker.do("publish", nats_admin=admin, count=EVENTS),
        "relay": _relayed(stand),
        "pull of 100 and acknowledge": stand.worker.do("pull", nats_admin=admin, count=EVENTS),
        "bare consumer": _handled_by_the_floor(stand),
        "listener": _handled_by_the_listener(stand),
    }


def _relayed(stand: Stand) -> float:
    """A backlog that appears at once, published by a running intake."""
    intake = "stepway_intake"
    stand.sql(intake, _BACKLOG)
    pipelines.drain(stand, (intake, _UNPUBLISHED), (intake, _NONE))
    return stand.number(intake, _RELAYED)


def _handled_by_the_floor(stand: Stand) -> float:
    stand.worker.do("publish", nats_admin=stand.platform.nats_admin, count=EVENTS)
    stand.sql(places.DATABASE, "TRUNCATE inbox")
    with pipelines.floor_consumer(stand):
        wanted = f"SELECT FROM generate_series(1, {EVENTS})"
        pipelines.drain(stand, (places.DATABASE, wanted), pipelines.FLOOR_HANDLED)
    return stand.number(places.DATABASE, _HANDLED)


def _handled_by_the_listener(stand: Stand) -> float:
    with pipelines.listener(stand):
        pipelines.drain(stand, pipelines.ANNOUNCED, pipelines.HANDLED)
    return stand.number("stepway_notifications", _HANDLED)
