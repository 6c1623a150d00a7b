"""Finding the resource that a FHIR reference means, among files of different origin."""

import re
from collections import defaultdict

from stepway_cli.fhir.files import Resource
from stepway_cli.findings import Note, Place, Refused, Unusable

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
            if earlier.digest == resource.digest:
                self._remember(resource, earlier)
                return Note(resource.name, f"the same as {earlier.at}", 1, resource.place)
        self._remember(resource, resource)
        if any(not _of_different_servers(earlier.url, resource.url) for earlier in same_key):
            message = f"{same_key[0].at} says otherwise: send one of them"
            return Refused(resource.name, "DUPLICATE_RESOURCE", message, resource.place)
        self.resources.append(resource)
        return None

    def find(self, reference: str, source: Resource) -> Resource:
        """The resource that a reference in source means; refuses SUBJECT_NOT_FOUND and SUBJECT_AMBIGUOUS."""
        found = self.all_of(reference, source)
        if not found:
            raise Unusable("SUBJECT_NOT_FOUND", "send the Patient that it names along with it")
        if len(found) > 1:
            raise Unusable("SUBJECT_AMBIGUOUS", "several Patients go by the id that it names: send it in their file")
        return found[0]

    def all_of(self, reference: str, source: Resource) -> list[Resource]:
        """Every resource that a reference in source may mean."""
        copies = self._candidates(_absolute(reference, source))
        own = [resource for file, resource in copies if file == source.file]
        return list(dict.fromkeys(own or [resource for _, resource in copies]))

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


def _of_different_servers(one: str, other: str) -> bool:
    return one != other and one.startswith("http") and other.startswith("http")


def _absolute(reference: str, source: Resource) -> str:
    """A relative reference is relative to the server that its resource came from, when that is known."""
    if source.url.startswith("http") and source.key and source.url.endswith(source.key):
        parts = _REFERENCE.fullmatch(reference)
        if parts and not parts["base"]:
            return source.url.removesuffix(source.key) + reference
    return reference


class Leftovers:
    """How many resources of which type no referral needs, for each file."""

    def __init__(self) -> None:
        self._kinds: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))

    def add(self, resource: Resource) -> None:
        self._kinds[resource.file][resource.kind] += 1

    def notes(self) -> list[Note]:
        return [
            Note(file, f"not part of a referral: {_listed(numbers)}", sum(numbers.values()), Place(file))
            for file, numbers in self._kinds.items()
        ]


def _listed(numbers: dict[str, int]) -> str:
    most_first = sorted(numbers.items(), key=lambda kind: (-kind[1], kind[0]))
    return ", ".join(f"{number} {kind}" for kind, number in most_first)
