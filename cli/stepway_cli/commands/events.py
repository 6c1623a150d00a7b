"""`stepway events`: what is on the stream."""

import asyncio
import sys
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from stepway_cli import catalogue, stream
from stepway_cli.commands.options import AnySite, AsJson, Run, Service, Since
from stepway_cli.commands.terminal import chosen, show
from stepway_cli.moments import moment
from stepway_cli.place import place
from stepway_cli.services import SERVICES

app = typer.Typer(no_args_is_help=True, help="What is on the stream.")


@app.command("tail")
def tail_events(
    site: AnySite = "",
    service: Service = "",
    event: Annotated[str, typer.Option(help="One event, for example patient_admitted.")] = "",
    since: Since = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    as_json: AsJson = False,
    run: Run = "up",
) -> None:
    """Events in the order of the stream, one a line; --json prints each as CloudEvents JSON."""
    shown = stream.structured if as_json else stream.line
    chosen(service)
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
        asyncio.run(tail())


@app.command("republish")
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
    done = asyncio.run(stream.republish(stream.Admin(*where.nats_admin()), relays, since, dry_run=dry_run))
    show([asdict(each) for each in done], as_json)


@app.command("catalogue")
def show_catalogue() -> None:
    """Every event, its fields and who listens, as Markdown; docs/event-catalogue.md is this."""
    print(catalogue.page(), end="")
