"""What a process reads from its environment, and what it says about what it cannot read."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from stepway_chassis.settings import Settings, SettingsError, read

REQUIRED = {
    "STEPWAY_DATABASE_URL": "postgresql://intake_app:hunter2@127.0.0.1/stepway_intake",
    "STEPWAY_RELAY_DATABASE_URL": "postgresql://intake_relay:hunter2@127.0.0.1/stepway_intake",
    "STEPWAY_KEEPER_DATABASE_URL": "postgresql://intake_keeper:hunter2@127.0.0.1/stepway_intake",
    "STEPWAY_NATS_URL": "nats://127.0.0.1:4222",
    "STEPWAY_NATS_USER": "intake",
    "STEPWAY_NATS_PASSWORD": "hunter2",
    "STEPWAY_JWKS_FILE": "/keys/jwks.json",
    "STEPWAY_SERVICE_KEY_FILE": "/keys/intake.json",
    "STEPWAY_ISSUER": "https://stepway.local",
    "STEPWAY_PEERS": "intake=127.0.0.1:1,notifications=127.0.0.1:2",
}


@dataclass(frozen=True)
class OwnSettings:
    folder: Path
    lease_seconds: float = 30.0


def an_environment(**changes: str) -> dict[str, str]:
    return {**REQUIRED, **{f"STEPWAY_{name.upper()}": value for name, value in changes.items()}}


def settings(**changes: str) -> Settings:
    (found,) = read(an_environment(**changes), Settings)
    assert isinstance(found, Settings)
    return found


def complaint(environ: Mapping[str, str], *shapes: type[Any]) -> str:
    with pytest.raises(SettingsError) as refused:
        read(environ, *(shapes or (Settings,)))
    return str(refused.value)


def test_what_is_required_is_read_and_the_rest_has_defaults() -> None:
    found = settings()
    assert found.nats_user == "intake"
    assert found.jwks_file == Path("/keys/jwks.json")
    assert found.peers == {"intake": "127.0.0.1:1", "notifications": "127.0.0.1:2"}
    assert (found.cell, found.audience, found.reflection, found.trace_file) == ("shared", "stepway", False, None)
    assert (found.pool_size, found.drain_seconds, found.seal_seconds) == (10, 6.0, 10.0)


def test_every_kind_of_setting_is_read_as_its_type() -> None:
    found = settings(reflection="True", pool_size="3", trace_ratio="0.25", trace_file="/t.jsonl", cell="lake")
    assert (found.reflection, found.pool_size, found.trace_ratio) == (True, 3, 0.25)
    assert (found.trace_file, found.cell) == (Path("/t.jsonl"), "lake")


def test_an_empty_variable_is_one_that_was_not_given() -> None:
    assert settings(cell="", trace_file="").cell == "shared"
    assert "STEPWAY_ISSUER" in complaint(an_environment(issuer=""))


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_missing_variable_is_named(name: str) -> None:
    environ = {known: value for known, value in REQUIRED.items() if known != name}
    assert complaint(environ) == f"missing: {name}"


def test_every_unknown_stepway_variable_is_named_beside_those_that_are_known() -> None:
    said = complaint(an_environment(poolsize="3", zone="x"))
    assert said.startswith("unknown: STEPWAY_POOLSIZE, STEPWAY_ZONE; known: ")
    assert all(f"STEPWAY_{field.name.upper()}" in said for field in fields(Settings))


def test_variables_of_others_are_none_of_our_business() -> None:
    (found,) = read({**REQUIRED, "PATH": "/bin", "PGPASSWORD": "x", "stepway_cell": "x"}, Settings)
    assert found.cell == "shared"


def test_a_services_own_settings_are_read_beside_the_common_ones() -> None:
    shared, own = read(an_environment(folder="/texts", lease_seconds="3"), Settings, OwnSettings)
    assert shared.issuer == "https://stepway.local"
    assert own == OwnSettings(Path("/texts"), 3.0)
    assert complaint(REQUIRED, Settings, OwnSettings) == "missing: STEPWAY_FOLDER"


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("pool_size", "many", "a whole number"),
        ("pool_size", "2.5", "a whole number"),
        ("drain_seconds", "soon", "a number"),
        ("reflection", "yes", "true or false"),
        ("peers", "intake", "name=value pairs, comma-separated"),
        ("peers", "intake=", "name=value pairs, comma-separated"),
        ("peers", "=127.0.0.1:1", "name=value pairs, comma-separated"),
    ],
)
def test_a_value_that_cannot_be_read_is_named_and_the_shape_it_needs(name: str, value: str, wanted: str) -> None:
    said = complaint(an_environment(**{name: value}))
    assert said == f"cannot read STEPWAY_{name.upper()}: it has to be {wanted}"


@pytest.mark.parametrize("name", ["pool_size", "drain_seconds", "reflection", "peers", "no_such_setting"])
def test_a_complaint_never_repeats_a_value_which_may_be_a_password(name: str) -> None:
    assert "hunter2" not in complaint(an_environment(**{name: "hunter2"}))
