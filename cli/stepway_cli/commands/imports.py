"""`stepway import`: what others have sent."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from stepway.intake.v1.assessment_pb2 import Instrument
from stepway_chassis.errors import InvalidInput
from stepway_cli.commands.options import AsJson, Run, Site
from stepway_cli.commands.terminal import out
from stepway_cli.importing import telling
from stepway_cli.importing.account import Account
from stepway_cli.importing.run import INTERRUPTED, Plan, import_fhir, import_rows
from stepway_cli.instruments import in_contract
from stepway_cli.moments import moment
from stepway_cli.place import place
from stepway_cli.times import Times
from stepway_intake.instruments.catalogue import find

app = typer.Typer(no_args_is_help=True, help="Take in what others have sent; the same record again changes nothing.")

BY_CTRL_C = 130
Files = Annotated[list[Path], typer.Argument(help="FHIR R4 files (JSON, XML, NDJSON), or folders of them.")]
Tables = Annotated[list[Path], typer.Argument(help="CSV files, one person a row.")]
Source = Annotated[str, typer.Option(help="Who sends it, always the same name: by it a changed record is known.")]
Versions = Annotated[
    list[str] | None,
    typer.Option("--version", metavar="INSTRUMENT=VERSION", help="Of an instrument, unless it is the site's."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing, and say what would happen.")]
Report = Annotated[Path | None, typer.Option(help="Write a JSON file of what became of every row; nothing private.")]
Answered = Annotated[str, typer.Option(metavar="TIME", help="When answers were given that do not say.")]
Zone = Annotated[str, typer.Option(help="Of times that name no zone, for example America/New_York.")]


@app.command("referral")
def import_referral(
    paths: Files,
    site: Site,
    source: Source = "",
    dry_run: DryRun = False,
    report: Report = None,
    as_json: AsJson = False,
    run: Run = "up",
) -> None:
    """Import FHIR R4 referrals: Patient, ServiceRequest or none, RelatedPerson. Ends with 1 if anything is refused."""
    plan = Plan(site, Times(datetime.now(UTC)), source, dry_run=dry_run, with_answers=False)
    _tell(import_fhir(plan, paths, place(run)), report, as_json)


@app.command("fhir")
def import_all(
    paths: Files,
    site: Site,
    source: Source = "",
    answered: Answered = "",
    zone: Zone = "",
    version: Versions = None,
    dry_run: DryRun = False,
    report: Report = None,
    as_json: AsJson = False,
    run: Run = "up",
) -> None:
    """Import FHIR R4 referrals with answers: QuestionnaireResponses and panels of Observations too."""
    plan = Plan(site, _times(zone, answered), source, _versions(version), dry_run)
    _tell(import_fhir(plan, paths, place(run)), report, as_json)


@app.command("answers")
def import_answers(
    paths: Tables,
    site: Site,
    answered: Answered = "",
    zone: Zone = "",
    version: Versions = None,
    dry_run: DryRun = False,
    report: Report = None,
    as_json: AsJson = False,
    run: Run = "up",
) -> None:
    """Import answers from CSV; a row that names no referral_id becomes a nameless referral."""
    plan = Plan(site, _times(zone, answered), versions=_versions(version), dry_run=dry_run)
    _tell(import_rows(plan, paths, place(run)), report, as_json)


def _times(zone: str, answered: str) -> Times:
    """Raises BadParameter."""
    try:
        times = Times(datetime.now(UTC), ZoneInfo(zone) if zone else None)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise typer.BadParameter("write an IANA time zone, for example America/New_York", param_hint="--zone") from None
    return replace(times, otherwise=moment(answered, times.read)) if answered else times


def _versions(named: list[str] | None) -> dict[Instrument, str]:
    """Raises BadParameter."""
    try:
        pairs = [each.split("=") for each in named or ()]
        return {in_contract(find(name, version)): version for name, version in pairs}
    except (ValueError, KeyError, InvalidInput):
        raise typer.BadParameter("write for example whodas-12=1-to-5", param_hint="--version") from None


def _tell(account: Account, report: Path | None, as_json: bool) -> None:
    if report:
        telling.write(report, account)
    if as_json:
        print(json.dumps(telling.for_scripts(account), indent=2))
    else:
        out.print(telling.tables(account))
    if account.stopped == INTERRUPTED:
        raise typer.Exit(BY_CTRL_C)
    if account.refused or account.stopped:
        raise typer.Exit(1)
