"""From bytes to FHIR documents as JSON has them; what is no document is refused."""

import json
from collections.abc import Iterator
from typing import BinaryIO

from stepway_cli.fhir import xml
from stepway_cli.findings import Unusable

JsonObject = dict[str, object]
Content = bytes | BinaryIO
"""What a file holds, or the open file where it is read line by line."""

DEEPEST = 100


def document(content: Content) -> JsonObject:
    """The one document that a file of JSON or XML is. Raises Unusable."""
    text = _text(content if isinstance(content, bytes) else content.read())
    if not text:
        raise Unusable("EMPTY_FILE", "there is nothing in this file")
    return xml.document(text, deepest=DEEPEST) if text.startswith("<") else _object(text)


def lines(content: Content) -> Iterator[tuple[int, JsonObject | Unusable]]:
    """Every line of an NDJSON file that is not blank, by its number from 1; one alone is in memory at a time."""
    for number, line in enumerate(content.splitlines() if isinstance(content, bytes) else content, start=1):
        try:
            if text := _text(line):
                yield number, _object(text)
        except Unusable as problem:
            yield number, problem


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise Unusable("NOT_UTF8", "save the file as UTF-8") from None


def _object(text: str) -> JsonObject:
    found = _json(text)
    if not isinstance(found, dict) or not isinstance(found.get("resourceType"), str):
        raise Unusable("NOT_FHIR", "send one FHIR R4 resource or Bundle, an object with a resourceType")
    return found


def _json(text: str) -> object:
    try:
        found: object = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise Unusable("NOT_JSON", "send one whole JSON document in each file, or line of .ndjson") from None
    if _deeper_than(DEEPEST, found):
        raise _too_deep()
    if "\\ud" in text or "\\uD" in text:
        _refuse_half_characters(found)
    return found


def _no_constant(_: str) -> object:
    raise ValueError


def _too_deep() -> Unusable:
    return Unusable("TOO_DEEP", f"nothing in FHIR is nested more than {DEEPEST} levels deep")


def _deeper_than(levels: int, found: object) -> bool:
    level = [found]
    for _ in range(levels):
        if not level:
            return False
        level = [child for value in level for child in _children(value)]
    return bool(level)


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _refuse_half_characters(found: object) -> None:
    """JSON can spell a lone surrogate, which no message can carry."""
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Unusable("NOT_JSON", "a string holds half of a character (a lone surrogate)") from None
