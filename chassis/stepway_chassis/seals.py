"""What a seal over an audit is: how rows are chained by their hashes, and how the head of a chain is signed."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

from stepway_chassis.identity import ALGORITHM, SERVICE_MEMBER
from stepway_chassis.watched import Watched

TYPE = "stepway-seal+jws"
GENESIS = bytes(32)  # what the first row is chained to
CONTENT = ("id", "at", "actor", "actor_kind", "action", "people", "purpose", "outcome", "reason", "trace_id")


class SealForged(Exception):
    """No key of the service that it speaks of has signed this seal."""


@dataclass(frozen=True)
class Seal:
    """The chain of `service` at `site` has `hash` at row `seq`.

    `complete`: every row that was committed before `sealed_at` is under this seal or an earlier one.
    """

    service: str
    site: str
    seq: int
    hash: bytes
    sealed_at: datetime
    complete: bool


def chain_id(service: str, site: str) -> UUID:
    return uuid5(NAMESPACE_URL, f"stepway:audit/{service}/{site}")


def chained(before: bytes, site: str, seq: int, row: Mapping[Any, Any]) -> bytes:
    """The hash of row number `seq`, whose predecessor has the hash `before`: over each of its columns."""
    content = {"site": site, "seq": seq} | {name: _plain(row[name]) for name in CONTENT}
    return sha256(before + json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).digest()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return [str(each) for each in value] if isinstance(value, list) else str(value)


class Signer:
    """Signs with the service's own key, which no database host has, and with the next one as soon as that is there."""

    def __init__(self, key_file: Path) -> None:
        self._key = Watched(key_file, lambda text: OKPKey.import_key(json.loads(text)))

    def signed(self, seal: Seal) -> str:
        claims = asdict(seal) | {"hash": seal.hash.hex(), "sealed_at": _plain(seal.sealed_at)}
        key = self._key.now()
        header = {"alg": ALGORITHM, "kid": key.kid, "typ": TYPE}
        return jws.serialize_compact(header, json.dumps(claims), key, algorithms=[ALGORITHM])


class SealKeys:
    """The public keys of the services, those that were retired too: a seal is believed for ever."""

    def __init__(self, jwks: str) -> None:
        document = json.loads(jwks)
        self._keys = KeySet.import_key_set(document)
        self._service_of = {key["kid"]: key.get(SERVICE_MEMBER) for key in document["keys"]}

    def opened(self, head: str) -> Seal:
        """What was signed. Raises SealForged."""
        try:
            found = jws.deserialize_compact(head, self._keys, algorithms=[ALGORITHM])
            header = found.headers()
            seal = _read(json.loads(found.payload))
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            raise SealForged from None
        if header.get("typ") != TYPE or self._service_of.get(header.get("kid", "")) != seal.service:
            raise SealForged
        return seal


def _read(claims: dict[str, Any]) -> Seal:
    at, hash = datetime.fromisoformat(claims["sealed_at"]), bytes.fromhex(claims["hash"])
    return Seal(**{**claims, "seq": int(claims["seq"]), "sealed_at": at, "hash": hash})
