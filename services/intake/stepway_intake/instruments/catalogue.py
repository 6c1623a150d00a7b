"""The instruments that intake can score: one file for each version of each, in `definitions/`."""

import tomllib
from importlib.resources import files

from stepway_chassis.errors import InvalidInput
from stepway_intake.instruments.definition import Definition
from stepway_intake.instruments.files import definition


def _read() -> tuple[Definition, ...]:
    folder = files(__package__) / "definitions"
    tables = {
        file.name.removesuffix(".toml"): tomllib.loads(file.read_text(encoding="utf-8"))
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".toml")
    }
    return tuple(definition(stem, tables) for stem in tables)


ALL = _read()
"""Every version of every instrument; package data, read once like the code beside it."""

_BY_VERSION = {(each.name, each.version): each for each in ALL}
CURRENT = {each.name: each for each in ALL if each.current}
"""By name, the version that is meant where nobody names one."""

PHQ_9, GAD_7 = CURRENT["phq-9"], CURRENT["gad-7"]


def find(name: str, version: str = "") -> Definition:
    """Raises InvalidInput (INSTRUMENT_VERSION_UNKNOWN)."""
    found = _BY_VERSION.get((name, version)) if version else CURRENT[name]
    if found is None:
        message = "Name a version that the catalogue has, or none."
        raise InvalidInput("INSTRUMENT_VERSION_UNKNOWN", message, field="version")
    return found
