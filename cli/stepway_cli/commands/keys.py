"""`stepway keys`: what signs tokens."""

import time
from pathlib import Path
from typing import Annotated

import typer

from stepway_chassis.watched import LOOK_SECONDS
from stepway_cli.commands.options import Run
from stepway_cli.commands.terminal import out
from stepway_cli.place import LocalRun, PlaceError
from stepway_cli.services import SERVICES
from stepway_cli.tokens import PEOPLE, KeyFolder

BELIEVED_SECONDS = 2 * LOOK_SECONDS  # by then every service has seen a new key

KeyName = Annotated[str, typer.Argument(help="A service, or `people` for the local issuer.")]
Keys = Annotated[Path | None, typer.Option("--folder", help="A folder of keys, instead of the run's.")]

app = typer.Typer(no_args_is_help=True, help="What signs tokens.")


@app.command("rotate")
def rotate_key(name: KeyName, folder: Keys = None, run: Run = "up") -> None:
    """Have every service believe a new key, then sign with it; the old one is believed until it is retired."""
    made = _keys(folder, run).rotate(_key_name(name), believed=lambda: time.sleep(BELIEVED_SECONDS))
    out.print(f"{name} signs with {made}; retire the old one when no token of it is left")


@app.command("retire")
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
