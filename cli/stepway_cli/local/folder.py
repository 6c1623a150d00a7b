"""A run's own folder: its lock, its secrets and its ports, kept from one start to the next."""

import fcntl
import json
import os
import random
import secrets
import socket
from pathlib import Path
from typing import Any, Self

from stepway_cli.local.errors import FolderInUse, FolderNotHeld

# Below the ephemeral ranges of Linux and macOS: an outgoing connection cannot take a stopped service's port.
_PORTS = range(20_000, 32_000)


class RunFolder:
    """Whoever may read the folder may read secrets and ports; only the one holder of its lock makes new ones."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._lock: int | None = None
        self._ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        self.hold()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def hold(self) -> None:
        """Make the folder (0700) and lock it; FolderInUse when a living process holds it."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise FolderInUse(self.path) from None
        self._lock = lock

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
            self._ports.clear()

    def subfolder(self, name: str) -> Path:
        folder = self.path / name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def secret(self, name: str) -> str:
        """The generated password of this name: 48 hexadecimal digits, the same at every start."""
        known = self._read("secrets.json")
        if name not in known:
            self._write("secrets.json", known | {name: secrets.token_hex(24)})
        return str(self._read("secrets.json")[name])

    def port(self, name: str) -> int:
        """The port on 127.0.0.1 of this name: the one of the last start if it is still free."""
        if name not in self._ports:
            self._ports[name] = self._settle_port(name)
        return self._ports[name]

    def ports(self) -> dict[str, int]:
        """Every port that was ever settled here, by name."""
        return {name: int(port) for name, port in self._read("ports.json").items()}

    def _settle_port(self, name: str) -> int:
        known = self._read("ports.json")
        if name in known and (self._lock is None or _is_free(known[name])):
            return int(known[name])
        port = _free_port(taken=set(known.values()))
        self._write("ports.json", known | {name: port})
        return port

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return dict(json.loads((self.path / name).read_text()))
        except FileNotFoundError:
            return {}

    def _write(self, name: str, content: dict[str, Any]) -> None:
        if self._lock is None:
            raise FolderNotHeld(self.path)
        write_private(self.path / name, json.dumps(content, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file at once: a new one is readable by its owner only, an old one by whom it was."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.chmod(mode)
    new.replace(path)


def _free_port(taken: set[int]) -> int:
    candidates = random.sample(_PORTS, len(_PORTS))
    return next(port for port in candidates if port not in taken and _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
