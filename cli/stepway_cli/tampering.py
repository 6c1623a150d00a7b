"""What gives away that a sealed audit was touched: its rows against their chain, its chain against what was signed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from stepway_chassis.seals import GENESIS, Seal, SealForged, SealKeys, chained

GRACE = timedelta(minutes=2)  # a transaction lasts 30 seconds at most; the rest is for clocks that differ
LATE = timedelta(minutes=5)


class Kind(StrEnum):
    EDITED_ROW = "EDITED_ROW"
    MISSING_ROW = "MISSING_ROW"
    INSERTED_ROW = "INSERTED_ROW"
    BACKDATED_ROW = "BACKDATED_ROW"
    UNSIGNED_ROW = "UNSIGNED_ROW"
    RECOMPUTED_CHAIN = "RECOMPUTED_CHAIN"
    FORGED_SEAL = "FORGED_SEAL"
    CUT_TAIL = "CUT_TAIL"
    SEALED_LATE = "SEALED_LATE"


_SAYS = {
    Kind.EDITED_ROW: "what it says, or its hash, is not what was sealed",
    Kind.MISSING_ROW: "was sealed and is gone",
    Kind.INSERTED_ROW: "the rows around it were chained without it",
    Kind.BACKDATED_ROW: "claims a time before a seal that would have covered it",
    Kind.UNSIGNED_ROW: "has a number that no seal covers",
    Kind.RECOMPUTED_CHAIN: "another chain was signed up to here, says",
    Kind.FORGED_SEAL: "its service has not signed this seal",
    Kind.CUT_TAIL: "was sealed and is gone with all that followed, says",
    Kind.SEALED_LATE: "its seal covers what was slipped in, unless the service was down: it came late by",
}


@dataclass(frozen=True)
class Finding:
    """About the rows `first` to `last`; a backdated row 0 has no number yet."""

    kind: Kind
    first: int
    last: int
    witness: str = ""

    @property
    def proof(self) -> bool:
        """Of tampering; the rest is for somebody to look at."""
        return self.kind is not Kind.SEALED_LATE

    @property
    def text(self) -> str:
        unsealed = self.kind is Kind.BACKDATED_ROW and not self.first
        rows = "unsealed row" if unsealed else f"row {self.first}"
        rows += f" to {self.last}" if self.last != self.first else ""
        return f"{self.kind}  {rows}: {_SAYS[self.kind]} {self.witness}".strip()


@dataclass
class Walk:
    """Along the chain of one service at one site, row by row; `witnessed` is what the stream says of it, by row."""

    service: str
    site: str
    keys: SealKeys
    witnessed: Mapping[int, set[bytes]]
    findings: list[Finding] = field(default_factory=list)
    number: int = 0  # of the last row
    covered: int = 0  # by seals, up to this row
    complete_at: datetime | None = None  # all that was committed before is under the seals so far
    _before: set[bytes] = field(default_factory=lambda: {GENESIS})  # what that row's hash may be; empty: unknown
    _held: Mapping[Any, Any] | None = None  # the row to be looked at when the one behind it is known
    _displaced: int = 0  # by rows that were inserted
    _seals: dict[int, Mapping[Any, Any]] = field(default_factory=dict)
    _unsealed_since: datetime | None = None

    def follow(self, rows: Iterable[Mapping[Any, Any]], seals: Iterable[Mapping[Any, Any]]) -> None:
        """The next rows by number, and the seals up to the last of them."""
        self._seals |= {seal["seq"]: seal for seal in seals}
        for row in rows:
            self._step(row)

    def end(self, seals: Iterable[Mapping[Any, Any]], oldest_unsealed: datetime | None) -> None:
        """There are no more rows with a number; these seals are left over."""
        self._step(None)
        sealed = max({*self._seals, *(seal["seq"] for seal in seals)}, default=0)
        told = max(self.witnessed, default=0)
        if (furthest := max(sealed, told)) > self.number:
            witness = "the stream" if told == furthest else "a seal"
            self.findings.append(Finding(Kind.CUT_TAIL, self.number + 1, furthest, witness))
        if max(self.covered, sealed) < self.number:
            self.findings.append(Finding(Kind.UNSIGNED_ROW, self.covered + 1, self.number))
        if oldest_unsealed is not None and self._too_old(oldest_unsealed):
            self._find(Kind.BACKDATED_ROW, 0)

    def _step(self, following: Mapping[Any, Any] | None) -> None:
        row, self._held = self._held, following
        if row is None:
            return
        number = row["seq"] - self._displaced
        if number <= self.number:
            self._find(Kind.INSERTED_ROW, row["seq"])
        elif self._is_inserted(row, following, number):
            self._find(Kind.INSERTED_ROW, row["seq"])
            self._displaced += 1
        else:
            self._gone_on(row, number)

    def _is_inserted(self, row: Mapping[Any, Any], following: Mapping[Any, Any] | None, number: int) -> bool:
        """Whether the chain goes on behind this row as if it were not there."""
        if following is None or number != self.number + 1:
            return False
        return not self._fits(row, number) and self._fits(following, number)

    def _gone_on(self, row: Mapping[Any, Any], number: int) -> None:
        if number > self.number + 1:
            self.findings.append(Finding(Kind.MISSING_ROW, self.number + 1, number - 1))
            self._before = set()
        if self._before and not self._fits(row, number):
            self._find(Kind.EDITED_ROW, row["seq"])
            self._before = {_hash(row), *self._right(row, number)}
        else:
            self._before = {_hash(row)}
        self.number = number
        self._dated(row)
        self._signed()

    def _fits(self, row: Mapping[Any, Any], number: int) -> bool:
        return _hash(row) in self._right(row, number)

    def _right(self, row: Mapping[Any, Any], number: int) -> set[bytes]:
        """What the hash of this row should be, for all that is known of the row before."""
        return {chained(before, self.site, number, row) for before in self._before}

    def _dated(self, row: Mapping[Any, Any]) -> None:
        if self._too_old(row["at"]):
            self._find(Kind.BACKDATED_ROW, row["seq"])
        elif self._unsealed_since is None or row["at"] < self._unsealed_since:
            self._unsealed_since = row["at"]

    def _too_old(self, at: datetime) -> bool:
        return self.complete_at is not None and at + GRACE < self.complete_at

    def _signed(self) -> None:
        """Compare this row's hash with what was signed of it."""
        if not self.witnessed.get(self.number, set()) <= self._before:
            self._recomputed("the stream")
        if stored := self._seals.pop(self.number, None):
            self.covered = self.number
            self._sealed(stored)

    def _sealed(self, stored: Mapping[Any, Any]) -> None:
        seal = self._opened(stored)
        if seal is None:
            self._find(Kind.FORGED_SEAL, self.number)
            return
        if seal.hash not in self._before:
            self._recomputed("a seal")
            self._before.add(seal.hash)  # the sealer has gone on from here
        self._in_time(seal)
        if seal.complete:
            self.complete_at = seal.sealed_at

    def _recomputed(self, witness: str) -> None:
        """From here on; the first is enough."""
        if not any((each.kind, each.witness) == (Kind.RECOMPUTED_CHAIN, witness) for each in self.findings):
            self._find(Kind.RECOMPUTED_CHAIN, self.number, witness)

    def _opened(self, stored: Mapping[Any, Any]) -> Seal | None:
        """The seal, if its service has signed just this."""
        try:
            seal = self.keys.opened(stored["head"])
        except SealForged:
            return None
        said = (seal.service, seal.site, seal.seq, seal.hash, seal.sealed_at)
        return seal if said == (self.service, self.site, self.number, stored["hash"], stored["sealed_at"]) else None

    def _in_time(self, seal: Seal) -> None:
        late = seal.sealed_at - (self._unsealed_since or seal.sealed_at)
        self._unsealed_since = None
        if late > LATE:
            self._find(Kind.SEALED_LATE, self.number, f"{timedelta(seconds=int(late.total_seconds()))}")

    def _find(self, kind: Kind, seq: int, witness: str = "") -> None:
        """One finding for a run of rows."""
        last = self.findings[-1] if self.findings else None
        if last and (last.kind, last.last, last.witness) == (kind, seq - 1, witness):
            self.findings[-1] = replace(last, last=seq)
        else:
            self.findings.append(Finding(kind, seq, seq, witness))


def _hash(row: Mapping[Any, Any]) -> bytes:
    return bytes(row["hash"] or b"")
