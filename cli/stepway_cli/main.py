"""The stepway command: each subcommand reads its arguments, does one thing, and says what came of it."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import nats.errors
import typer
from rich.console import Console
from sqlalchemy.exc import DBAPIError

from stepway_chassis import logs, migrations, republishing
from stepway_chassis.broker import ensure_stream
from stepway_chassis.errors import PeerFailed, Refusal
from stepway_chassis.seals import SealKeys
from stepway_chassis.watched import LOOK_SECONDS
from stepway_cli import (
    audits,
    catalogue,
    letters,
    looking,
    moves,
    referrals,
    report,
    secret_files,
    sites,
    spreading,
    status,
    stream,
    trace,
)
from stepway_cli.bring_up import migrations_of
from stepway_cli.caller import calling
from stepway_cli.demo.run import Failed, run_demo
from stepway_cli.fhir.referrals import read_referrals
from stepway_cli.local.errors import LocalError
from stepway_cli.local.health import serves
from stepway_cli.moments import moment
from stepway_cli.place import LocalRun, Place, PlaceError, place
from stepway_cli.services import SERVICES
from stepway_cli.sites import SiteError
from stepway_cli.tokens import PEOPLE, KeyFolder
from stepway_cli.up import run_up

SITES = Path("deploy/sites")
BELIEVED_SECONDS = 2 * LOOK_SECONDS  # by then every service has seen a new key
EXPECTED = (
    LocalError,
    PlaceError,
    SiteError,
    Refusal,
    PeerFailed,
    Failed,
    secret_files.SecretsExist,
    stream.NoStream,
    referrals.Unreadable,
    trace.TraceNotFound,
    trace.TraceAmbiguous,
)

Run = Annotated[str, typer.Option(help="The run of this machine to act on.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
Site = Annotated[str, typer.Option(help="The site to act at.")]
Since = Annotated[datetime | None, typer.Option(parser=moment, metavar="TIME", help="2h ago, or a time.")]
KeyName = Annotated[str, typer.Argument(help="A service, or `people` for the local issuer.")]
Keys = Annotated[Path | None, typer.Option("--folder", help="A folder of keys, instead of the run's.")]
Service = Annotated[str, typer.Option(help="One service; all of them if left out.")]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Run Stepway and talk to it.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
sites_app = typer.Typer(no_args_is_help=True, help="The register of sites.")
import_app = typer.Typer(no_args_is_help=True, help="Take in what others have sent.")
letters_app = typer.Typer(no_args_is_help=True, help="Events that could not be applied or published.")
events_app = typer.Typer(no_args_is_help=True, help="What is on the stream.")
keys_app = typer.Typer(no_args_is_help=True, help="What signs tokens.")
audit_app = typer.Typer(no_args_is_help=True, help="Who did what to whose record.")
app.add_typer(sites_app, name="sites")
app.add_typer(import_app, name="import")
app.add_typer(letters_app, name="dead-letters")
app.add_typer(events_app, name="events")
app.add_typer(audit_app, name="audit")
app.add_typer(keys_app, name="keys")
out = Console(highlight=False, soft_wrap=True)


def main() -> None:
    """Every expected error is one clear line on stderr and exit code 1."""
    logs.configure("cli")
    try:
        app(standalone_mode=True)
    except EXPECTED as error:
        sys.exit(f"stepway: {error}")
    except (ConnectionError, TimeoutError, asyncpg.PostgresError, DBAPIError, nats.errors.Error) as error:
        sys.exit(f"stepway: a server does not answer as it should ({type(error).__name__}); is Stepway running?")
    except OSError as error:
        sys.exit(f"stepway: {error.strerror or type(error).__name__}")


@app.command()
def up(
    sites_folder: Annotated[Path, typer.Option("--sites", help="Files of sites to register.")] = SITES,
    cells: Annotated[list[str] | None, typer.Option("--cell", help="Another cell of a service: intake@west.")] = None,
    run: Run = "up",
) -> None:
    """Run the platform on this machine until Ctrl-C; a second start keeps the data."""
    for cell in cells or ():
        service, _, name = cell.partition("@")
        _chosen(service or cell)
        _named(name)
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
    _run(ensure_stream(*where.nats_admin()))
    for service in SERVICES:
        _run(migrations.upgrade(where.database_url(service, "owner"), migrations_of(service)))
        out.print(f"{service}: migrated")
    _spread(where)


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


@sites_app.command("apply")
def apply_sites(
    paths: Annotated[list[Path], typer.Argument(help="Files of sites, or folders of them.")], run: Run = "up"
) -> None:
    """Register sites in every service's database; takes only what is newer than what is there."""
    where, records = place(run), sites.read_sites(paths)
    for service in SERVICES:
        for site, became in _run(sites.apply(where.database_url(service, "registrar"), records)).items():
            out.print(f"{service}: {site} {became}")
    _spread(where)


@sites_app.command("move")
def move_site(
    site: Annotated[str, typer.Argument(help="The site to move.")],
    service: Annotated[str, typer.Option(help="The service that goes on for it elsewhere.")],
    cell: Annotated[str, typer.Option(help="The cell that is to run it; `shared` is the one without a name.")],
    run: Run = "up",
) -> None:
    """Give a site to another cell of a service, under load; whoever asks the old one is told where to ask."""
    _chosen(service)
    where, name = place(run), _named(cell)
    address = where.addresses().get(service if name == "shared" else f"{service}@{name}")
    if address is None or not serves(address):
        raise SiteError(
            f"nobody serves {service} in cell {name}: start it first (`stepway up --cell {service}@{name}`)"
        )
    moved = _run(moves.move(where.database_url(service, "registrar"), site, name))
    _spread(where, service)
    out.print(f"{service}: {site} is in cell {moved.cell} (epoch {moved.epoch}); it was in {moved.before}")


@sites_app.command("list")
def list_sites(as_json: AsJson = False, run: Run = "up") -> None:
    """What is registered, service by service."""
    where = place(run)
    rows = [
        {"service": service, **row}
        for service in SERVICES
        for row in _run(sites.listed(where.database_url(service, "registrar")))
    ]
    _show(rows, as_json)


@import_app.command("referral")
def import_referral(
    paths: Annotated[list[Path], typer.Argument(help="FHIR R4 JSON files, or folders of them.")],
    site: Site,
    as_json: AsJson = False,
    run: Run = "up",
) -> None:
    """Import FHIR R4 referrals: Patient, ServiceRequest or none, RelatedPerson. Ends with 1 if anything is refused."""
    reading = read_referrals(referrals.documents(paths), today=datetime.now(UTC).date())
    where = place(run)

    async def send() -> list[referrals.Sent]:
        async with calling(where.addresses(), where.token(site, "front_desk"), where.folder()) as peers:
            return await referrals.send(lambda _: peers, [(site, ready) for ready in reading.referrals])

    sent = _run(send()) if reading.referrals else []
    account = report.of_import(reading, sent)
    if as_json:
        print(json.dumps(asdict(account), indent=2))
    else:
        out.print(report.import_tables(account))
    if account.refused:
        raise typer.Exit(1)


@letters_app.command("list")
def list_letters(site: Site, as_json: AsJson = False, run: Run = "up") -> None:
    """Events that a consumer could not apply, and aggregates whose events the stream refuses, one a line."""
    where = place(run)
    rows = [
        row
        for service in SERVICES
        for row in _run(letters.listed(where.database_url(service, "keeper"), service, site))
    ]
    _list(rows, report.letter, as_json)


@letters_app.command("retry")
def retry_letter(
    service: Annotated[str, typer.Argument(help="The service that keeps the letter.")],
    letter: Annotated[UUID, typer.Argument(help="Its id.")],
    site: Site,
    run: Run = "up",
) -> None:
    """Have the service try a dead letter again, or publish a blocked aggregate again."""
    _chosen(service)
    print(_run(letters.retry(place(run).database_url(service, "keeper"), service, site, letter)))


@events_app.command("tail")
def tail_events(
    site: Annotated[str, typer.Option(help="One site; all of them if left out.")] = "",
    service: Service = "",
    event: Annotated[str, typer.Option(help="One event, for example patient_admitted.")] = "",
    since: Since = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    as_json: AsJson = False,
    run: Run = "up",
) -> None:
    """Events in the order of the stream, one a line; --json prints each as CloudEvents JSON."""
    shown = stream.structured if as_json else stream.line
    _chosen(service)
    if event and event not in catalogue.tokens():
        raise typer.BadParameter("no such event; `stepway events catalogue` has them", param_hint="--event")
    wanted = stream.subject(site, service, event)

    async def tail() -> None:
        found = False
        async for each in stream.stored(stream.Admin(*place(run).nats_admin()), wanted, since=since, follow=follow):
            print(shown(each), flush=True)
            found = True
        if not found:
            print("nothing on the stream matches", file=sys.stderr)

    with suppress(KeyboardInterrupt, BrokenPipeError):
        _run(tail())


@events_app.command("republish")
def republish_events(
    since: Annotated[datetime, typer.Option(parser=moment, metavar="TIME", help="2h ago, or a time.")],
    dry_run: Annotated[bool, typer.Option(help="Only count.")] = False,
    as_json: AsJson = False,
    run: Run = "up",
) -> None:
    """Send again, under the same ids, what the outboxes have published since then and the stream has lost.

    After a stream was lost or restored; if it is gone, `stepway migrate` makes it first. Where the stream holds later
    events of a record, the earlier ones come behind them: consumers are indifferent to that. Run it again until it
    finds nothing missing: an event may be marked as published just after it was lost.
    """
    where = place(run)
    relays = {service: where.database_url(service, "relay") for service in SERVICES}
    done = _run(stream.republish(stream.Admin(*where.nats_admin()), relays, since, dry_run=dry_run))
    _show([asdict(each) for each in done], as_json)


@events_app.command("catalogue")
def show_catalogue() -> None:
    """Every event, its fields and who listens, as Markdown; docs/event-catalogue.md is this."""
    print(catalogue.page(), end="")


@app.command("status")
def show_status(
    site: Annotated[str, typer.Option(help="One site; all of them if left out.")] = "",
    as_json: AsJson = False,
    run: Run = "up",
) -> None:
    """Every service at every site on one screen. Ends with 1 if anything is not well: docs/operations.md says what."""
    seen = _run(status.look(place(run), site=site))
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
        for row in _run(republishing.waiting(where.database_url(service, "relay")))
    ]
    _show(rows, as_json)


@audit_app.command("list")
def list_audit(
    site: Site,
    service: Service = "",
    person: Annotated[UUID | None, typer.Option(help="Whose record.")] = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=10_000)] = 50,
    as_json: AsJson = False,
    run: Run = "up",
) -> None:
    """Who did what to whose record and with which outcome, one a line, the newest first. This look is audited too."""
    where = place(run)
    found = [
        row
        for name in _chosen(service)
        for row in _run(
            looking.at_audit(where.database_url(name, "app"), name, site, person=person, since=since, limit=limit)
        )
    ]
    newest = sorted(found, key=lambda row: row["at"], reverse=True)[:limit]
    _list(newest, report.audited, as_json)


@keys_app.command("rotate")
def rotate_key(name: KeyName, folder: Keys = None, run: Run = "up") -> None:
    """Have every service believe a new key, then sign with it; the old one is believed until it is retired."""
    made = _keys(folder, run).rotate(_key_name(name), believed=lambda: time.sleep(BELIEVED_SECONDS))
    out.print(f"{name} signs with {made}; retire the old one when no token of it is left")


@keys_app.command("retire")
def retire_key(name: KeyName, folder: Keys = None, run: Run = "up") -> None:
    """Believe none but the present key: tokens that an older one has signed are refused within a second."""
    retired = _keys(folder, run).retire(_key_name(name))
    out.print(f"{name}: retired {', '.join(retired) or 'nothing'}")


def _keys(folder: Path | None, run: str) -> KeyFolder:
    return KeyFolder(folder or LocalRun(run).folder() / "keys")


def _key_name(name: str) -> str:
    """Raises PlaceError."""
    if name not in (PEOPLE, *SERVICES):
        raise PlaceError(f"no such key; one of {', '.join((PEOPLE, *SERVICES))}")
    return name


@audit_app.command("verify")
def verify_audit(
    site: Annotated[str, typer.Option(help="One site; all of them if left out.")] = "",
    service: Service = "",
    as_json: AsJson = False,
    run: Run = "up",
) -> None:
    """Whether the audit is still what was sealed: rows, chain, signatures, stream. Ends with 1 if it was tampered with.

    Says how much is not sealed yet: of that, nobody can tell.
    """
    where = place(run)
    keepers = {name: where.database_url(name, "keeper") for name in _chosen(service)}
    found = _run(audits.verify(keepers, stream.Admin(*where.nats_admin()), SealKeys(where.jwks()), site))
    if as_json:
        print(audits.as_json(found))
    else:
        out.print(report.table(audits.summary(found.accounts)))
        print("\n".join(audits.lines(found)) or "nothing was touched")
    if found.touched:
        raise typer.Exit(1)


def _chosen(service: str) -> tuple[str, ...]:
    """That one, or all. Raises PlaceError."""
    if service and service not in SERVICES:
        raise PlaceError(f"no such service; one of {', '.join(SERVICES)}")
    return (service,) if service else SERVICES


def _named(cell: str) -> str:
    """Raises SiteError for what cannot be the name of a cell."""
    if not sites.NAME.fullmatch(cell):
        raise SiteError("a cell's name is two to thirty-one lower-case letters, digits and hyphens, a letter first")
    return cell


def _spread(where: Place, service: str = "") -> None:
    rows = {name: _run(sites.listed(where.database_url(name, "registrar"))) for name in _chosen(service)}
    if not _run(spreading.spread(where.nats_admin(), rows)):
        out.print("NATS does not answer: the services see the register with their next reading, within seconds")


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=2, default=str))
    else:
        out.print(report.table(rows))


def _list(rows: list[dict[str, Any]], line: Callable[[Mapping[str, Any]], str], as_json: bool) -> None:
    """One a line, each as wide as it is."""
    if as_json or not rows:
        _show(rows, as_json)
    else:
        print("\n".join(map(line, rows)))
