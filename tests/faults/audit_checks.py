"""What holds of the audit: whatever a service does by itself to somebody's record stands there once."""

from collections import Counter
from collections.abc import Iterable, Iterator

from tests.faults.observed import Observed, Row


def faults(seen: Observed) -> Iterator[str]:
    messages, family = seen.tables["notifications"], seen.tables["family"]
    pages = [row for row in messages["message"] if row["escalation_id"]]
    others = [row for row in messages["message"] if not row["escalation_id"]]
    climbs = [row for row in messages["escalation"] for _ in range(1, row["pages"])]
    yield from _once(seen, "family", "inviting", family["invitation"])
    yield from _once(seen, "notifications", "sending/delivered", _delivered(others))
    yield from _once(seen, "notifications", "paging/delivered", _delivered(pages))
    yield from _once(seen, "notifications", "escalating", climbs)
    noted = _done(seen, "intake", "watchdog")
    for flag in seen.tables["intake"]["risk_flag"]:
        if flag["paged_at"] and not noted[flag["patient_id"]]:
            yield f"flag {flag['id']}: that it was paged is not in the audit"


def _delivered(rows: Iterable[Row]) -> Iterator[Row]:
    return (row for row in rows if row["status"] == "delivered")


def _once(seen: Observed, service: str, action: str, rows: Iterable[Row]) -> Iterator[str]:
    there, audited = Counter(row["patient_id"] for row in rows), _done(seen, service, action)
    for patient in there.keys() | audited.keys():
        if there[patient] != audited[patient]:
            yield f"patient {patient}: {action} happened {there[patient]} times, audited {audited[patient]} times"


def _done(seen: Observed, service: str, action: str) -> Counter[str]:
    """How often the audit says so of each person."""
    rows = seen.tables[service]["audit"]
    done = (row["people"] for row in rows if (row["action"], row["outcome"]) == (action, "DONE"))
    return Counter(person for people in done for person in people)
