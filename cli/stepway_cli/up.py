"""`stepway up`: the platform on this machine, until somebody asks it to stop."""

import signal
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from rich.console import Console

from stepway_cli.bring_up import bring_up
from stepway_cli.local.platform import Platform
from stepway_cli.place import RUNS, SERVICES
from stepway_cli.sites import SiteRecord
from stepway_cli.tokens import mint

ROLES = ("front_desk", "clinician", "site_lead")
TOKEN_LIFE = timedelta(hours=12)


def run_up(run: str, records: Sequence[SiteRecord], out: Console) -> None:
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    platform = Platform(RUNS / run, say=lambda step: out.print(f"  {step}"))
    try:
        out.print("Starting Stepway; Ctrl-C stops it")
        bring_up(platform, records)
        _introduce(platform, records, out)
        while not told.wait(1.0):
            _look_after(platform, out)
    finally:
        out.print("Stopping")
        platform.stop()
    out.print(f"Stopped; the data stays in {RUNS / run}")


def _look_after(platform: Platform, out: Console) -> None:
    """A service that ended by itself is started again."""
    for name in SERVICES:
        if not platform.process(name).alive:
            out.print(f"{name} ended by itself (see {platform.folder.path}/logs/{name}.log); starting it again")
            platform.process(name).start()


def _introduce(platform: Platform, records: Sequence[SiteRecord], out: Console) -> None:
    address, user, _ = platform.nats_admin
    first, now = records[0].site, datetime.now(UTC)
    out.print("\n[bold]Stepway is up.[/] It listens on")
    for name in SERVICES:
        out.print(f"  {name:14} {platform.address(name)}  (gRPC, with reflection)")
    out.print(f"  {'NATS':14} {address}  (user {user}; stream EVENTS)")
    out.print(f"  {'texts':14} {platform.texts}\n  {'emails':14} {platform.mails}")
    out.print(f"\nTokens for {first}, valid for 12 hours:")
    for role in ROLES:
        subject = records[0].settings["on_call"][0]["clinician"] if role == "clinician" else f"{role}-{first}"
        key = platform.keys.people_key()
        out.print(f"  {role}:\n{mint(key, subject, grants={first: [role]}, now=now, lifetime=TOKEN_LIFE)}")
    out.print(
        f"  patient:\n.venv/bin/stepway token patient --site {first} --subject PATIENT_ID   # their own record alone"
    )
    out.print("\nTry, in another terminal:")
    out.print(f"  .venv/bin/stepway import referral cli/stepway_cli/demo_data/referrals --site {first}")
    out.print("  .venv/bin/stepway trace latest")
    out.print("  .venv/bin/stepway sites list\n")
