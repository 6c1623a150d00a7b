"""What several commands may be told."""

from datetime import datetime
from typing import Annotated

import typer

from stepway_cli.moments import moment

Run = Annotated[str, typer.Option(help="The run of this machine to act on.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
Site = Annotated[str, typer.Option(help="The site to act at.")]
AnySite = Annotated[str, typer.Option("--site", help="One site; all of them if left out.")]
Service = Annotated[str, typer.Option(help="One service; all of them if left out.")]
Since = Annotated[datetime | None, typer.Option(parser=moment, metavar="TIME", help="2h ago, or a time.")]
