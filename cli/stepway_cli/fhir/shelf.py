"""Finding the resource that a FHIR reference means, among files of different origin."""

import re
from collections import defaultdict
from collections.abc import Iterable

from stepway_cli.fhir.files import JsonObject, Resource
from stepway_cli.findings import Note, Refused, Unusable

_REFERENCE = re.compile(r"(?P<base>(?:https?://.*/)?)(?P<key>[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64})(/_history/[^/]*)?")


class Shelf:
    """Resources in the order they came, each once, and every file's own copy of them.

    A reference means the resource in its own file first. Two absolute URLs with different bases are different
    records, so that an order of one clinic never lands on another clinic's patient with the same id.
    """

    def __init__(self) -> None:
        self.resources: list[Resource] = []
        self._copies: dict[str, list[tuple[str, Resource]]] = defaultdict(list)

    def put(self, resource: Resource) -> Note | Refused | None:
        """Add a resource; a copy is only noted, and another one of the same name is refused."""
        same_key = self._known_as(resource.key) or self._known_as(resource.url)
        for earlier in same_key:
            if _content(earlier) == _content(resource):
                self._remember(resource, earlier)
                return Note(resource.name, f"the same as {earlier.name}", resources=1)
        self._remember(resource, resource)
        if any(not _of_different_servers(earlier.url, resource.url) for earlier in same_key):
            return Refused(resource.name, "DUPLICATE_RESOURCE", f"{same_key[0].name} says otherwise: send one of them")
        self.resources.append(resource)
        return None

    def find(self, reference: str, source: Resource) -> Resource:
        """The resource that a reference in source means; refuses SUBJECT_NOT_FOUND and SUBJECT_AMBIGUOUS."""
        copies = self._candidates(_absolute(reference, source))
        own = [resource for file, resource in copies if file == source.file]
        found = list(dict.fromkeys(own or [resource for _, resource in copies]))
        if not found:
            raise Unusable("SUBJECT_NOT_FOUND", "send the Patient that it names along with it")
        if len(found) > 1:
            raise Unusable("SUBJECT_AMBIGUOUS", "several Patients go by the id that it names: send it in their file")
        return found[0]

    def _known_as(self, name: str) -> list[Resource]:
        return [resource for _, resource in self._copies[name]] if name else []

    def _remember(self, resource: Resource, kept: Resource) -> None:
        for name in filter(None, {resource.key, resource.url}):
            self._copies[name].append((resource.file, kept))

    def _candidates(self, reference: str) -> list[tuple[str, Resource]]:
        parts = _REFERENCE.fullmatch(reference)
        if reference in self._copies or not parts:
            return self._copies.get(reference, [])
        url = parts["base"] + parts["key"]
        same_key = self._copies.get(parts["key"], [])
        return [(file, resource) for file, resource in same_key if not _of_different_servers(resource.url, url)]


def _content(resource: Resource) -> JsonObject:
    return {key: value for key, value in resource.fields.items() if key != "meta"}


def _of_different_servers(one: str, other: str) -> bool:
    return one != other and one.startswith("http") and other.startswith("http")


def _absolute(reference: str, source: Resource) -> str:
    """A relative reference is relative to the server that its resource came from, when that is known."""
    if source.url.startswith("http") and source.key and source.url.endswith(source.key):
        parts = _REFERENCE.fullmatch(reference)
        if parts and not parts["base"]:
            return source.url.removesuffix(source.key) + reference
    return reference


def counted(resources: Iterable[Resource]) -> list[Note]:
    """One note for each file, of how many resources of which type in it no referral needs."""
    kinds: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for resource in resources:
        kinds[resource.file][resource.kind] += 1
    return [
        Note(file, f"not part of a referral: {_listed(numbers)}", resources=sum(numbers.values()))
        for file, numbers in kinds.items()
    ]


def _listed(numbers: dict[str, int]) -> str:
    most_first = sorted(numbers.items(), key=lambda kind: (-kind[1], kind[0]))
    return ", ".join(f"{number} {kind}" for kind, number in most_first)
