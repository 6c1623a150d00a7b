"""`stepway up`: the platform on this machine, until somebody asks it to stop."""

import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from rich.console import Console

from stepway_cli.bring_up import bring_up
from stepway_cli.local.platform import Platform
from stepway_cli.place import folder_of
from stepway_cli.services import SERVICES
from stepway_cli.sites import SiteRecord
from stepway_cli.tokens import mint

ROLES = ("front_desk", "clinician", "site_lead")
TOKEN_LIFE = timedelta(hours=12)
LOOK_SECONDS = 2.0
NEWEST_PATIENT = "SELECT id FROM patient WHERE site = '{site}' ORDER BY id DESC LIMIT 1"


def run_up(run: str, records: Sequence[SiteRecord], out: Console, cells: tuple[str, ...] = ()) -> None:
    """Until Ctrl-C or SIGTERM, which are heard while it starts, too."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    platform = Platform(folder_of(run), say=lambda step: out.print(f"  {step}"))
    try:
        out.print("Starting Stepway; Ctrl-C stops it")
        bring_up(platform, records, *cells)
        _introduce(platform, records, out)
        while True:
            time.sleep(LOOK_SECONDS)
            _look_after(platform, out)
    except KeyboardInterrupt:
        out.print("Stopping")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # once is enough
        platform.stop()
    out.print(f"Stopped; the data is kept for the next start of {folder_of(run)}")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _look_after(platform: Platform, out: Console) -> None:
    """What has ended by itself is started again, servers first."""
    for name in ("postgres", "nats", "smtp", *SERVICES, *platform.cells):
        if not platform.process(name).alive:
            out.print(f"{name} ended by itself (see {platform.folder.path}/logs); starting it again")
            platform.process(name).start()


def _introduce(platform: Platform, records: Sequence[SiteRecord], out: Console) -> None:
    address, user, _ = platform.nats_admin
    first, now = records[0].site, datetime.now(UTC)
    out.print("\n[bold]Stepway is up.[/] It listens on")
    for name, where in platform.addresses.items():
        metrics = f"http://{platform.metrics_address(name)}/metrics"
        out.print(f"  {name:22} {where}  (gRPC, with reflection)  {metrics}")
    password = f"password nats_admin in {platform.folder.path}/secrets.json"
    out.print(f"  {'NATS':14} {address}  (user {user}, {password}; stream EVENTS)")
    out.print(f"  {'texts':14} {platform.texts}\n  {'emails':14} {platform.mails}")
    out.print(f"\nTokens for {first}, valid for 12 hours:")
    for role in ROLES:
        subject = records[0].settings["on_call"][0]["clinician"] if role == "clinician" else f"{role}-{first}"
        key = platform.keys.people_key()
        out.print(f"  {role}:\n{mint(key, subject, grants={first: [role]}, now=now, lifetime=TOKEN_LIFE)}")
    out.print(f"  patient (their own record alone):\n{_patient_token(platform, first, now)}")
    out.print("\nTry, in another terminal:")
    out.print(f"  .venv/bin/stepway import referral cli/stepway_cli/demo_data/referrals --site {first}")
    out.print("  .venv/bin/stepway trace latest")
    out.print("  .venv/bin/stepway status")
    out.print("  .venv/bin/stepway sites list\n")


def _patient_token(platform: Platform, site: str, now: datetime) -> str:
    """Of the newest patient, if there is one yet."""
    found = platform.postgres.query(NEWEST_PATIENT.format(site=site), database="stepway_intake")
    if not found:
        return f".venv/bin/stepway token patient --site {site} --subject PATIENT_ID   # once there is a patient"
    key = platform.keys.people_key()
    return mint(key, found[0]["id"], kind="patient", grants={site: ["patient"]}, now=now, lifetime=TOKEN_LIFE)
