"""The words of instruments that may be shipped: one file for each instrument and language, in `wording/`."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from stepway_intake.instruments.catalogue import CURRENT
from stepway_intake.instruments.files import numbers


@dataclass(frozen=True)
class ItemWording:
    """The words of one item, and of its values, lowest first; none where they are plain numbers."""

    item: int
    text: str
    answers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wording:
    notice: str
    items: tuple[ItemWording, ...]


def _read() -> Mapping[tuple[str, str], Wording]:
    """By instrument and language; the words are those of its current version."""
    folder = files(__package__) / "wording"
    tables = {file.name: tomllib.loads(file.read_text(encoding="utf-8")) for file in folder.iterdir()}
    return {_key(name): _wording(_key(name)[0], table) for name, table in tables.items()}


def _key(file: str) -> tuple[str, str]:
    instrument, language, _ = file.rsplit(".", 2)
    return instrument, language


def _wording(instrument: str, table: Mapping[str, Any]) -> Wording:
    answers = {item: tuple(labels) for items, labels in table["answers"].items() for item in numbers(items)}
    items = (ItemWording(item, text, answers[item]) for item, text in enumerate(table["items"], start=1))
    return Wording(f"{CURRENT[instrument].credit} {table['preamble']}", tuple(items))


SHIPPED = _read()
