"""The files that an import is given, one after the other."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from stepway_cli.fhir.parsing import Content

KINDS = frozenset({".json", ".xml", ".ndjson", ".jsonl"})
LINE_BY_LINE = frozenset({".ndjson", ".jsonl"})


class Unreadable(Exception):
    """A path names nothing that can be read."""


def documents(paths: Iterable[Path]) -> Iterator[tuple[str, Content]]:
    """Name and content of every file given, and of every FHIR file in a folder given; NDJSON is read line by line.

    Raises Unreadable.
    """
    names: set[str] = set()
    for path in paths:
        for file in _files(path):
            name = _name(file, path)
            yield from _content(str(file) if name in names else name, file)
            names.add(name)


def whole(file: Path) -> bytes:
    """Raises Unreadable."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from None


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in KINDS)
    if not found:
        raise Unreadable(f"{path}: holds no .json, .xml or .ndjson file")
    return found


def _name(file: Path, given: Path) -> str:
    """Below the folder that was given, so that no two of it are called alike."""
    return file.name if file == given else str(file.relative_to(given))


def _content(name: str, file: Path) -> Iterator[tuple[str, Content]]:
    if file.suffix.lower() not in LINE_BY_LINE:
        yield name, whole(file)
        return
    try:
        with file.open("rb") as lines:
            yield name, lines
    except OSError as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: OSError) -> Unreadable:
    return Unreadable(f"{file}: {error.strerror}")
