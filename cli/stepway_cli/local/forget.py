"""python -m stepway_cli.local.forget FOLDER...: deletes runs, with data that lies outside their folders."""

import shutil
import sys
from pathlib import Path

from stepway_cli.local.errors import LocalError
from stepway_cli.local.folder import RunFolder
from stepway_cli.local.postgres import PostgresServer


def forget(path: Path) -> None:
    """Raises FolderInUse when somebody still runs there."""
    with RunFolder(path) as folder:
        PostgresServer(folder).remove()
        shutil.rmtree(path)


if __name__ == "__main__":
    try:
        for argument in sys.argv[1:]:
            forget(Path(argument))
    except LocalError as error:
        sys.exit(f"stepway: {error}")
