"""What can go wrong while a Stepway is set up and run on one machine.

LocalError
├── FolderInUse        another supervisor holds the run folder
├── FolderNotHeld      something must be written, and this process does not hold the run folder
├── SetupFailed        a tool of PostgreSQL (initdb, psql) refused
└── DidNotStart        a process ended, or was not ready in time; carries its last log lines
"""

from pathlib import Path


class LocalError(Exception):
    """Shown to the person at the terminal as it is."""


class FolderInUse(LocalError):
    def __init__(self, folder: Path) -> None:
        super().__init__(f"another Stepway runs in {folder}: stop it first, or choose another name")
        self.folder = folder


class FolderNotHeld(LocalError):
    def __init__(self, folder: Path) -> None:
        super().__init__(f"nothing is set up in {folder} yet: start a Stepway there first")
        self.folder = folder


class SetupFailed(LocalError):
    def __init__(self, step: str, output: str) -> None:
        super().__init__(f"{step} failed:\n{output.strip()}")
        self.step = step


class DidNotStart(LocalError):
    def __init__(self, name: str, why: str, last_lines: list[str]) -> None:
        super().__init__("\n".join([f"{name} {why}; its last log lines:", *(f"  {line}" for line in last_lines)]))
        self.name = name
        self.last_lines = last_lines
