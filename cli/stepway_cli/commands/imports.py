"""`stepway import`: what others have sent."""

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from stepway_cli import referrals, report
from stepway_cli.caller import calling
from stepway_cli.commands.options import AsJson, Run, Site
from stepway_cli.commands.terminal import out
from stepway_cli.fhir.referrals import read_referrals
from stepway_cli.place import place

app = typer.Typer(no_args_is_help=True, help="Take in what others have sent.")


@app.command("referral")
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

    sent = asyncio.run(send()) if reading.referrals else []
    account = report.of_import(reading, sent)
    if as_json:
        print(json.dumps(asdict(account), indent=2))
    else:
        out.print(report.import_tables(account))
    if account.refused:
        raise typer.Exit(1)
