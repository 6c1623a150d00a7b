"""Which record is which: the same one is the same call, in whatever file, whoever sends it and whenever.

A record whose sender is known goes by what the sender calls it. The sender is what the operator has named (`--source`),
or the server whose address the Bundle gives (`fullUrl`). A name alone, such as Patient/1, is nobody's: two clinics may
both have one. So where no sender is known, a record goes by its content, and a row of CSV by its file and its number.

A referral goes by its Patient and its ServiceRequests, answers by their resource and the instrument. From that, and
from the site, comes the import_id, by which intake knows a record for good. The request_id is derived from the
import_id and the content, so that a record which has changed is a new call about a known record.
"""

from collections.abc import Sequence
from uuid import NAMESPACE_URL, UUID, uuid5

from google.protobuf.message import Message

from stepway_cli.fhir.files import Resource


def request_id(site: str, request: Message) -> UUID:
    """Of a request whose own request_id is still empty; its import_id is part of it."""
    content = request.SerializeToString(deterministic=True).hex()
    return uuid5(NAMESPACE_URL, f"stepway:{site}:{content}")


def content(request: Message) -> str:
    """The import_content: of a request that has no ids yet."""
    return str(uuid5(NAMESPACE_URL, f"stepway:content:{request.SerializeToString(deterministic=True).hex()}"))


def of_resources(site: str, source: str, resources: Sequence[Resource], *parts: object) -> str:
    """The import_id of what these resources make; `parts` tell apart what one of them holds."""
    names = sorted(name_of(each, source) or each.digest.hex() for each in resources)
    return _import_id(site, *names, *parts)


def of_row(site: str, digest: str, number: int, *parts: object) -> str:
    """The import_id of what a row makes in a file of this content."""
    return _import_id(site, digest, number, *parts)


def name_of(resource: Resource, source: str) -> str:
    """What its sender calls it; empty when that is not known."""
    if not resource.key:
        return ""
    if source:
        return f"{source}/{resource.key}"
    return resource.url if resource.url.startswith("http") and resource.url.endswith(f"/{resource.key}") else ""


def _import_id(site: str, *parts: object) -> str:
    return str(uuid5(NAMESPACE_URL, "\n".join(map(str, ("stepway:import", site, *parts)))))
