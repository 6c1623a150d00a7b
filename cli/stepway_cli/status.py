"""`stepway status`: what every part of the platform says of itself, site by site, and what of it is not well."""

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import asyncpg
import nats.errors
from sqlalchemy.exc import DBAPIError

from stepway_chassis import republishing
from stepway_chassis.errors import NotFound, Refusal
from stepway_cli import letters, scrape, sites
from stepway_cli.lags import Lags
from stepway_cli.lags import lags as lags_of
from stepway_cli.local.health import serves
from stepway_cli.place import Place
from stepway_cli.services import SERVICES
from stepway_cli.stream import Admin

LATE_SECONDS = 60.0  # an outbox that is older than this is not well
FLAGS = "stepway_risk_flags_open"
SILENT = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, DBAPIError, Refusal, nats.errors.Error)
T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """A service, or the stream: whether it is well, and what it says."""

    name: str
    well: bool
    says: str


@dataclass(frozen=True)
class Row:
    """One service at one site. `lag` counts the events that it has not acknowledged.

    None where nobody knows; as a lag also where the service does not listen.
    """

    site: str
    service: str
    cell: str
    state: str
    epoch: int
    lag: int | None
    unpublished: int
    oldest_seconds: float
    blocked: int
    dead_letters: int | None
    open_risk_flags: int | None = None

    @property
    def faults(self) -> Iterator[str]:
        """The fields that are not well; an open sign of danger is the clinic's work, and no fault."""
        if self.state != "active":
            yield "state"
        if self.lag is None:
            yield "lag"
        yield from (name for name in ("blocked", "dead_letters") if getattr(self, name))
        if self.oldest_seconds > LATE_SECONDS:
            yield "oldest_seconds"

    @property
    def tells(self) -> bool:
        """Whether there is more to say than that it is there, and be it that something is not known."""
        busy = (self.lag, self.unpublished, self.open_risk_flags, self.cell != "shared")
        unknown = self.dead_letters is None or (self.service == "intake" and self.open_risk_flags is None)
        return unknown or any(busy) or any(self.faults)


@dataclass(frozen=True)
class Status:
    parts: Sequence[Part]
    rows: Sequence[Row]

    @property
    def well(self) -> bool:
        return all(part.well for part in self.parts) and not any(any(row.faults) for row in self.rows)


@dataclass(frozen=True)
class _Database:
    """What a service's own database knows: its sites, and by site its outbox and its dead letters."""

    sites: Sequence[Mapping[str, Any]]
    outbox: Mapping[str, Mapping[str, Any]]
    letters: Mapping[str, int]


async def look(where: Place, *, site: str = "") -> Status:
    """Ask all parts at once, about one site or all. Who does not answer is named, and the rest is there.

    Raises NotFound (SITE_UNKNOWN) where no service knows the site, and some service was heard.
    """
    known, lags, flags, serving = await asyncio.gather(
        _databases(where), _answer(_lags(where)), _flags(where), _serving(where)
    )
    parts = [_service(name, where.addresses().get(name, ""), serving, known) for name in _processes(known, serving)]
    rows = [
        _row(service, registered, found, lags, flags)
        for service, found in known.items()
        if found
        for registered in found.sites
        if site in ("", registered["site"])
    ]
    if site and not rows and any(known.values()):
        raise NotFound("SITE_UNKNOWN", "There is no such site.")
    order = {service: place for place, service in enumerate(SERVICES)}
    return Status([*parts, _stream(lags)], sorted(rows, key=lambda row: (row.site, order[row.service])))


async def _answer(asked: Awaitable[T]) -> T | None:
    try:
        return await asked
    except SILENT:
        return None


async def _databases(where: Place) -> dict[str, _Database | None]:
    answers = await asyncio.gather(*(_answer(_database(where, service)) for service in SERVICES))
    return dict(zip(SERVICES, answers, strict=True))


async def _database(where: Place, service: str) -> _Database:
    registered = await sites.listed(where.database_url(service, "registrar"))
    waiting = await republishing.waiting(where.database_url(service, "relay"))
    cells = {row["site"]: row["cell"] for row in registered}
    letters_ = await letters.waiting(where.database_url(service, "keeper"), service, cells)
    return _Database(registered, {str(row["site"]): row for row in waiting}, letters_)


async def _lags(where: Place) -> Lags:
    return await lags_of(Admin(*where.nats_admin()))


async def _serving(where: Place) -> dict[str, bool]:
    """Whether each service, and each cell of one such as "intake@west", says SERVING."""
    addresses = where.addresses()
    answers = await asyncio.gather(*(asyncio.to_thread(serves, address) for address in addresses.values()))
    return dict(zip(addresses, answers, strict=True))


def _processes(known: Mapping[str, _Database | None], serving: Mapping[str, bool]) -> list[str]:
    """Every service, and beside it the cells that run a site, or are ready to."""
    registered = {f"{name}@{row['cell']}" for name, found in known.items() if found for row in found.sites}
    ready = {name for name, yes in serving.items() if yes and "@" in name}
    cells = {name for name in registered if not name.endswith("@shared")} | ready
    return [name for service in SERVICES for name in (service, *sorted(cells)) if name.partition("@")[0] == service]


async def _flags(where: Place) -> dict[str, int]:
    """Open signs of danger by site, as each cell of intake counts them: an operator has no right to its tables."""
    pages = [address for name, address in where.metrics().items() if name.partition("@")[0] == "intake"]
    texts = await asyncio.gather(*(_answer(asyncio.to_thread(scrape.page, address)) for address in pages))
    return {site: int(count) for text in texts for site, count in scrape.by_site(text or "", FLAGS).items()}


def _row(service: str, site: Mapping[str, Any], found: _Database, lags: Lags | None, flags: Mapping[str, int]) -> Row:
    name = site["site"]
    waiting = found.outbox.get(name, {})
    return Row(
        site=name,
        service=service,
        cell=site["cell"],
        state=site["state"],
        epoch=site["epoch"],
        lag=lags.of(service, name) if lags else None,
        unpublished=waiting.get("unpublished", 0),
        oldest_seconds=round(_age(waiting.get("oldest")), 1),
        blocked=waiting.get("blocked", 0),
        dead_letters=found.letters.get(name),
        open_risk_flags=flags.get(name) if service == "intake" else None,
    )


def _age(oldest: datetime | None) -> float:
    return (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0


def _service(name: str, address: str, serving: Mapping[str, bool], known: Mapping[str, _Database | None]) -> Part:
    is_serving, database = serving.get(name, False), known[name.partition("@")[0]]
    says = f"{'serving' if is_serving else 'NOT SERVING'} at {address or 'no known address'}"
    return Part(
        name, is_serving and database is not None, says if database else f"{says}; its database does not answer"
    )


def _stream(lags: Lags | None) -> Part:
    if lags is None:
        return Part("NATS", False, "does not answer, or has no stream")
    return Part("NATS", True, f"{lags.events} events on the stream, {lags.durables} durables")
