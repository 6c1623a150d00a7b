"""The keys that sign tokens on this machine, and the tokens themselves: JSON Web Tokens signed with Ed25519."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast
from uuid import uuid4

from joserfc import jwt
from joserfc.jwk import KeyParameters, OKPKey

from stepway_cli.local.folder import write_private

ALGORITHM = "Ed25519"  # the name of RFC 9864; it retires "EdDSA", and joserfc warns about that one
ISSUER = "https://stepway.local"
AUDIENCE = "stepway"

Kind = Literal["staff", "patient", "family"]


@dataclass(frozen=True)
class KeyFolder:
    """`people.json` signs for people, `<service>.json` for that service, `jwks.json` is public."""

    path: Path

    @property
    def jwks_file(self) -> Path:
        return self.path / "jwks.json"

    @property
    def people_key_file(self) -> Path:
        return self.path / "people.json"

    def service_key_file(self, service: str) -> Path:
        return self.path / f"{service}.json"

    def create(self, services: Sequence[str]) -> None:
        """Make the keys that are missing, keep the others, and list the public half of all."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys = [_kept_key(self.people_key_file, {"kid": "people-1"})]
        keys += [_kept_key(self.service_key_file(name), _named_for(name)) for name in services]
        write_private(self.jwks_file, _as_json({"keys": [key.as_dict(private=False) for key in keys]}))

    def people_key(self) -> OKPKey:
        return read_key(self.people_key_file)


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


def _named_for(service: str) -> dict[str, str]:
    return {"kid": f"{service}-1", "stepway_service": service}


def _kept_key(file: Path, names: Mapping[str, str]) -> OKPKey:
    if not file.exists():
        key = OKPKey.generate_key("Ed25519", cast(KeyParameters, {"use": "sig", "alg": ALGORITHM, **names}))
        write_private(file, _as_json(key.as_dict(private=True)))
    return read_key(file)


def _as_json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"
