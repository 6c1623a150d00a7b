"""Seals the audit: numbers and chains the rows of each site, signs how far it got, and announces that."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text

from stepway.audit.v1.events_pb2 import AuditSealed
from stepway_chassis import outbox
from stepway_chassis.database import Contended, Database
from stepway_chassis.errors import Refusal
from stepway_chassis.logs import log
from stepway_chassis.seals import GENESIS, Seal, SealForged, SealKeys, Signer, chain_id, chained
from stepway_chassis.times import to_proto
from stepway_chassis.transaction import Claim, Tx

ACTION = "seal"
LOOK_AROUND_SECONDS = 300.0  # what no process of ours noted, such as an operator's look at the audit, waits so long
BATCH = 1000
NOT_OURS = frozenset({"SITE_UNKNOWN", "WRONG_CELL"})  # whoever runs the site by now seals what we left there

# Taken with the entry: a statement after it sees what whoever held it before has committed.
_ALONE = Claim("SELECT pg_advisory_xact_lock(hashtextextended('seal/' || $1, 0)) FROM entered")
_UNSEALED = text(
    "SELECT id, at, actor, actor_kind, action, people, purpose, outcome, reason, trace_id,"
    " (SELECT head FROM audit_seal WHERE site = :site ORDER BY seq DESC LIMIT 1) AS last_head"
    " FROM audit WHERE site = :site AND seq IS NULL ORDER BY id LIMIT :batch"
)
_SEAL = outbox.announcing(
    "numbered AS (UPDATE audit SET seq = chained.seq, hash = chained.hash"
    " FROM unnest($5::uuid[], $6::bigint[], $7::bytea[]) AS chained (id, seq, hash)"
    " WHERE audit.site = $1 AND audit.id = chained.id)",
    "sealed AS (INSERT INTO audit_seal (site, seq, hash, head, sealed_at) VALUES ($1, $8, $9, $10, $11))",
)


class Sealer:
    """Every few seconds, the sites whose audit this process has written to since it was last sealed."""

    def __init__(
        self,
        written: Database,
        keeper: Database,
        signer: Signer,
        keys: Callable[[], SealKeys],
        now: Callable[[], datetime],
        *,
        seconds: float,
        served: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        """`written` knows which sites were written to; `keeper` may number rows; `keys` and `served` sites are those of
        the moment.
        """
        self._unsealed = written.unsealed
        self._left: set[str] = set()  # sites that were not ours when they were to be sealed, and may come back
        self._served = served
        self._keeper = keeper
        self._signer = signer
        self._keys = keys
        self._now = now
        self._seconds = seconds
        self._told_to_stop = asyncio.Event()

    def look_at(self, site: str) -> None:
        """Have the next round seal what another process may have left unsealed."""
        self._unsealed.add(site)

    def stop(self) -> None:
        self._told_to_stop.set()

    async def run(self) -> None:
        """Seal until stopped, and once more after that."""
        looked_at = time.monotonic()
        while not self._told_to_stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told_to_stop.wait(), self._seconds)
            if time.monotonic() - looked_at > LOOK_AROUND_SECONDS:
                looked_at = time.monotonic()
                self._unsealed.update(self._served())
            await self._round()

    async def _round(self) -> None:
        back = self._left.intersection(self._served())
        self._left -= back
        self._unsealed |= back
        for site in sorted(self._unsealed):
            self._unsealed.discard(site)  # before it is sealed: what is written meanwhile is noted again
            if not await self._sealed(site):
                self._unsealed.add(site)

    async def _sealed(self, site: str) -> bool:
        """False: it has to be tried again."""
        try:
            await self.seal(site)
        except Refusal as refusal:
            log.warning("audit.unsealed", site=site, reason=refusal.reason)
            if refusal.reason not in NOT_OURS:
                return False
            self._left.add(site)
        except Contended:
            return False
        except Exception:
            log.error("audit.unsealed", site=site, exc_info=True)
            return False
        return True

    async def seal(self, site: str) -> None:
        """All that was committed at this site before.

        Raises SealForged: the seal that it would go on from is none of ours.
        """
        while not await self._seal_batch(site):
            pass

    async def _seal_batch(self, site: str) -> bool:
        async with self._keeper.transaction(site, ACTION, claim=_ALONE) as tx:
            sealed_at = self._now()
            rows = (await tx.execute(_UNSEALED, {"site": site, "batch": BATCH})).mappings().all()
            if rows:
                seq, hash = self._opened(tx, rows[0]["last_head"])
                hashes = _hashes(hash, site, seq, rows)
                complete = len(rows) < BATCH
                seal = Seal(tx.service, site, seq + len(rows), hashes[-1], sealed_at, complete)
                await self._seal_rows(tx, [row["id"] for row in rows], hashes, seal)
        return len(rows) < BATCH

    def _opened(self, tx: Tx, head: str | None) -> tuple[int, bytes]:
        """Where the chain goes on: what the last seal says under its signature, whatever stands beside it."""
        if head is None:
            return 0, GENESIS
        last = self._keys().opened(head)
        if (last.service, last.site) != (tx.service, tx.site.name):
            raise SealForged
        return last.seq, last.hash

    async def _seal_rows(self, tx: Tx, ids: list[UUID], hashes: list[bytes], seal: Seal) -> None:
        """Number and chain them, seal how far that got, and announce it."""
        head, seqs = self._signer.signed(seal), range(seal.seq - len(ids) + 1, seal.seq + 1)
        id, at = str(chain_id(seal.service, seal.site)), to_proto(seal.sealed_at)
        sealed = AuditSealed(audit_chain_id=id, seq=seal.seq, sealed_at=at, head=head)
        outbox.append(tx, sealed, label="general")
        last = seal.seq, seal.hash, head, seal.sealed_at
        await outbox.announce(tx, ids, seqs, hashes, *last, statement=_SEAL)


def _hashes(before: bytes, site: str, seq: int, rows: Sequence[Mapping[Any, Any]]) -> list[bytes]:
    hashes = [before]
    for number, row in enumerate(rows, start=seq + 1):
        hashes.append(chained(hashes[-1], site, number, row))
    return hashes[1:]
