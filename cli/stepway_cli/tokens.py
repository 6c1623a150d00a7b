"""The keys that sign tokens on this machine, and the tokens themselves: JSON Web Tokens signed with Ed25519."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast
from uuid import uuid4

from joserfc import jwt
from joserfc.jwk import KeyParameters, OKPKey

from stepway_chassis.identity import RETIRED_MEMBER
from stepway_cli.local.folder import write_private

ALGORITHM = "Ed25519"  # the name of RFC 9864; it retires "EdDSA", and joserfc warns about that one
PEOPLE = "people"  # whose key signs the tokens of people
ISSUER = "https://stepway.local"
AUDIENCE = "stepway"

Kind = Literal["staff", "patient", "family"]


@dataclass(frozen=True)
class KeyFolder:
    """`people.json` signs for people, `<service>.json` for that service, `jwks.json` is public.

    A key that was retired stays in it, marked as such: seals of the audit are older than any token.
    """

    path: Path

    @property
    def jwks_file(self) -> Path:
        return self.path / "jwks.json"

    @property
    def people_key_file(self) -> Path:
        return self.key_file(PEOPLE)

    def service_key_file(self, service: str) -> Path:
        return self.key_file(service)

    def key_file(self, name: str) -> Path:
        return self.path / f"{name}.json"

    def create(self, services: Sequence[str]) -> None:
        """Make the keys that are missing, keep the others, and list the public half of all."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (PEOPLE, *services):
            if not self.key_file(name).exists():
                self._write_key(name, _new_key(name, 1))
        self._believe(*(read_key(self.key_file(name)) for name in (PEOPLE, *services)))

    def people_key(self) -> OKPKey:
        return read_key(self.people_key_file)

    def rotate(self, name: str, *, believed: Callable[[], None]) -> str:
        """Sign for `name` with a new key; its id. The old one is believed until it is retired.

        `believed` returns when every service has seen the new public half: nobody signs with it before.
        """
        number = int(str(read_key(self.key_file(name)).kid).rpartition("-")[2]) + 1
        key = _new_key(name, number)
        self._believe(key)
        believed()
        self._write_key(name, key)
        return str(key.kid)

    def retire(self, name: str) -> list[str]:
        """Believe no token of any but the present key of `name`; the ids of those that were believed until now."""
        present = read_key(self.key_file(name)).kid
        keys = _listed(self.jwks_file)
        old = [key for key in keys if _is_of(name, key) and key["kid"] != present and RETIRED_MEMBER not in key]
        for key in old:
            key[RETIRED_MEMBER] = True
        _list(self.jwks_file, keys)
        return [key["kid"] for key in old]

    def _believe(self, *keys: OKPKey) -> None:
        known = {key["kid"]: key for key in _listed(self.jwks_file)}
        _list(self.jwks_file, list((known | {key.kid: key.as_dict(private=False) for key in keys}).values()))

    def _write_key(self, name: str, key: OKPKey) -> None:
        write_private(self.key_file(name), _as_json(key.as_dict(private=True)))


def read_key(file: Path) -> OKPKey:
    return OKPKey.import_key(json.loads(file.read_text()))


def mint(
    issuer_key: OKPKey,
    subject: str,
    *,
    kind: Kind = "staff",
    grants: Mapping[str, Sequence[str]],
    now: datetime,
    lifetime: timedelta,
    audience: str = AUDIENCE,
    issuer: str = ISSUER,
) -> str:
    """A signed token; `grants` are the roles per site, in lower case: {"northside": ["front_desk"]}."""
    issued = int(now.timestamp())
    claims = {
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "kind": kind,
        "grants": {site: list(roles) for site, roles in grants.items()},
        "iat": issued,
        "nbf": issued,
        "exp": int((now + lifetime).timestamp()),
        "jti": str(uuid4()),
    }
    return jwt.encode({"alg": ALGORITHM, "kid": issuer_key.kid}, claims, issuer_key, algorithms=[ALGORITHM])


def _is_of(name: str, key: Mapping[str, Any]) -> bool:
    return str(key["kid"]).rpartition("-")[0] == name


def _new_key(name: str, number: int) -> OKPKey:
    speaks_for = {} if name == PEOPLE else {"stepway_service": name}
    parameters = {"use": "sig", "alg": ALGORITHM, "kid": f"{name}-{number}", **speaks_for}
    return OKPKey.generate_key("Ed25519", cast(KeyParameters, parameters))


def _listed(file: Path) -> list[dict[str, Any]]:
    return list(json.loads(file.read_text())["keys"]) if file.exists() else []


def _list(file: Path, keys: Sequence[Mapping[str, Any]]) -> None:
    write_private(file, _as_json({"keys": keys}))


def _as_json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"
