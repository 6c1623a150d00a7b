"""make bench: every part in turn, a table, and .stepway/bench/latest.json. QUICK=1 for one short round, ONLY=part."""

import json
import os
import sys
import time
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from tests.bench import machine, report
from tests.bench.figures import Findings
from tests.bench.parts import (
    calls,
    consents,
    events,
    imports,
    latency,
    many_sites,
    noisy_site,
    protections,
    recordings,
    rest,
    work,
)
from tests.bench.stand import Stand
from tests.data import REPOSITORY

PARTS = {
    "rest": rest.measure,  # first, while there is no backlog that a service could be busy with
    "calls": calls.measure,
    "latency": latency.measure,
    "events": events.measure,
    "sites": many_sites.measure,
    "noisy": noisy_site.measure,
    "protections": protections.measure,
    "recordings": recordings.measure,
    "consents": consents.measure,
    "imports": imports.measure,
    "work": work.measure,  # last: from then on 200 sites have something to do
}
RUNS = REPOSITORY / ".stepway"
ROUNDS, SECONDS = 5, 2.5
QUICK_ROUNDS, QUICK_SECONDS = 2, 1.0


def main() -> None:
    quick, only = bool(os.environ.get("QUICK")), os.environ.get("ONLY", "")
    if only and only not in PARTS:
        sys.exit(f"ONLY is one of {', '.join(PARTS)}")
    console, began = Console(width=None if sys.stdout.isatty() else 140), time.monotonic()
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    facts = {"at": datetime.now(UTC).isoformat(), **machine.facts(), "rounds": rounds, "seconds a round": seconds}
    found: dict[str, Findings] = {}
    try:
        with Stand(RUNS / f"bench-{os.getpid()}", rounds=rounds, seconds=seconds, say=console.print) as stand:
            for part in [only] if only else PARTS:
                console.print(f"Measuring {part}")
                found[part] = PARTS[part](stand)
    finally:  # what was measured is told also when a later part fails
        if found:
            for table in report.tables(found):
                console.print(table)
            _keep(report.document(found, {**facts, "parts": [*found], "seconds": round(time.monotonic() - began)}))


def _keep(document: dict[str, Any]) -> None:
    file = RUNS / "bench" / "latest.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"Kept in {file.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
