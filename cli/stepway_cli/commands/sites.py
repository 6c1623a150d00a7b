"""`stepway sites`: the register of sites."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from stepway_cli import moves, sites, spreading
from stepway_cli.commands.options import AsJson, Run
from stepway_cli.commands.terminal import chosen, out, show
from stepway_cli.local.health import serves
from stepway_cli.place import Place, place
from stepway_cli.services import SERVICES
from stepway_cli.sites import SiteError

app = typer.Typer(no_args_is_help=True, help="The register of sites.")


@app.command("apply")
def apply_sites(
    paths: Annotated[list[Path], typer.Argument(help="Files of sites, or folders of them.")], run: Run = "up"
) -> None:
    """Register sites in every service's database; takes only what is newer than what is there."""
    where, records = place(run), sites.read_sites(paths)
    for service in SERVICES:
        for site, became in asyncio.run(sites.apply(where.database_url(service, "registrar"), records)).items():
            out.print(f"{service}: {site} {became}")
    spread(where)


@app.command("move")
def move_site(
    site: Annotated[str, typer.Argument(help="The site to move.")],
    service: Annotated[str, typer.Option(help="The service that goes on for it elsewhere.")],
    cell: Annotated[str, typer.Option(help="The cell that is to run it; `shared` is the one without a name.")],
    run: Run = "up",
) -> None:
    """Give a site to another cell of a service, under load; whoever asks the old one is told where to ask."""
    chosen(service)
    where, name = place(run), named(cell)
    address = where.addresses().get(service if name == "shared" else f"{service}@{name}")
    if address is None or not serves(address):
        raise SiteError(
            f"nobody serves {service} in cell {name}: start it first (`stepway up --cell {service}@{name}`)"
        )
    moved = asyncio.run(moves.move(where.database_url(service, "registrar"), site, name))
    spread(where, service)
    out.print(f"{service}: {site} is in cell {moved.cell} (epoch {moved.epoch}); it was in {moved.before}")


@app.command("list")
def list_sites(as_json: AsJson = False, run: Run = "up") -> None:
    """What is registered, service by service."""
    where = place(run)
    rows = [
        {"service": service, **row}
        for service in SERVICES
        for row in asyncio.run(sites.listed(where.database_url(service, "registrar")))
    ]
    show(rows, as_json)


def named(cell: str) -> str:
    """Raises SiteError for what cannot be the name of a cell."""
    if not sites.NAME.fullmatch(cell):
        raise SiteError("a cell's name is two to thirty-one lower-case letters, digits and hyphens, a letter first")
    return cell


def spread(where: Place, service: str = "") -> None:
    rows = {name: asyncio.run(sites.listed(where.database_url(name, "registrar"))) for name in chosen(service)}
    if not asyncio.run(spreading.spread(where.nats_admin(), rows)):
        out.print(
            "NATS does not answer: the services see the register within seconds all the same;"
            " the bucket SITES shows it after the next `stepway migrate`, `sites apply` or `sites move`"
        )
