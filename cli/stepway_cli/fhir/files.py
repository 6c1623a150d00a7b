"""From what a file holds to the FHIR R4 resources in it; what cannot be read is refused by name."""

import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from stepway_cli.fhir import parsing
from stepway_cli.fhir.parsing import Content, JsonObject
from stepway_cli.fhir.r4 import RESOURCE_TYPES
from stepway_cli.findings import Place, Refused, Unusable

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_URL_ENDING = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})$")
_BUNDLE_TYPES = ("transaction", "collection", "searchset", "document", "batch", "message")
_LINE_BY_LINE = (".ndjson", ".jsonl")

REFERRAL_KINDS = frozenset({"Patient", "ServiceRequest", "RelatedPerson"})  # what a referral is made of

Wanted = Callable[[str, JsonObject], bool]
"""Whether a resource of this kind, with these fields, is to be read."""


@dataclass(frozen=True, eq=False)
class Resource:
    """One resource and how others may refer to it; key is Type/id and, like url, empty when it was not given.

    What it holds is kept packed, so that many fit into memory; it is empty when the resource is not wanted.
    """

    place: Place
    name: str
    key: str
    url: str
    digest: bytes  # of everything in it but meta and narrative
    packed: bytes = field(repr=False)

    @property
    def file(self) -> str:
        return self.place.file

    @property
    def kind(self) -> str:
        return self.place.kind

    @property
    def at(self) -> str:
        """Where it stands, in words without its id."""
        return self.file if self.place.index is None else f"{self.file}, number {self.place.index}"

    @property
    def fields(self) -> JsonObject:
        unpacked: JsonObject = json.loads(zlib.decompress(self.packed))
        return unpacked


def referral_kinds(kind: str, _: JsonObject) -> bool:
    return kind in REFERRAL_KINDS


def resources_in(file: str, content: Content, wanted: Wanted = referral_kinds) -> Iterator[Resource | Refused]:
    """Every resource of a Bundle, of each line of an .ndjson file, or the one that the file is."""
    if file.lower().endswith(_LINE_BY_LINE):
        yield from _lines(file, content, wanted)
        return
    try:
        document = parsing.document(content)
    except Unusable as problem:
        yield problem.named(file, Place(file))
        return
    if document["resourceType"] == "Bundle":
        yield from _entries(file, document, wanted)
    else:
        yield _resource(Place(file), "", document, "", wanted)


def _lines(file: str, content: Content, wanted: Wanted) -> Iterator[Resource | Refused]:
    number = 0
    for number, found in parsing.lines(content):
        place, position = Place(file, number), f"line {number}"
        if isinstance(found, Unusable):
            yield found.named(f"{file} {position}", place)
        else:
            yield _resource(place, position, found, "", wanted)
    if not number:
        yield Refused(file, "EMPTY_FILE", "there is nothing in this file", Place(file))


def _entries(file: str, bundle: JsonObject, wanted: Wanted) -> Iterator[Resource | Refused]:
    if bundle.get("type") not in _BUNDLE_TYPES:
        message = f"send a Bundle of type {', '.join(_BUNDLE_TYPES)}"
        yield Refused(file, "BUNDLE_TYPE_UNSUPPORTED", message, Place(file))
        return
    entries = bundle.get("entry", [])
    if not isinstance(entries, list):
        yield Refused(file, "MALFORMED", "entry has to be a list", Place(file))
        return
    if not entries:
        yield Refused(file, "BUNDLE_EMPTY", "the Bundle has no entry", Place(file))
    for index, entry in enumerate(entries):
        yield _entry(Place(file, index), f"entry[{index}]", entry, wanted)


def _entry(place: Place, position: str, entry: object, wanted: Wanted) -> Resource | Refused:
    name = f"{place.file} {position}"
    if not isinstance(entry, dict) or not isinstance(entry.get("resource"), dict):
        return Refused(name, "MALFORMED", "an entry has to hold a resource, which is an object", place)
    url = entry.get("fullUrl", "")
    if not isinstance(url, str):
        return Refused(name, "MALFORMED", "fullUrl has to be a string", place)
    return _resource(place, position, entry["resource"], url, wanted)


def _resource(place: Place, position: str, fields: JsonObject, url: str, wanted: Wanted) -> Resource | Refused:
    kind = fields.get("resourceType")
    if not isinstance(kind, str) or kind not in RESOURCE_TYPES:
        name = f"{place.file} {position}".strip()
        return Refused(name, "NOT_FHIR", "FHIR R4 has no resource of this resourceType", place)
    place, unnamed = Place(place.file, place.index, kind), f"{place.file} {kind} {position}".strip()
    if kind == "Bundle":
        name = f"{place.file} {position}".strip()
        return Refused(name, "BUNDLE_IN_BUNDLE", "send the inner Bundle as a file of its own", place)
    if not wanted(kind, fields):
        return Resource(place, unnamed, "", url, b"", b"")
    identity = fields.get("id") or _id_in(url, kind)
    if not identity:
        return _packed(place, unnamed, "", url, fields)
    if not isinstance(identity, str) or not _ID.fullmatch(identity):
        return Refused(unnamed, "MALFORMED", "id has to be letters, digits, - or .", place)
    return _packed(place, f"{place.file} {kind}/{identity}", f"{kind}/{identity}", url, fields)


def _packed(place: Place, name: str, key: str, url: str, fields: JsonObject) -> Resource:
    written = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    told = {field: value for field, value in fields.items() if field not in ("meta", "text")}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).digest()
    return Resource(place, name, key, url, digest, zlib.compress(written, 1))


def _id_in(url: str, kind: str) -> str:
    ending = _URL_ENDING.search(url)
    return ending[2] if ending and ending[1] == kind else ""
