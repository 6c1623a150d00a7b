"""A token that was checked before: no signature is checked twice, and nothing else is taken on trust."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stepway_chassis import identity, watched
from stepway_chassis.errors import Unauthenticated
from stepway_chassis.identity import Verifier
from stepway_cli.tokens import AUDIENCE, ISSUER, KeyFolder, mint

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    keys = KeyFolder(tmp_path / "keys")
    keys.create(["intake"])
    return keys


@pytest.fixture
def verifier(keys: KeyFolder) -> Verifier:
    return Verifier(keys.jwks_file, issuer=ISSUER, audience=AUDIENCE)


def a_token(keys: KeyFolder, subject: str = "staff-1") -> str:
    token = mint(keys.people_key(), subject, grants={"northside": ["front_desk"]}, now=NOON, lifetime=HOUR)
    return f"Bearer {token}"


def refused(verifier: Verifier, authorization: str, at: datetime = NOON) -> str:
    with pytest.raises(Unauthenticated) as error:
        verifier.caller(authorization, at)
    return error.value.reason


def test_a_known_token_speaks_for_the_same_caller(keys: KeyFolder, verifier: Verifier) -> None:
    token = a_token(keys)
    assert verifier.caller(token, NOON) == verifier.caller(token, NOON)


def test_a_known_token_ends_when_it_says(keys: KeyFolder, verifier: Verifier) -> None:
    token = a_token(keys)
    verifier.caller(token, NOON)
    assert refused(verifier, token, NOON + 2 * HOUR) == "TOKEN_EXPIRED"
    assert refused(verifier, token, NOON - HOUR) == "TOKEN_EXPIRED"


def test_a_known_token_changed_by_a_letter_is_another_one(keys: KeyFolder, verifier: Verifier) -> None:
    token = a_token(keys)
    verifier.caller(token, NOON)
    assert refused(verifier, token[:-5] + ("A" if token[-5] != "A" else "B") + token[-4:]) == "TOKEN_UNTRUSTED"


def test_a_known_token_goes_with_the_key_that_signed_it(
    keys: KeyFolder, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = a_token(keys)
    verifier.caller(token, NOON)
    others = [key for key in json.loads(keys.jwks_file.read_text())["keys"] if key["kid"] != keys.people_key().kid]
    keys.jwks_file.write_text(json.dumps({"keys": others}))
    os.utime(keys.jwks_file, ns=(1, 1))
    monkeypatch.setattr(watched, "LOOK_SECONDS", 0.0)
    assert refused(verifier, token) == "TOKEN_UNTRUSTED"


def test_only_so_many_tokens_are_known(keys: KeyFolder, verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "REMEMBERED", 2)
    for number in range(5):
        verifier.caller(a_token(keys, f"staff-{number}"), NOON)
    assert len(verifier._trusted.now().known) == 2
