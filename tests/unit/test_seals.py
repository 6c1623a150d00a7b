"""What a seal says and who has said it; and what gives away that a sealed audit was touched."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from joserfc import jws, jwt
from joserfc.jwk import OKPKey

from stepway_chassis.errors import Unauthenticated
from stepway_chassis.identity import Verifier
from stepway_chassis.seals import GENESIS, TYPE, Seal, SealForged, SealKeys, Signer, chain_id, chained
from stepway_cli.tampering import Finding, Kind, Walk
from stepway_cli.tokens import AUDIENCE, ISSUER, KeyFolder, mint, read_key

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
LEDGER, HARBOUR = "ledger", "harbour"
Row = dict[str, Any]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyFolder:
    folder = KeyFolder(tmp_path_factory.mktemp("keys"))
    folder.create((LEDGER, "care"))
    return folder


def known(keys: KeyFolder) -> SealKeys:
    return SealKeys(keys.jwks_file.read_text())


def signed(keys: KeyFolder, seal: Seal, by: str = LEDGER) -> str:
    return Signer(keys.service_key_file(by)).signed(seal)


def a_seal(**changes: Any) -> Seal:
    return replace(Seal(LEDGER, HARBOUR, 3, bytes(range(32)), NOON, complete=True), **changes)


def a_row(number: int, **changes: Any) -> Row:
    row = {
        "id": UUID(int=number),
        "at": NOON + timedelta(seconds=number),
        "actor": "staff-7",
        "actor_kind": "staff",
        "action": "stepway.ledger.v1.LedgerService/Note",
        "people": [UUID(int=7)],
        "purpose": "TREAT",
        "outcome": "DONE",
        "reason": "",
        "trace_id": "0" * 32,
    }
    return {**row, **changes}


@dataclass
class Chain:
    """Rows and seals as the database has them, and what the stream says of them."""

    keys: KeyFolder
    rows: list[Row]
    seals: list[Row]
    heads: dict[int, set[bytes]]

    def renumber(self) -> None:
        for number, row in enumerate(self.rows, start=1):
            row["seq"] = number

    def recompute(self) -> None:
        """As somebody does who can write the database, and cannot sign."""
        before = GENESIS
        for row in self.rows:
            before = row["hash"] = chained(before, HARBOUR, row["seq"], row)

    def findings(self, *, batch: int = 1000, oldest_unsealed: datetime | None = None) -> list[Finding]:
        walk, left, last = Walk(LEDGER, HARBOUR, known(self.keys), self.heads), list(self.seals), 0
        for start in range(0, len(self.rows), batch):
            rows = self.rows[start : start + batch]
            last = rows[-1]["seq"]
            walk.follow(rows, [seal for seal in left if seal["seq"] <= last])
            left = [seal for seal in left if seal["seq"] > last]
        walk.end(left, oldest_unsealed)
        return walk.findings

    def found(self, **options: Any) -> list[tuple[Kind, int, int]]:
        return [(each.kind, each.first, each.last) for each in self.findings(**options)]


@pytest.fixture
def chain(keys: KeyFolder) -> Chain:
    """Twelve rows, a second apart, and a seal after every fourth."""
    made = Chain(keys, [a_row(number) for number in range(1, 13)], [], {})
    made.renumber()
    made.recompute()
    seal(made, 4, 8, 12)
    return made


def seal(chain: Chain, *numbers: int, at: timedelta = timedelta(0)) -> None:
    for number in numbers:
        row = chain.rows[number - 1]
        said = a_seal(seq=number, hash=row["hash"], sealed_at=row["at"] + at)
        parts = {"seq": number, "hash": said.hash, "sealed_at": said.sealed_at}
        chain.seals.append({**parts, "head": signed(chain.keys, said)})
        chain.heads[number] = {said.hash}


def test_a_seal_is_opened_as_it_was_signed(keys: KeyFolder) -> None:
    for said in (a_seal(), a_seal(complete=False, sealed_at=NOON + timedelta(microseconds=1))):
        assert known(keys).opened(signed(keys, said)) == said


def test_a_seal_that_another_service_has_signed_is_forged(keys: KeyFolder) -> None:
    with pytest.raises(SealForged):
        known(keys).opened(signed(keys, a_seal(), by="care"))


def test_a_seal_of_an_unknown_key_or_with_a_changed_letter_is_forged(keys: KeyFolder, tmp_path: Path) -> None:
    strangers = KeyFolder(tmp_path / "strangers")
    strangers.create((LEDGER,))
    head = signed(keys, a_seal())
    for forged in (signed(strangers, a_seal()), head[:-4] + "AAAA", f"{head}.x", head.rsplit(".", 1)[0] + ".", "", "x"):
        with pytest.raises(SealForged):
            known(keys).opened(forged)


def test_what_a_service_has_signed_for_another_end_is_no_seal(keys: KeyFolder) -> None:
    key, claims = read_key(keys.service_key_file(LEDGER)), signed(keys, a_seal()).split(".")[1]
    header = {"alg": "Ed25519", "kid": key.kid, "typ": "JWT"}
    for payload in (b"{}", b"[]", b"no json", claims.encode()):
        with pytest.raises(SealForged):
            known(keys).opened(jws.serialize_compact(header, payload, key, algorithms=["Ed25519"]))


def test_a_retired_key_opens_the_seals_that_it_has_signed_and_no_token(keys: KeyFolder, tmp_path: Path) -> None:
    rotated = KeyFolder(tmp_path)
    rotated.create((LEDGER,))
    old_key = read_key(keys.service_key_file(LEDGER))
    old = old_key.as_dict(private=False) | {"stepway_retired": True}
    new = read_key(rotated.service_key_file(LEDGER)).as_dict(private=False) | {"kid": "ledger-2"}
    both = tmp_path / "both.json"
    both.write_text(json.dumps({"keys": [old, new]}))
    assert SealKeys(both.read_text()).opened(signed(keys, a_seal())) == a_seal()
    with pytest.raises(Unauthenticated):
        Verifier(both, issuer=ISSUER, audience=AUDIENCE).caller(f"Bearer {_token(old_key, None)}", NOON)


def _token(key: OKPKey, typ: str | None) -> str:
    good = mint(key, LEDGER, grants={}, now=NOON, lifetime=timedelta(minutes=5))
    claims = dict(jwt.decode(good, key, algorithms=["Ed25519"]).claims) | {"kind": "service"}
    header = {"alg": "Ed25519", "kid": key.kid} | ({} if typ is None else {"typ": typ})
    return jwt.encode(header, claims, key, algorithms=["Ed25519"])


def test_a_seal_is_no_token(keys: KeyFolder) -> None:
    verifier = Verifier(keys.jwks_file, issuer=ISSUER, audience=AUDIENCE)
    key = read_key(keys.service_key_file(LEDGER))
    for kind in (None, "JWT", "at+jwt"):
        assert verifier.caller(f"Bearer {_token(key, kind)}", NOON).subject == LEDGER
    for no_token in (signed(keys, a_seal()), _token(key, TYPE), _token(key, "secevent+jwt")):
        with pytest.raises(Unauthenticated) as refused:
            verifier.caller(f"Bearer {no_token}", NOON)
        assert refused.value.reason == "TOKEN_UNTRUSTED"


def test_each_service_and_site_has_a_chain_of_its_own() -> None:
    ids = {chain_id(service, site) for service in ("intake", "care") for site in ("a", "b")}
    assert len(ids) == 4
    assert chain_id("intake", "a") in ids


@pytest.mark.parametrize(
    ("changes", "site", "seq", "before"),
    [
        *(({name: "other"}, HARBOUR, 1, GENESIS) for name in a_row(1) if name not in ("at", "people")),
        ({"at": NOON + timedelta(microseconds=1)}, HARBOUR, 1, GENESIS),
        ({"people": []}, HARBOUR, 1, GENESIS),
        ({"people": [UUID(int=7), UUID(int=8)]}, HARBOUR, 1, GENESIS),
        ({}, "meadow", 1, GENESIS),
        ({}, HARBOUR, 2, GENESIS),
        ({}, HARBOUR, 1, bytes([1] * 32)),
    ],
)
def test_a_hash_is_over_each_column_the_site_the_number_and_the_row_before(
    changes: Row, site: str, seq: int, before: bytes
) -> None:
    assert chained(before, site, seq, a_row(1, **changes)) != chained(GENESIS, HARBOUR, 1, a_row(1))


def test_a_hash_does_not_depend_on_the_zone_that_a_time_is_shown_in() -> None:
    elsewhere = NOON.astimezone(datetime.fromisoformat("2026-01-01T00:00:00+05:30").tzinfo)
    assert chained(GENESIS, HARBOUR, 1, a_row(1, at=elsewhere)) == chained(GENESIS, HARBOUR, 1, a_row(1, at=NOON))


@pytest.mark.parametrize("batch", [1, 3, 4, 5, 1000])
def test_an_untouched_chain_has_no_finding_however_it_is_read(chain: Chain, batch: int) -> None:
    assert chain.found(batch=batch) == []


@pytest.mark.parametrize("seq", range(1, 13))
@pytest.mark.parametrize("batch", [1, 5])
def test_an_edited_row_is_named_alone(chain: Chain, seq: int, batch: int) -> None:
    chain.rows[seq - 1]["actor"] = "somebody-else"
    assert chain.found(batch=batch) == [(Kind.EDITED_ROW, seq, seq)]


@pytest.mark.parametrize("seq", range(1, 13))
def test_a_row_whose_hash_alone_was_changed_is_named_alone(chain: Chain, seq: int) -> None:
    chain.rows[seq - 1]["hash"] = bytes(32)
    assert chain.found() == [(Kind.EDITED_ROW, seq, seq)]


@pytest.mark.parametrize("seq", range(1, 12))
@pytest.mark.parametrize("batch", [1, 5])
def test_a_missing_row_is_named(chain: Chain, seq: int, batch: int) -> None:
    del chain.rows[seq - 1]
    assert chain.found(batch=batch) == [(Kind.MISSING_ROW, seq, seq)]


@pytest.mark.parametrize("seq", range(1, 13))
@pytest.mark.parametrize("batch", [1, 5])
def test_an_inserted_row_is_named_though_those_behind_it_made_room(chain: Chain, seq: int, batch: int) -> None:
    chain.rows.insert(seq - 1, a_row(seq, actor="somebody-else", hash=bytes(32)))
    chain.renumber()
    assert chain.found(batch=batch) == [(Kind.INSERTED_ROW, seq, seq)]


def test_two_rows_with_one_number_are_one_too_many(chain: Chain) -> None:
    chain.rows.insert(5, {**chain.rows[4], "actor": "somebody-else"})
    assert chain.found() == [(Kind.INSERTED_ROW, 5, 5)]


@pytest.mark.parametrize("seq", range(1, 13))
def test_a_chain_that_was_recomputed_does_not_match_the_first_seal_behind_it(chain: Chain, seq: int) -> None:
    chain.rows[seq - 1]["actor"] = "somebody-else"
    chain.recompute()
    sealed = -(-seq // 4) * 4
    assert [(each.kind, each.first, each.witness) for each in chain.findings()] == [
        (Kind.RECOMPUTED_CHAIN, sealed, "the stream"),
        (Kind.RECOMPUTED_CHAIN, sealed, "a seal"),
    ]


def test_what_is_added_after_a_recomputed_chain_is_not_blamed(chain: Chain) -> None:
    signed_by_then = chain.rows[11]["hash"]
    chain.rows[10]["actor"] = "somebody-else"
    chain.recompute()
    chain.rows.append(a_row(13, seq=13))
    chain.rows[12]["hash"] = chained(signed_by_then, HARBOUR, 13, chain.rows[12])
    seal(chain, 13)
    assert {each for each, *_ in chain.found()} == {Kind.RECOMPUTED_CHAIN}


def test_seals_that_nobody_has_signed_are_forged_and_the_stream_knows_better(chain: Chain) -> None:
    chain.rows[5]["actor"] = "somebody-else"
    chain.recompute()
    for each in chain.seals[1:]:
        each["hash"] = chain.rows[each["seq"] - 1]["hash"]
    assert chain.found() == [
        (Kind.RECOMPUTED_CHAIN, 8, 8),
        (Kind.FORGED_SEAL, 8, 8),
        (Kind.FORGED_SEAL, 12, 12),
    ]


def test_a_seal_of_another_site_or_number_is_forged(chain: Chain) -> None:
    chain.seals[1]["head"] = signed(chain.keys, a_seal(site="meadow", seq=8, hash=chain.rows[7]["hash"]))
    chain.seals[2]["head"] = chain.seals[0]["head"]
    assert chain.found() == [(Kind.FORGED_SEAL, 8, 8), (Kind.FORGED_SEAL, 12, 12)]


def test_rows_that_lost_their_seals_are_unsigned(chain: Chain) -> None:
    del chain.seals[1:]
    assert chain.found() == [(Kind.UNSIGNED_ROW, 5, 12)]


@pytest.mark.parametrize(("seals", "witness"), [(3, "the stream"), (2, "the stream")])
def test_a_tail_that_was_cut_is_missed(chain: Chain, seals: int, witness: str) -> None:
    del chain.rows[8:], chain.seals[seals:]
    assert [(each.kind, each.first, each.last, each.witness) for each in chain.findings()] == [
        (Kind.CUT_TAIL, 9, 12, witness)
    ]


def test_a_seal_alone_tells_of_a_tail_that_was_cut(chain: Chain) -> None:
    del chain.rows[8:]
    chain.heads.clear()
    assert [(each.first, each.last, each.witness) for each in chain.findings()] == [(9, 12, "a seal")]


def test_a_chain_that_is_gone_altogether_is_missed_by_the_stream(chain: Chain) -> None:
    chain.rows.clear()
    chain.seals.clear()
    assert chain.found() == [(Kind.CUT_TAIL, 1, 12)]


def test_rows_that_were_sealed_again_after_the_tail_was_cut_are_not_those_that_the_stream_knows(chain: Chain) -> None:
    for number in range(9, 13):
        chain.rows[number - 1]["actor"] = "somebody-else"
    chain.recompute()
    heads = {number: set(hashes) for number, hashes in chain.heads.items()}
    del chain.seals[2:]
    seal(chain, 12)
    chain.heads[12] |= heads[12]
    assert chain.found() == [(Kind.RECOMPUTED_CHAIN, 12, 12)]


def after(chain: Chain, rows: Iterable[Row], *, sealed_after: timedelta) -> None:
    """More rows behind the chain, sealed together."""
    for row in rows:
        number = len(chain.rows) + 1
        chain.rows.append({**row, "seq": number, "hash": chained(chain.rows[-1]["hash"], HARBOUR, number, row)})
    seal(chain, len(chain.rows), at=sealed_after)


def test_a_row_older_than_a_seal_that_would_have_covered_it_was_slipped_in(chain: Chain) -> None:
    hours = timedelta(hours=3)
    after(chain, [a_row(13, at=NOON + hours)], sealed_after=timedelta(0))
    after(chain, [a_row(14, at=NOON + timedelta(hours=1)), a_row(15, at=NOON + hours)], sealed_after=timedelta(0))
    assert chain.found() == [(Kind.BACKDATED_ROW, 14, 14)]


def test_an_unsealed_row_older_than_the_last_seal_was_slipped_in(chain: Chain) -> None:
    last = chain.rows[-1]["at"]
    assert chain.found(oldest_unsealed=last - timedelta(minutes=3)) == [(Kind.BACKDATED_ROW, 0, 0)]
    assert chain.findings(oldest_unsealed=last - timedelta(minutes=3))[0].text.startswith(
        "BACKDATED_ROW  unsealed row:"
    )


def test_a_row_of_a_transaction_that_was_open_when_others_were_sealed_is_fine(chain: Chain) -> None:
    last = chain.rows[-1]["at"]
    assert chain.found(oldest_unsealed=last - timedelta(seconds=90)) == []
    after(chain, [a_row(13, at=last - timedelta(seconds=90))], sealed_after=timedelta(seconds=95))
    assert chain.found() == []


def test_a_seal_that_left_rows_for_the_next_is_no_witness_against_them(chain: Chain) -> None:
    last = chain.rows[-1]["at"]
    for each in chain.seals:
        said = a_seal(seq=each["seq"], hash=each["hash"], sealed_at=each["sealed_at"], complete=False)
        each["head"] = signed(chain.keys, said)
    assert chain.found(oldest_unsealed=last - timedelta(hours=3)) == []


def test_a_seal_that_came_late_is_worth_a_look_and_proves_nothing(chain: Chain) -> None:
    after(chain, [a_row(13, at=NOON + timedelta(hours=1))], sealed_after=timedelta(hours=2))
    (finding,) = chain.findings()
    assert (finding.kind, finding.first, finding.proof) == (Kind.SEALED_LATE, 13, False)
    assert "2:00:00" in finding.text


def test_a_finding_is_one_line_that_names_what_and_where(chain: Chain) -> None:
    chain.rows[2]["actor"] = chain.rows[3]["actor"] = "Zephyrine"
    (finding,) = chain.findings()
    assert finding.text.startswith("EDITED_ROW  row 3 to 4: ")
    assert "\n" not in finding.text
    assert "Zephyrine" not in finding.text
