"""The stepway command: its groups of commands, and every expected error as one clear line."""

import sys

import asyncpg
import nats.errors
import typer
from sqlalchemy.exc import DBAPIError

from stepway_chassis import logs
from stepway_chassis.errors import PeerFailed, Refusal
from stepway_cli import secret_files, stream, trace
from stepway_cli.commands import audit, events, imports, keys, letters, platform, sites
from stepway_cli.demo.run import Failed
from stepway_cli.importing.documents import Unreadable
from stepway_cli.local.errors import LocalError
from stepway_cli.place import PlaceError
from stepway_cli.sites import SiteError

EXPECTED = (
    LocalError,
    PlaceError,
    SiteError,
    Refusal,
    PeerFailed,
    Failed,
    secret_files.SecretsExist,
    stream.NoStream,
    Unreadable,
    trace.TraceNotFound,
    trace.TraceAmbiguous,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Run Stepway and talk to it.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(platform.app)
app.add_typer(sites.app, name="sites")
app.add_typer(imports.app, name="import")
app.add_typer(letters.app, name="dead-letters")
app.add_typer(events.app, name="events")
app.add_typer(audit.app, name="audit")
app.add_typer(keys.app, name="keys")


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
