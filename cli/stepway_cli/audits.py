"""Whether the audits are still what was sealed: rows, seals and the stream, read together for each service and site."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import asyncpg

from stepway_chassis.database import json_connection
from stepway_chassis.errors import NotFound
from stepway_chassis.seals import SealForged, SealKeys
from stepway_cli import stream
from stepway_cli.tampering import Finding, Walk

BATCH = 1000
LOWEST = -(2**63)  # a number below 1 is no number of ours, and a row that has one must not hide behind it
Heads = Mapping[tuple[str, str], Mapping[int, set[bytes]]]

_SITES = "SELECT site FROM site"
_ENTER = "SELECT set_config('app.site', $1, true)"
_ROWS = """
    SELECT seq, hash, id, at, actor, actor_kind, action, people, purpose, outcome, reason, trace_id
      FROM audit WHERE site = $1 AND seq > $2 ORDER BY seq LIMIT $3"""
_SEALS = """
    SELECT seq, hash, head, sealed_at FROM audit_seal
     WHERE site = $1 AND seq > $2 AND ($3::bigint IS NULL OR seq <= $3) ORDER BY seq"""
_UNSEALED = """
    SELECT count(*) AS unsealed, min(at) AS oldest, extract(epoch FROM clock_timestamp() - min(at)) AS seconds
      FROM audit WHERE site = $1 AND seq IS NULL"""


@dataclass(frozen=True)
class Account:
    """Of the audit of one service at one site: how far it is sealed, and what is not as it was sealed.

    Rows up to `on_stream` are known outside the database; the unsealed ones are guarded by nothing yet, the oldest for
    `unsealed_seconds`.
    """

    service: str
    site: str
    sealed: int
    on_stream: int
    unsealed: int
    oldest_unsealed: datetime | None
    unsealed_seconds: float
    findings: tuple[Finding, ...]

    @property
    def touched(self) -> bool:
        return any(finding.proof for finding in self.findings)


@dataclass(frozen=True)
class Verified:
    """`uncounted` messages of the stream look like seals and were signed by none of the services."""

    accounts: list[Account]
    uncounted: int

    @property
    def touched(self) -> bool:
        return any(account.touched for account in self.accounts)


async def verify(keepers: Mapping[str, str], admin: stream.Admin, keys: SealKeys, site: str = "") -> Verified:
    """By service and site; `keepers` are the services' databases as the role keeper. Raises NotFound and NoStream.

    The stream is read first: what it tells of a chain was committed by then.
    """
    heads, uncounted = await _heads(admin, keys, site)
    accounts = [each for name, url in keepers.items() for each in await _service(name, url, heads, keys, site)]
    if site and not accounts:
        raise NotFound("SITE_UNKNOWN", "There is no such site.")
    return Verified(accounts, uncounted)


async def _heads(admin: stream.Admin, keys: SealKeys, site: str) -> tuple[Heads, int]:
    heads: dict[tuple[str, str], dict[int, set[bytes]]] = defaultdict(lambda: defaultdict(set))
    uncounted = 0
    async for event in stream.stored(admin, stream.subject(site, event="audit_sealed")):
        try:
            seal = keys.opened(_head(event.payload))
        except SealForged:
            uncounted += 1
        else:
            heads[seal.service, seal.site][seal.seq].add(seal.hash)
    return heads, uncounted


def _head(payload: bytes) -> str:
    """Raises SealForged."""
    try:
        return str(json.loads(payload)["head"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SealForged from None


async def _service(service: str, url: str, heads: Heads, keys: SealKeys, site: str) -> list[Account]:
    """Its sites, and those that only the stream knows."""
    async with json_connection(url) as connection:
        await connection.execute("SET transaction_timeout = 0")  # a long chain is read in one snapshot
        registered = {row["site"] for row in await connection.fetch(_SITES)}
        sites = registered | {place for name, place in heads if name == service}
        chosen = sorted(sites & {site} if site else sites)
        return [await _account(connection, service, each, heads, keys) for each in chosen]


async def _account(connection: asyncpg.Connection, service: str, site: str, heads: Heads, keys: SealKeys) -> Account:
    witnessed = heads.get((service, site), {})
    walk = Walk(service, site, keys, witnessed)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(_ENTER, site)
        left = await connection.fetchrow(_UNSEALED, site)
        await _walk(connection, site, walk, left["oldest"])
    return Account(
        service,
        site,
        sealed=walk.number,
        on_stream=max(witnessed, default=0),
        unsealed=left["unsealed"],
        oldest_unsealed=left["oldest"],
        unsealed_seconds=round(float(left["seconds"] or 0), 1),
        findings=tuple(walk.findings),
    )


async def _walk(connection: asyncpg.Connection, site: str, walk: Walk, oldest_unsealed: datetime | None) -> None:
    last = LOWEST
    while rows := await connection.fetch(_ROWS, site, last, BATCH):
        seals = await connection.fetch(_SEALS, site, last, rows[-1]["seq"])
        last = rows[-1]["seq"]
        walk.follow(rows, seals)
    walk.end(await connection.fetch(_SEALS, site, last, None), oldest_unsealed)


def as_json(verified: Verified) -> str:
    accounts = [
        asdict(each) | {"findings": [asdict(finding) | {"proof": finding.proof} for finding in each.findings]}
        for each in verified.accounts
    ]
    return json.dumps({"accounts": accounts, "uncounted": verified.uncounted}, indent=2, default=str)


def summary(accounts: Sequence[Account]) -> list[dict[str, Any]]:
    """A row for each chain, as a table shows it."""
    return [
        {
            "service": each.service,
            "site": each.site,
            "sealed": each.sealed,
            "on the stream": each.on_stream,
            "unsealed": each.unsealed,
            "unsealed for": f"{each.unsealed_seconds} s" if each.unsealed else "-",
            "verdict": "TOUCHED" if each.touched else "as sealed",
        }
        for each in accounts
    ]


def lines(verified: Verified) -> list[str]:
    """One for each finding."""
    found = [f"{each.service}  {each.site}  {finding.text}" for each in verified.accounts for finding in each.findings]
    if verified.uncounted:
        found.append(f"{verified.uncounted} messages on the stream claim to be seals; no service has signed them")
    return found
