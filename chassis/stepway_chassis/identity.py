"""Who a caller is: tokens checked against a key set, and the token that this service calls others with."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

from stepway_chassis.call import Caller, Kind
from stepway_chassis.errors import Unauthenticated
from stepway_chassis.watched import Watched

ALGORITHM = "Ed25519"
TRUSTED_ALGORITHMS = [ALGORITHM, "ES256", "RS256"]  # what OIDC issuers sign with; never a shared secret, never none
TOKEN_TYPES = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})  # what else a key has signed is no token
LEEWAY = timedelta(seconds=10)
SERVICE_TOKEN_LIFE = timedelta(minutes=5)
REMEMBERED = 1024  # tokens, the oldest of which are forgotten first
LAST_MOMENT = 1e11  # the year 5138
SUBJECT = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SERVICE_MEMBER = "stepway_service"  # a key with this member speaks for that service and for nobody else
RETIRED_MEMBER = "stepway_retired"  # a key with this member opens the seals that it has signed, and no token


@dataclass(frozen=True)
class Known:
    """A token whose signature was checked: what it claims, and for whom it speaks while it is valid."""

    claims: Mapping[str, Any]
    caller: Caller


@dataclass(frozen=True)
class Trusted:
    """The public keys that Stepway believes, and which of them speak for a service.

    `known` are tokens that these keys have signed, by their digest; with other keys each is checked anew.
    """

    keys: KeySet
    service_of: Mapping[str, str | None]
    known: dict[bytes, Known] = field(default_factory=dict)

    def remember(self, digest: bytes, known: Known) -> None:
        if len(self.known) >= REMEMBERED:
            del self.known[next(iter(self.known))]
        self.known[digest] = known


def _trusted(text: str) -> Trusted:
    """Of a key set: its named keys that are not retired; there may be none, and then nobody is trusted."""
    keys = [key for key in json.loads(text)["keys"] if "kid" in key and not key.get(RETIRED_MEMBER)]
    known = KeySet.import_key_set({"keys": keys}) if keys else KeySet([])
    return Trusted(known, {key["kid"]: key.get(SERVICE_MEMBER) for key in keys})


class Verifier:
    """Checks tokens against a local key set, which may change at any time.

    Raises Unauthenticated with TOKEN_MISSING, TOKEN_MALFORMED, TOKEN_UNTRUSTED (key, algorithm, signature, issuer,
    audience) or TOKEN_EXPIRED.
    """

    def __init__(self, jwks_file: Path, *, issuer: str, audience: str) -> None:
        self._trusted = Watched(jwks_file, _trusted)
        self._issuer = issuer
        self._audience = audience

    def caller(self, authorization: str, now: datetime) -> Caller:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("TOKEN_MISSING", "Send metadata authorization: Bearer and a token.")
        trusted, digest = self._trusted.now(), hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        if known := trusted.known.get(digest):
            self._check_claims(known.claims, now)
            return known.caller
        header, claims = self._verified(token.strip(), trusted.keys)
        self._check_claims(claims, now)
        caller = self._caller(claims, trusted.service_of.get(header.get("kid", "")))
        trusted.remember(digest, Known(claims, caller))
        return caller

    def _verified(self, token: str, keys: KeySet) -> tuple[dict[str, Any], dict[str, Any]]:
        try:
            decoded = jwt.decode(token, keys, algorithms=TRUSTED_ALGORITHMS)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            raise Unauthenticated("TOKEN_UNTRUSTED", "No key that Stepway trusts has signed this token.") from None
        if str(decoded.header.get("typ", "")).lower() not in TOKEN_TYPES:
            raise Unauthenticated("TOKEN_UNTRUSTED", "What was signed there is no token.")
        return dict(decoded.header), dict(decoded.claims)

    def _check_claims(self, claims: Mapping[str, Any], now: datetime) -> None:
        audience = claims.get("aud")
        if claims.get("iss") != self._issuer or self._audience not in (
            audience if isinstance(audience, list) else [audience]
        ):
            raise Unauthenticated("TOKEN_UNTRUSTED", "The token was made by or for somebody else.")
        moment, leeway = now.timestamp(), LEEWAY.total_seconds()
        expires, begins = _moment(claims.get("exp")), _moment(claims.get("nbf", 0))
        if moment > expires + leeway or moment < begins - leeway:
            raise Unauthenticated("TOKEN_EXPIRED", "Get a new token: this one is not valid at this time.")

    def _caller(self, claims: dict[str, Any], service: str | None) -> Caller:
        try:
            caller = Caller(_subject(claims["sub"]), Kind(claims["kind"]), _grants(claims.get("grants", {})))
        except (KeyError, ValueError, TypeError, AttributeError):
            raise _malformed() from None
        if (caller.kind is Kind.SERVICE) != (service is not None) or (service and caller.subject != service):
            raise Unauthenticated("TOKEN_UNTRUSTED", "The key that signed this token does not speak for its subject.")
        return caller


def _moment(claim: object) -> float:
    """Seconds since 1970; neither NaN, which compares as never over, nor infinity."""
    if isinstance(claim, int | float) and 0 <= claim < LAST_MOMENT:
        return claim
    raise _malformed()


def _subject(claim: str) -> str:
    """Events carry it (acknowledged_by), so it has the shape that they allow; issue opaque ones."""
    if not SUBJECT.fullmatch(claim):
        raise ValueError
    return claim


def _grants(claim: dict[str, list[str]]) -> dict[str, frozenset[str]]:
    if not all(isinstance(roles, list) for roles in claim.values()):
        raise ValueError
    return {site: frozenset(roles) for site, roles in claim.items()}


def _malformed() -> Unauthenticated:
    return Unauthenticated("TOKEN_MALFORMED", "The token lacks sub, kind, grants or exp, or one has another shape.")


class Identity(Protocol):
    """Whatever can say who is calling."""

    def token(self, now: datetime) -> str: ...


@dataclass(frozen=True)
class Bearer:
    """Somebody who holds a token: a person at a terminal, an integrator."""

    held: str

    def token(self, now: datetime) -> str:
        return self.held


class ServiceIdentity:
    """Signs short-lived tokens with this service's own key, and with the next one as soon as that is there."""

    def __init__(self, service: str, key_file: Path, *, issuer: str, audience: str) -> None:
        self._service = service
        self._key = Watched(key_file, lambda text: OKPKey.import_key(json.loads(text)))
        self._issuer = issuer
        self._audience = audience
        self._token = ""
        self._signed_with: OKPKey | None = None
        self._renew_at = 0.0

    def token(self, now: datetime) -> str:
        key = self._key.now()
        if now.timestamp() >= self._renew_at or key is not self._signed_with:
            self._renew_at = (now + SERVICE_TOKEN_LIFE / 2).timestamp()
            self._token, self._signed_with = self._signed(now, key), key
        return self._token

    def _signed(self, now: datetime, key: OKPKey) -> str:
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": self._service,
            "kind": Kind.SERVICE.value,
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "exp": int((now + SERVICE_TOKEN_LIFE).timestamp()),
            "jti": str(uuid4()),
        }
        return jwt.encode({"alg": ALGORITHM, "kid": key.kid}, claims, key, algorithms=[ALGORITHM])
