"""The platform as a whole: running it, preparing it, looking at it."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stepway_chassis import migrations, republishing
from stepway_chassis.broker import ensure_stream
from stepway_cli import report, secret_files, sites, status, trace
from stepway_cli.bring_up import migrations_of
from stepway_cli.commands.options import AnySite, AsJson, Run, Site
from stepway_cli.commands.sites import named, spread
from stepway_cli.commands.terminal import chosen, out, show
from stepway_cli.demo.run import run_demo
from stepway_cli.place import place
from stepway_cli.services import SERVICES
from stepway_cli.up import run_up

SITES = Path("deploy/sites")

app = typer.Typer()


@app.command()
def up(
    sites_folder: Annotated[Path, typer.Option("--sites", help="Files of sites to register.")] = SITES,
    cells: Annotated[list[str] | None, typer.Option("--cell", help="Another cell of a service: intake@west.")] = None,
    run: Run = "up",
) -> None:
    """Run the platform on this machine until Ctrl-C; a second start keeps the data."""
    for cell in cells or ():
        service, _, name = cell.partition("@")
        chosen(service or cell)
        named(name)
    run_up(run, sites.read_sites([sites_folder]), out, tuple(cells or ()))


@app.command()
def demo(
    referrals_folder: Annotated[Path | None, typer.Option("--referrals", help="FHIR R4 files to import.")] = None,
    answers_file: Annotated[Path | None, typer.Option("--answers", help="CSV, one person a row.")] = None,
    sites_folder: Annotated[Path, typer.Option("--sites", help="Files of two sites.")] = SITES,
    run: Run = "demo",
) -> None:
    """The whole journey on two sites, then a table of the promises it has checked."""
    run_demo(run, referrals_folder, answers_file, sites.read_sites([sites_folder]), out)


@app.command()
def migrate(run: Run = "up") -> None:
    """Bring the stream and every database to the newest version; run once, before the services start."""
    where = place(run)
    asyncio.run(ensure_stream(*where.nats_admin()))
    for service in SERVICES:
        asyncio.run(migrations.upgrade(where.database_url(service, "owner"), migrations_of(service)))
        out.print(f"{service}: migrated")
    spread(where)


@app.command("secrets")
def make_secrets(folder: Annotated[Path, typer.Argument(help="An empty folder, or one to make.")]) -> None:
    """Make the passwords and keys that compose.yaml mounts; what exists is never overwritten."""
    secret_files.make(folder)
    out.print(f"{folder}: made; keep it off backups that others read")


@app.command()
def token(
    role: Annotated[str, typer.Argument(help="front_desk, clinician, site_lead, patient or family_member")],
    site: Site,
    subject: Annotated[str, typer.Option(help="Whom the token speaks for; of a patient, their id.")] = "",
    hours: Annotated[float, typer.Option(help="How long it is valid.", min=0.01, max=24 * 7)] = 8,
    run: Run = "up",
) -> None:
    """A token of the local issuer, for trying things out; real people get theirs from the clinic's OIDC issuer."""
    lifetime = timedelta(hours=hours)
    print(place(run).token(site, role, subject=subject, lifetime=lifetime))


@app.command("trace")
def show_trace(
    wanted: Annotated[str, typer.Argument(help="A trace id, the beginning of one, or latest.")] = "latest",
    detail: Annotated[bool, typer.Option(help="Every statement on a line of its own.")] = False,
    as_json: AsJson = False,
    run: Run = "up",
) -> None:
    """The waterfall of one trace across services."""
    spans = trace.load(place(run).folder())
    found = trace.find(spans, wanted)
    if as_json:
        print(trace.as_json(found))
        return
    Console(highlight=False).print(trace.waterfall(found, detail=detail))
    for later in trace.continued_in(spans, found[0].trace_id):
        out.print(f"continued in trace {later}")


@app.command("status")
def show_status(
    site: AnySite = "",
    as_json: AsJson = False,
    run: Run = "up",
) -> None:
    """Every service at every site on one screen. Ends with 1 if anything is not well: docs/operations.md says what."""
    seen = asyncio.run(status.look(place(run), site=site))
    if as_json:
        print(json.dumps(report.status_json(seen), indent=2))
    else:
        out.print(report.status_screen(seen))
    if not seen.well:
        raise typer.Exit(1)


@app.command("outbox")
def show_outbox(as_json: AsJson = False, run: Run = "up") -> None:
    """What waits for the stream at each site, and since when; nothing is the good answer."""
    where = place(run)
    rows = [
        {"service": service, **row}
        for service in SERVICES
        for row in asyncio.run(republishing.waiting(where.database_url(service, "relay")))
    ]
    show(rows, as_json)
