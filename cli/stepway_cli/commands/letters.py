"""`stepway dead-letters`: events that could not be applied or published."""

import asyncio
from typing import Annotated
from uuid import UUID

import typer

from stepway_cli import letters, report
from stepway_cli.commands.options import AsJson, Run, Site
from stepway_cli.commands.terminal import chosen, show_lines
from stepway_cli.place import place
from stepway_cli.services import SERVICES

app = typer.Typer(no_args_is_help=True, help="Events that could not be applied or published.")


@app.command("list")
def list_letters(site: Site, as_json: AsJson = False, run: Run = "up") -> None:
    """Events that a consumer could not apply, and aggregates whose events the stream refuses, one a line."""
    where = place(run)
    rows = [
        row
        for service in SERVICES
        for row in asyncio.run(letters.listed(where.database_url(service, "keeper"), service, site))
    ]
    show_lines(rows, report.letter, as_json)


@app.command("retry")
def retry_letter(
    service: Annotated[str, typer.Argument(help="The service that keeps the letter.")],
    letter: Annotated[UUID, typer.Argument(help="Its id.")],
    site: Site,
    run: Run = "up",
) -> None:
    """Have the service try a dead letter again, or publish a blocked aggregate again."""
    chosen(service)
    print(asyncio.run(letters.retry(place(run).database_url(service, "keeper"), service, site, letter)))
