"""The processes of a PostgreSQL data folder, found by their working directory, whoever started them."""

import contextlib
import os
import signal
import time
from pathlib import Path

_POLL = 0.02
_PROC = Path("/proc")


def signal_all(data: Path, number: signal.Signals) -> None:
    for pid in processes_in(data):
        _signal(pid, number)


def end_leftovers(data: Path, *, patience: float = 5.0) -> None:
    """Stop a postmaster that nobody supervises (or what one left behind), then take its lock file away.

    Only for the holder of the run folder: it is what makes the lock file ours.
    """
    if not _PROC.is_dir():
        return  # then PostgreSQL itself refuses to start beside another
    signal_all(data, signal.SIGCONT)
    _signal(_recorded_postmaster(data), signal.SIGINT)
    if not _wait_until_none(data, patience):
        signal_all(data, signal.SIGKILL)
        _wait_until_none(data, patience)
    (data / "postmaster.pid").unlink(missing_ok=True)


def processes_in(data: Path) -> set[int]:
    known = os.listdir(_PROC) if _PROC.is_dir() else []
    return {int(entry) for entry in known if entry.isdigit() and _works_in(entry, data)}


def _works_in(pid: str, data: Path) -> bool:
    try:
        return os.readlink(_PROC / pid / "cwd") == str(data)
    except OSError:
        return False


def _recorded_postmaster(data: Path) -> int | None:
    """None when there is none: the number in the file may belong to a stranger by now."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n")[0])
    except (FileNotFoundError, ValueError):
        return None
    return pid if pid in processes_in(data) else None


def _signal(pid: int | None, number: signal.Signals) -> None:
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait_until_none(data: Path, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while processes_in(data):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True
