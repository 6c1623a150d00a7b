"""Which instruments and interviews each population is asked to do: one file for each, in `batteries/`."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from stepway_intake.instruments.catalogue import CURRENT


@dataclass(frozen=True)
class Battery:
    """Instruments and sections by name; `suggested` ones may be left out without a reason."""

    name: str
    required: tuple[str, ...]
    suggested: tuple[str, ...]
    sections: tuple[str, ...]


def _read() -> Mapping[str, Battery]:
    folder = files(__package__) / "batteries"
    found = [_battery(file.name.removesuffix(".toml"), file.read_text(encoding="utf-8")) for file in folder.iterdir()]
    return {battery.name: battery for battery in found}


def _battery(name: str, content: str) -> Battery:
    """Raises ValueError when it names an instrument that the catalogue lacks."""
    battery = Battery(name, **{key: tuple(names) for key, names in tomllib.loads(content).items()})
    if not {*battery.required, *battery.suggested} <= set(CURRENT):
        raise ValueError(f"{name}: it names an instrument that the catalogue does not have")
    return battery


BATTERIES = _read()
