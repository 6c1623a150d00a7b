"""A patient, an order and a relative in FHIR, read as files, and what became of them."""

import json
from datetime import date

from stepway_cli.fhir.orders import SNOMED
from stepway_cli.fhir.referrals import Import, Ready, read_referrals

TODAY = date(2026, 11, 21)


def a_patient(**changes):
    return {"resourceType": "Patient", "id": "p", "name": [{"family": "Orrin", "given": ["Ila"]}]} | changes


def an_order(**changes):
    order = {"resourceType": "ServiceRequest", "id": "o", "status": "active", "intent": "order"}
    code = {"coding": [{"system": SNOMED, "code": "306206005"}], "text": "Please see her"}
    return order | {"code": code, "subject": {"reference": "Patient/p"}} | changes


def a_relative(**changes):
    relative = {"resourceType": "RelatedPerson", "id": "r", "patient": {"reference": "Patient/p"}}
    return relative | {"name": [{"family": "Orrin", "given": ["Bo"]}]} | changes


def a_bundle(*resources, kind="collection", urls=()):
    entries = [{"resource": resource} for resource in resources]
    for entry, url in zip(entries, urls, strict=False):
        entry["fullUrl"] = url
    return {"resourceType": "Bundle", "type": kind, "entry": entries}


def read(*contents) -> Import:
    """Read the contents as files a.json, b.json, ...; what is no bytes is written as JSON."""
    names = (f"{letter}.json" for letter in "abcdefgh")
    files = (content if isinstance(content, bytes) else json.dumps(content).encode() for content in contents)
    return read_referrals(zip(names, files, strict=False), today=TODAY)


def only(found: Import) -> Ready:
    assert found.refused == []
    (ready,) = found.referrals
    return ready


def reasons(found: Import) -> dict[str, str]:
    return {refused.name: refused.reason for refused in found.refused}


def noted(found: Import) -> list[str]:
    return [note.name for note in found.notes]


def adds_up(found: Import) -> bool:
    taken = [name for ready in found.referrals for name in ready.made_of]
    set_aside = sum(note.resources for note in found.notes)
    return found.read == len(taken) + len(found.refused) + set_aside and len(taken) == len(set(taken))


def phone(value, **changes):
    return {"system": "phone", "value": value} | changes


def email(value, **changes):
    return {"system": "email", "value": value} | changes
