"""`stepway audit`: who did what to whose record, and whether that is still what was written."""

import asyncio
from typing import Annotated
from uuid import UUID

import typer

from stepway_chassis.seals import SealKeys
from stepway_cli import audits, looking, report, stream
from stepway_cli.commands.options import AnySite, AsJson, Run, Service, Since, Site
from stepway_cli.commands.terminal import chosen, out, show_lines
from stepway_cli.place import place

app = typer.Typer(no_args_is_help=True, help="Who did what to whose record.")


@app.command("list")
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
        for name in chosen(service)
        for row in asyncio.run(
            looking.at_audit(where.database_url(name, "app"), name, site, person=person, since=since, limit=limit)
        )
    ]
    newest = sorted(found, key=lambda row: row["at"], reverse=True)[:limit]
    show_lines(newest, report.audited, as_json)


@app.command("verify")
def verify_audit(
    site: AnySite = "",
    service: Service = "",
    as_json: AsJson = False,
    run: Run = "up",
) -> None:
    """Whether the audit is still what was sealed: rows, chain, signatures, stream. Ends with 1 if it was tampered with.

    Says how much is not sealed yet: of that, nobody can tell.
    """
    where = place(run)
    keepers = {name: where.database_url(name, "keeper") for name in chosen(service)}
    found = asyncio.run(audits.verify(keepers, stream.Admin(*where.nats_admin()), SealKeys(where.jwks()), site))
    if as_json:
        print(audits.as_json(found))
    else:
        out.print(report.table(audits.summary(found.accounts)))
        print("\n".join(audits.lines(found)) or "nothing was touched")
    if found.touched:
        raise typer.Exit(1)
